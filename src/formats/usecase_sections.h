// The sections of a use case, one function each; private to usecase.cc.
#pragma once

#include <string>

#include "formats/usecase.h"

namespace assay::formats {

// A path of the file, made relative to the file's folder.
std::string ResolvePath(const std::string& usecase_path, const std::string& path);

Result<ModelSpec> ReadModelSection(TomlReader* root, const std::string& usecase_path, TomlErrors* errors);
Workload ReadWorkload(TomlReader* root, const std::string& usecase_path);
Platform ReadPlatform(TomlReader* root, const std::string& usecase_path);
Engine ReadEngine(TomlReader* root);
Objective ReadObjective(TomlReader* root);
Effort ReadEffort(TomlReader* root);
Task ReadTask(TomlReader* root, const std::string& usecase_path);

}  // namespace assay::formats
