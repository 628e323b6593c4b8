// Fuzz target: request traces of every format.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/trace.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto trace = assay::formats::ParseTrace({reinterpret_cast<const char*>(data), size}, "fuzz.csv");
  if (!trace.ok()) return 0;
  for (const auto& request : trace->requests) (void)trace->Blocks(request).size();
  return 0;
}
