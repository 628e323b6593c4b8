// The one place where an Error becomes an exit code.
#include <cstdio>

#include "cli/command.h"
#include "core/result.h"

namespace assay::cli {

int Fail(const Error& error) {
  std::fflush(stdout);
  std::fprintf(stderr, "assay: %s\n", error.message.c_str());
  switch (error.kind) {
    case ErrorKind::kNotHeld: return kDoesNotHold;
    case ErrorKind::kBadInput:
    case ErrorKind::kUnsupported: return kUsage;
    case ErrorKind::kEnvironment: return kUnfitEnvironment;
    case ErrorKind::kInternal: return kBugInAssay;
  }
  return kBugInAssay;
}

}  // namespace assay::cli
