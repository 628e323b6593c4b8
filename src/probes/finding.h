// What a probe says about a kernel: passed, not applicable with its reason, or findings that can be reproduced. Our own kernels (the
// numerics probe of an audit) and kernels that users bring (`assay torture`) are reported in these words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace assay {

enum class Severity {
  kCritical,  // NaN, infinities or memory that is not the call's own reach the output
  kMajor,     // finite but wrong numbers, or an option that is silently ignored
  kMinor,     // right within rounding, but not the same bits where the same bits were promised
};
std::string_view NameOf(Severity severity);  // "critical", "major", "minor"

struct ProbeFinding {
  std::string probe{};       // "T06"
  Severity severity = Severity::kMajor;
  std::string title{};       // what is wrong, in numbers: "a window of 5 keys attends 6"
  std::string resembles{};   // a public defect with the same trigger; empty if none is known
  std::string reproducer{};  // the smallest failing call, in words a user can type in
};

struct ProbeSkip {
  std::string probe{};
  std::string reason{};
};

// All probes of one kernel.
struct ProbeReport {
  std::string kernel{};  // "gqa/tile avx2/f32, f32 operands"
  std::vector<ProbeFinding> findings{};
  std::vector<std::string> passed{};
  std::vector<ProbeSkip> not_applicable{};
};

}  // namespace assay
