// Fuzz target: HuggingFace configs, and with them the JSON adapter.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/model_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto spec = assay::formats::ParseHfConfig({reinterpret_cast<const char*>(data), size}, "fuzz/config.json");
  if (spec.ok()) (void)assay::formats::WeightBytesRead(*spec, 16);
  return 0;
}
