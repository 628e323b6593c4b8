#include "probes/finding.h"

namespace assay {

std::string_view NameOf(Severity severity) {
  switch (severity) {
    case Severity::kCritical: return "critical";
    case Severity::kMajor: return "major";
    case Severity::kMinor: return "minor";
  }
  return "unknown";
}

}  // namespace assay
