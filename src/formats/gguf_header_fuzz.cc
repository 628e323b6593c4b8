// Fuzz target: GGUF headers.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/model_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto spec = assay::formats::ParseGgufHeader({reinterpret_cast<const char*>(data), size}, "fuzz.gguf");
  if (spec.ok()) (void)assay::formats::WeightBytes(*spec);
  return 0;
}
