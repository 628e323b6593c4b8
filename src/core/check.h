// ASSAY_CHECK: an assertion that is always on. It fires on bugs of Assay only, never on bad input, prints what was expected
// and ends the process with exit code 4. ASSAY_DCHECK is its debug-build twin for hot kernels.
#pragma once

#include <string_view>

namespace assay {
[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, std::string_view why);
}  // namespace assay

#define ASSAY_CHECK(condition, why)                                                    \
  do {                                                                                 \
    if (!(condition)) [[unlikely]]                                                     \
      ::assay::CheckFailed(__FILE__, __LINE__, #condition, why);                       \
  } while (false)

#ifdef NDEBUG
#define ASSAY_DCHECK(condition, why) \
  do {                               \
  } while (false)
#else
#define ASSAY_DCHECK(condition, why) ASSAY_CHECK(condition, why)
#endif
