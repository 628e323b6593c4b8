// Mechanism: the descriptor that a mechanism's folder exports. The conformance suite, the probes, the cost and serving models, the command
// line, the docs and the report all read it. Only readers of model files name mechanisms, for those files do. Adding a folder registers
// it: the build writes the list (cmake/AssayMechanisms.cmake), so `src/mechanisms/<id>/mechanism.cc` defines
//     namespace assay::mechanisms { extern const Mechanism k_<id>; }
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/availability.h"
#include "core/counted.h"
#include "core/random.h"
#include "core/result.h"
#include "kernels/kernel.h"
#include "kernels/problem.h"

namespace assay {

namespace formats {
struct Case;  // formats/conformance_case.h
}
using ConformanceCase = formats::Case;
struct CaseOutputs;  // mechanisms/case_adapter.h

// A knob of a mechanism. The order is that of positional arguments in a stack: mla(512,64).
struct Parameter {
  std::string_view name;  // units last: "window_tokens"
  double default_value;
  double low;
  double high;
  std::string_view meaning;
  // How papers treat it: knobs that decide results and are usually left out of them are listed in the report.
  enum class Reported { kUsually, kSeldom } reported = Reported::kUsually;
  bool integer = true;
};

enum class StateKind {
  kGrowing,   // a cache that grows with every token
  kWindowed,  // a cache that stops growing
  kFixed,     // a state of constant size
  kSelected,  // a growing cache of which few pages or tokens are read
};

// What must be true of any correct implementation: probes are chosen by these.
struct Traits {
  StateKind state = StateKind::kGrowing;
  bool normalised = true;            // weights sum to 1 (or less, with a sink): outputs lie in the hull of the values
  bool shift_invariant = true;       // one vector added to every key changes nothing
  bool mergeable_by_lse = true;      // split results merge by log-sum-exp; false: they add, or the state is handed over
  bool key_permutable = true;        // permuting keys inside the visible set changes rounding only
  bool chunked = false;              // has a chunked form that must equal the stepwise one
  bool causal_only = false;
};

// A serving feature that has publicly broken with this mechanism.
struct FeatureRisk {
  std::string_view feature;  // "prefix_cache", "speculation", "kv_quantisation", ...
  std::string_view what;     // one sentence
  std::string_view date;     // of the source, ISO
  std::string_view url;
};

// One layer of a model, as the cost model needs it.
struct LayerShape {
  int64_t model_dim = 0;
  int64_t query_heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t v_head_dim = 0;  // 0: head_dim
};

// Values for a mechanism's parameters, in its order; missing ones take defaults.
class ParameterSet {
 public:
  // Checks names, ranges and integrality; positional arguments first. Errors name the parameter and its range.
  static Result<ParameterSet> Make(const struct Mechanism& mechanism, std::span<const double> positional,
                                   std::span<const ParameterValue> named);
  static ParameterSet Defaults(const struct Mechanism& mechanism);
  [[nodiscard]] double operator[](std::string_view name) const;  // an unknown name is a bug
  [[nodiscard]] int64_t Int(std::string_view name) const { return static_cast<int64_t>((*this)[name]); }
  [[nodiscard]] const std::vector<ParameterValue>& values() const { return values_; }
  [[nodiscard]] std::string Canonical() const;  // "window_tokens=1024,sink=0"

 private:
  std::vector<ParameterValue> values_;
};

struct CostQuery {
  LayerShape shape;
  ParameterSet parameters;
  int64_t new_tokens = 1;      // queries of each sequence in this call: 1 for decode
  int64_t context_tokens = 0;  // keys before them
  int64_t sequences = 1;
  double cache_bytes_per_element = 2;  // of K and V, scales apart
  double scale_bytes_per_token_head = 0;  // of a quantised cache, for K and V together
  double state_bytes_per_element = 4;
};

// Useful work and minimal traffic of the mixer alone (no projections), one layer, the whole batch. Equal, by test, to the counted reference.
struct LayerCost {
  double flops = 0;            // multiplies, adds, divides; a multiply-add is two
  double transcendentals = 0;  // exp, tanh
  double bytes_read = 0;       // of cache or state, queries and new rows included
  double bytes_written = 0;
};

// What must stay in memory for one sequence in one layer.
struct ResidentBytes {
  double per_token = 0;        // for each of the first `token_cap` tokens
  double per_sequence = 0;     // states, convolution tails
  double token_cap = -1;       // -1: no cap
  int64_t split_heads = 1;     // heads over which tensor-parallel ranks share these bytes out; 1: every rank keeps all of them
  [[nodiscard]] double At(double tokens) const {
    return per_sequence + per_token * (token_cap >= 0 && tokens > token_cap ? token_cap : tokens);
  }
};

// A dense projection around the mixer, y[m,n] = x[m,k] W: what the step-time model adds to the mixer.
struct Projection {
  std::string_view name;
  int64_t n;
  int64_t k;
  // How tensor-parallel ranks share it: by columns what belongs to heads, by rows what sums heads back to the model's width, not at all what
  // all heads read.
  enum class Split { kColumns, kRows, kReplicated } split = Split::kColumns;
  int64_t heads = 0;  // that the columns belong to: a rank holds one at least, so fewer than ranks are held more than once; 0: no bound
};

// Which rows of measured accelerator tables time this mixer: the serving model looks its kernel up by these. Heads are those of the layer
// before any parallel split.
struct TableKernel {
  enum class Family { kNone, kSoftmax, kMla, kGatedDeltaNet } family = Family::kNone;  // kNone: no public table holds it
  int64_t query_heads = 0;  // value heads of a recurrence
  int64_t kv_heads = 0;     // key heads of a recurrence
  int64_t head_dim = 0;
  int64_t window_tokens = 0;  // 0: full
};

// A request for a random problem of this mechanism, for conformance, probes and benchmarks.
struct ExampleSpec {
  std::vector<int64_t> query_tokens;  // one entry a sequence
  std::vector<int64_t> key_tokens;    // >= query_tokens for causal problems
  int64_t query_heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 32;
  int64_t v_head_dim = 0;  // 0: head_dim
  DType dtype = DType::kF32;
  Causal causal = Causal::kBottomRight;
  enum class Storage { kDense, kPacked, kPaged } storage = Storage::kPacked;
  bool with_lse = true;
  double log_decay = -0.1;  // mean natural-log decay a token, for recurrences
  double logit_std = 1;     // of the scaled scores: 0.1 gives flat rows, 8 peaked ones
};

// How a conformance op is turned into calls of this mechanism. The adapter does what surrounds the mixer (projections, norms, RoPE) in
// fp64 and calls `attend` for the mixer itself, once or step by step; `attend` runs the reference or a kernel.
using Attend = std::function<Status(Problem&)>;
struct CaseAdapter {
  std::string_view op;  // "Attention", "SlidingWindowAttention", ...
  // Outputs by name, to be compared with the case's; Unsupported with the reason if this case is outside the mechanism.
  Result<CaseOutputs> (*run)(const ConformanceCase& conformance_case, const Attend& attend);
};

// The useful work of a reference, run with the counting number type: `.count = CountWork<Reference<Counted>>`.
template <auto Reference>
WorkCount CountWork(const Problem& problem) {
  Counted::Work() = {};
  Reference(problem);
  return Counted::Work();
}

struct Mechanism {
  std::string_view id;
  int revision = 1;  // raised when results may change; part of every cell key
  std::string_view title;
  std::string_view formula;   // one line, plain text
  std::string_view citation;  // authors, year, arXiv id
  std::string_view summary;   // one sentence: what it trades for what
  std::span<const Parameter> parameters = {};
  Traits traits;
  Availability availability = Availability::kPretrain;  // relative to plain grouped-query attention
  std::span<const FeatureRisk> risks = {};

  // Is this problem one of this mechanism's? BadInput says what contradicts.
  Status (*check)(const Problem& problem) = nullptr;
  // The truth: fp64, no SIMD, as close to the paper as C++ allows. Fills every output role the problem has. check() must have passed.
  void (*reference)(const Problem& problem) = nullptr;
  // The same template in fp32: the twin whose error against the truth says what error a kernel may have (mechanisms/kernel_agreement.h).
  void (*twin)(const Problem& problem) = nullptr;
  // The same template with a counting number type.
  WorkCount (*count)(const Problem& problem) = nullptr;
  std::span<const Kernel> kernels = {};  // the first is the default

  Result<OwnedProblem> (*example)(const ExampleSpec& spec, const ParameterSet& parameters, Rng& rng) = nullptr;
  LayerCost (*cost)(const CostQuery& query) = nullptr;
  ResidentBytes (*resident)(const LayerShape& shape, const ParameterSet& parameters, const CostQuery& bytes) = nullptr;
  std::vector<Projection> (*projections)(const LayerShape& shape, const ParameterSet& parameters) = nullptr;
  TableKernel (*table_kernel)(const LayerShape& shape, const ParameterSet& parameters) = nullptr;  // nullptr: no table holds it
  std::span<const CaseAdapter> cases = {};
};

// All mechanisms, in alphabetical order of id.
std::span<const Mechanism* const> AllMechanisms();
// The mechanism with this id, or BadInput naming the nearest known one.
Result<const Mechanism*> FindMechanism(std::string_view id);

}  // namespace assay
