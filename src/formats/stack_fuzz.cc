// Fuzz target: stacks, expanded and printed.
#include <cstddef>
#include <cstdint>
#include <string>

#include "formats/stack.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto stack = assay::formats::ParseStack({reinterpret_cast<const char*>(data), size});
  if (!stack.ok()) return 0;
  (void)assay::formats::ExpandStack(*stack, 61).ok();
  // What is printed must mean the same.
  auto again = assay::formats::ParseStack(stack->ToString());
  if (size < 500 && (!again.ok() || !(again->pattern == stack->pattern))) __builtin_trap();
  return 0;
}
