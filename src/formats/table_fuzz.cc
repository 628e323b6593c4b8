// Fuzz target: measured tables and their names.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)assay::formats::ParseTableName(text).ok();
  auto table = assay::formats::Table::Parse(text, "fuzz.csv");
  if (!table.ok()) return 0;
  for (size_t row = 0; row < table->rows(); ++row) {
    for (size_t column = 0; column < table->columns().size(); ++column) (void)table->Number(row, column).ok();
  }
  return 0;
}
