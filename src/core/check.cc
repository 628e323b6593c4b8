#include "core/check.h"

#include <cstdio>
#include <cstdlib>

namespace assay {

void CheckFailed(const char* file, int line, const char* condition, std::string_view why) {
  std::fprintf(stderr, "assay: a bug in Assay: %s:%d: expected %s: %.*s\nPlease report it with the command that led here.\n",
               file, line, condition, static_cast<int>(why.size()), why.data());
  std::fflush(nullptr);
  std::_Exit(4);
}

}  // namespace assay
