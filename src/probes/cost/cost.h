// The cost probe: what mechanisms' kernels cost on this machine, at a use case's own shapes. Kernels run in interleaved rounds beside the
// machine's ceilings of the same round; a kernel whose answer differs from the reference is not timed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "mechanisms/mechanism.h"
#include "store/measurement.h"

namespace assay {

struct CostSubject {
  const Mechanism* mechanism = nullptr;
  ParameterSet parameters{};
  std::vector<DType> dtypes = {DType::kBf16};
};

struct CostOptions {
  std::vector<CostSubject> subjects{};  // the first is the baseline of the ratios
  LayerShape shape{};
  std::vector<int64_t> prefill_tokens{};   // one sequence of so many tokens
  std::vector<int64_t> decode_contexts{};  // one new token each behind so many
  int64_t decode_sequences = 1;
  int threads = 0;  // 0: every processor allowed
  double budget_s = 20;  // of preparing and measuring, set-up of the ceilings apart
  int max_rounds = 100;  // a length
  uint64_t seed = 0;
  std::string run_id{}, command{};
  std::function<bool()> stop{};
  std::function<void(double elapsed_s)> progress{};
};

// One kernel at one shape.
struct CostRow {
  std::string mechanism{}, parameters{}, implementation{};  // "assay/avx2/bf16"
  Phase phase = Phase::kDecode;
  int64_t tokens = 0;  // prefill length or decode context
  Quantity time{};       // ms, median with its interval
  Quantity ceiling_share{};
  Quantity ratio_to_baseline{};  // of time, at the same shape
  std::string flags{};
};

struct CostRefusal {
  std::string mechanism{};
  std::string where{};   // "decode at 32768 tokens"
  std::string reason{};
};

struct CostReport {
  std::vector<CostRow> rows{};
  std::vector<CostRefusal> refusals{};
  std::vector<Measurement> measurements{};
  std::string raw_samples_json{};  // every sample, order, flag and ceiling; measurements name its SHA-256 as their artifact
  bool stopped = false;
};

Status CheckCostOptions(const CostOptions& options);
Result<CostReport> RunCost(const CostOptions& options);

}  // namespace assay
