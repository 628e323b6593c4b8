# Third-party libraries, from distribution packages (`./dev setup` installs them).
find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(GTest REQUIRED)
find_library(ASSAY_MUPARSER muparser REQUIRED)
find_library(ASSAY_RAPIDCHECK rapidcheck REQUIRED)
