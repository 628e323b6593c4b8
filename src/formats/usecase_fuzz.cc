// Fuzz target: use cases, and with them TOML, stacks, lengths and inline shapes.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/usecase.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto usecase = assay::formats::ParseUseCase({reinterpret_cast<const char*>(data), size}, "fuzz.toml");
  if (!usecase.ok()) return 0;
  // What was accepted must be usable.
  (void)usecase->baseline();
  if (!usecase->workload.prompt_tokens.empty()) (void)usecase->workload.prompt_tokens.Quantile(0.5);
  (void)assay::formats::CountParameters(usecase->model);
  return 0;
}
