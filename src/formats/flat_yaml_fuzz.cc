// Fuzz target: accelerator descriptions.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/flat_yaml.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto yaml = assay::formats::FlatYaml::Parse({reinterpret_cast<const char*>(data), size}, "fuzz.yaml");
  if (yaml.ok()) (void)yaml->NeedNumber("gpu.mem_bw").ok();
  return 0;
}
