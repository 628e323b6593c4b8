// Fuzz target: outside test vectors, both formats.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/conformance_case.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)assay::formats::ParseCaseText(text, "fuzz.txt").ok();
  (void)assay::formats::ParseOpenVinoCases(text, "fuzz.json").ok();
  return 0;
}
