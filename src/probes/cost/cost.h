// The cost probe: what mechanisms' kernels cost on this machine, at a use case's own shapes. Kernels run in interleaved rounds beside the
// machine's ceilings of the same round; a kernel whose answer differs from the reference is not timed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/result.h"
#include "mechanisms/mechanism.h"
#include "stats/paired.h"
#include "store/measurement.h"

namespace assay {

struct CostSubject {
  const Mechanism* mechanism = nullptr;
  ParameterSet parameters{};
  std::vector<DType> dtypes = {DType::kBf16};
  std::optional<LayerShape> shape = std::nullopt;  // where it differs from the options'
};

struct CostOptions {
  std::vector<CostSubject> subjects{};  // the first is the baseline of the ratios
  LayerShape shape{};
  std::vector<int64_t> prefill_tokens{};   // one sequence of so many tokens
  std::vector<int64_t> decode_contexts{};  // one new token each behind so many
  int threads = 0;  // 0: every processor allowed
  double budget_s = 20;  // of preparing and measuring, set-up of the ceilings apart
  int max_rounds = 100;  // a length
  // Of the error that all comparisons together may make (5 %), what this run's may spend: a third where it is one of three.
  double family_share = 1;
  uint64_t seed = 0;
  std::string command{};
  std::function<bool()> stop{};
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

// Several kernels against one baseline are as many chances to find a difference in nothing. What remains of one comparison after Holm's
// correction (stats/multiplicity.h), and the smallest ratio that its pairs would have shown.
struct CorrectedComparison {
  double p_value = 1;      // adjusted
  double detectable = 0;   // ratio above 1, at 80 % power and the corrected error
  bool told_apart = false;
};
std::vector<CorrectedComparison> CorrectComparisons(std::span<const stats::PairedRatio> comparisons, double family_share);

struct CostRefusal {
  std::string mechanism{};
  std::string where{};   // "decode at 32768 tokens"
  std::string reason{};
};

struct CostReport {
  std::vector<CostRow> rows{};
  std::vector<CostRefusal> refusals{};
  std::vector<Measurement> measurements{};  // of no run yet: whoever stores them names it
  // JSON documents that measurements name by their SHA-256. The row of a time names its own samples, an array in ms; the rows derived
  // from pairs and ceilings name the rounds: every sample, order, flag and ceiling.
  std::vector<std::string> artifacts{};
  bool stopped = false;
};

// The element type that a plan's target names ("avx512/bf16-p16"): what its arithmetic runs in. Empty for a target that names none.
std::optional<DType> OperandsOf(std::string_view target);

Status CheckCostOptions(const CostOptions& options);
Result<CostReport> RunCost(const CostOptions& options);

}  // namespace assay
