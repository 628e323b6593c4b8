// Conformance: outside test vectors against this program's references and kernels. A case passes only if the fp64 reference reproduces
// every expected output and every kernel that serves the case agrees with the reference within its derived tolerance, on every backend.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "mechanisms/case_adapter.h"
#include "mechanisms/mechanism.h"

namespace assay {

enum class CaseOutcome { kPassed, kFailed, kSkipped };

struct CaseVerdict {
  CaseOutcome outcome = CaseOutcome::kSkipped;
  std::string path;
  std::string name;
  std::string op;
  std::string reason = {};  // of a failure or a skip: which implementation, which output, how far
  int kernel_runs = 0; // times a kernel ran and agreed (kernel x backend x dtype x call)
};

struct CaseTally {
  int64_t passed = 0;
  int64_t failed = 0;
  int64_t skipped = 0;
};

struct VerifyReport {
  CaseTally total;
  std::map<std::string, CaseTally> ops;
  std::vector<CaseVerdict> cases;  // by path
  int64_t kernel_runs = 0;
};

struct VerifyOptions {
  std::string op = {};  // only cases of this operator; empty: all
  std::function<void(const CaseVerdict&)> on_case = {};  // progress; may be empty
};

// Every case below `directory`. A file that cannot be read as a case is a failed case with its reason; a missing directory is BadInput.
Result<VerifyReport> VerifyCases(const std::string& directory, const VerifyOptions& options);
CaseVerdict VerifyCase(const ConformanceCase& conformance_case);

// Runs one adapter with the mechanism's reference alone; `change` may alter each problem first (tests flip conventions with it).
Result<CaseOutputs> RunReference(const Mechanism& mechanism, const CaseAdapter& adapter, const ConformanceCase& conformance_case,
                                 const std::function<void(Problem&)>& change = {});
// NotHeld names the output that differs, where and by how much. Tolerances by the expected output's type: float64 1e-9, float32 1e-6,
// float16 1e-3, bfloat16 8e-3, times max(1, max |expected|); NaN and infinities in the same places; integers and booleans equal.
Status CompareOutputs(const ConformanceCase& conformance_case, const CaseOutputs& outputs);

}  // namespace assay
