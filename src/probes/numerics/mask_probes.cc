// T01-T06 and T09: who sees whom. Masked rows, poison behind masks, the causal frontier, windows, the map from query to key heads.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "probes/numerics/probe.h"

namespace assay::numerics {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

TensorView AddBoolMask(OwnedProblem& owned, int64_t queries, int64_t keys) {
  const TensorView mask = owned.Add(Role::kMaskBool, DType::kBool8, {1, 1, queries, keys});
  Fill(mask, 1);
  return mask;
}

// An example with one dense sequence and a full mask that the probe then edits; why not, if the mechanism takes no mask.
Result<OwnedProblem> Masked(const Subject& subject, int64_t queries, int64_t keys, std::string_view key) {
  ASSAY_TRY(OwnedProblem owned, subject.Example({.query_tokens = {queries}, .key_tokens = {keys}, .causal = Causal::kNone, .storage = ExampleSpec::Storage::kDense}, key));
  AddBoolMask(owned, queries, keys);
  ASSAY_RETURN_IF_ERROR(subject.Serves(owned.problem));
  return owned;
}

// Is every element of this query's output row `value`?
bool RowIs(const Problem& problem, int64_t query, double value) {
  const TensorView& o = problem.Get(Role::kO);
  for (int64_t h = 0; h < o.shape[2]; ++h) {
    for (int64_t c = 0; c < o.shape[3]; ++c) {
      if (!(o.At({0, query, h, c}) == value)) return false;
    }
  }
  return true;
}

Outcome FullyMaskedRow(const Subject& subject) {
  if (subject.decode_only) return Outcome::NotApplicable("it takes one query, and a decoding query sees its own key");
  Result<OwnedProblem> owned = Masked(subject, 4, 70, "T01");
  if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
  Problem& problem = owned->problem;
  Outcome outcome;
  for (int64_t j = 0; j < 70; ++j) problem.Get(Role::kMaskBool).Set({0, 0, 2, j}, 0);
  const std::string boolean = "4 queries, 70 keys, boolean mask false in row 2";
  outcome.Expect(subject, problem, boolean);
  if (outcome.findings.empty() && !RowIs(problem, 2, 0)) outcome.Add(Severity::kMajor, "a row without a visible key is not 0", boolean);

  Result<OwnedProblem> additive = subject.Example({.query_tokens = {4}, .key_tokens = {70}, .causal = Causal::kNone, .storage = ExampleSpec::Storage::kDense}, "T01");
  const TensorView bias = additive->Add(Role::kMaskAdd, DType::kF32, {1, 1, 4, 70});
  for (int64_t j = 0; j < 70; ++j) bias.Set({0, 0, 1, j}, -kInf);
  outcome.Expect(subject, additive->problem, "4 queries, 70 keys, additive mask -inf in row 1");
  // Not masked, merely tiny: the row stays a softmax over all keys.
  for (int64_t j = 0; j < 70; ++j) bias.Set({0, 0, 1, j}, -static_cast<double>(std::numeric_limits<float>::max()));
  for (int64_t j = 0; j < 70; ++j) bias.Set({0, 0, 2, j}, j < 64 ? -static_cast<double>(std::numeric_limits<float>::max()) : 0);
  const Result<std::string> ran = subject.Run(additive->problem);
  if (ran.ok()) {
    for (const double x : Values(additive->problem, Role::kO)) {
      if (std::isfinite(x)) continue;
      outcome.Add(Severity::kCritical, "an additive mask of -FLT_MAX turns the output into NaN or infinity", "4 queries, 70 keys, additive mask -FLT_MAX in row 1, and in the first 64 keys of row 2");
      break;
    }
  }
  return outcome;
}

// NaN and infinities behind a mask, and in the unused tail of a cache. `poison_keys` picks K, else V.
Outcome PoisonBehindMask(const Subject& subject, bool poison_keys, std::string_view key) {
  Outcome outcome;
  const std::string what = poison_keys ? "K" : "V";
  const auto poison = [&](const Problem& problem, int64_t token, double value) {
    // Values that are channels of K are poisoned through K.
    const Role role = poison_keys || !problem.Has(Role::kV) ? Role::kK : Role::kV;
    const TensorView& view = problem.Get(role);
    if (token >= view.shape[1]) return;  // a recurrence has no keys before its queries
    for (int64_t h = 0; h < view.shape[2]; ++h) {
      for (int64_t c = 0; c < view.shape[3]; ++c) view.Set({0, token, h, c}, value);
    }
  };
  for (const double value : {kNan, kInf}) {
    Result<OwnedProblem> masked = Masked(subject, subject.Rows(3), 70, key);
    if (masked.ok()) {
      for (const int64_t token : {0, 5, 63, 64, 69}) {
        poison(masked->problem, token, value);
        for (int64_t i = 0; i < subject.Rows(3); ++i) masked->problem.Get(Role::kMaskBool).Set({0, 0, i, token}, 0);
      }
      outcome.Expect(subject, masked->problem, fmt::format("3 queries, 70 keys, {} in {} at masked keys 0, 5, 63, 64, 69", value, what));
    } else {
      outcome.unserved = masked.error().message;
    }
    // The tail of a buffer that is longer than the sequence.
    Result<OwnedProblem> tail = subject.Example({.query_tokens = {subject.Rows(2)}, .key_tokens = {70}, .storage = ExampleSpec::Storage::kDense}, key);
    if (!tail.ok()) return Outcome::NotApplicable(tail.error().message);
    tail->Add(Role::kLenK, DType::kI64, {1}).Set({0}, 66);
    for (int64_t token = 66; token < 70; ++token) poison(tail->problem, token, value);
    outcome.Expect(subject, tail->problem, fmt::format("2 queries, 66 keys in a buffer of 70, {} in {} beyond them", value, what));
    // Behind the causal frontier: the first query must not read the last key.
    Result<OwnedProblem> causal = subject.Example({.query_tokens = {6}, .key_tokens = {6}, .storage = ExampleSpec::Storage::kDense}, key);
    poison(causal->problem, 5, value);
    if (subject.Run(causal->problem).ok()) {
      ++outcome.served;
      const TensorView& o = causal->problem.Get(Role::kO);
      for (int64_t i = 0; i < 5 && outcome.findings.empty(); ++i) {
        if (!std::isfinite(o.At({0, i, 0, 0}))) {
          outcome.Add(Severity::kCritical, fmt::format("query {} is not finite although only key 5, in its future, is {}", i, value), fmt::format("6 causal tokens, {} in {} of the last", value, what));
        }
      }
    }
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  return outcome;
}
Outcome PoisonedValues(const Subject& subject) { return PoisonBehindMask(subject, false, "T02"); }
Outcome PoisonedKeys(const Subject& subject) { return PoisonBehindMask(subject, true, "T03"); }

Outcome FirstTilesMasked(const Subject& subject) {
  Outcome outcome;
  for (const int64_t masked_keys : {16, 64, 128, 257}) {
    Result<OwnedProblem> owned = Masked(subject, subject.Rows(3), 300, "T04");
    if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
    for (int64_t i = 0; i < subject.Rows(3); ++i) {
      for (int64_t j = 0; j < masked_keys; ++j) owned->problem.Get(Role::kMaskBool).Set({0, 0, i, j}, 0);
    }
    outcome.Expect(subject, owned->problem, fmt::format("3 queries, 300 keys, the first {} masked", masked_keys));
  }
  return outcome;
}

Outcome CausalFrontier(const Subject& subject) {
  if (subject.mechanism->traits.state == StateKind::kFixed) return Outcome::NotApplicable("a recurrence has no frontier: it never holds a future key");
  Outcome outcome;
  // Fewer queries than keys, as many, and more (rows before the first key see nothing).
  const int64_t shapes[][2] = {{1, 70}, {3, 70}, {9, 9}, {12, 7}, {70, 66}};
  for (const auto& [queries, keys] : shapes) {
    for (const Causal causal : {Causal::kBottomRight, Causal::kTopLeft}) {
      const Result<OwnedProblem> owned = subject.Example({.query_tokens = {queries}, .key_tokens = {keys}, .causal = causal, .storage = ExampleSpec::Storage::kDense}, "T05");
      if (!owned.ok()) {
        outcome.unserved = owned.error().message;
        continue;
      }
      outcome.Expect(subject, owned->problem, fmt::format("{} queries, {} keys, {}", queries, keys, causal == Causal::kTopLeft ? "top-left" : "bottom-right"));
    }
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  return outcome;
}

// With q = 0 every visible key weighs the same, and a value that is the key's index makes the output the mean position of what is seen.
Outcome WindowIsExact(const Subject& subject) {
  Outcome outcome;
  for (const int64_t window : {1, 5, 64, 65}) {
    // A mechanism whose window is a parameter sets the problem's window from it.
    Subject own = subject;
    std::vector<ParameterValue> named = subject.parameters.values();
    for (ParameterValue& parameter : named) {
      if (parameter.name == "window_tokens") parameter.value = static_cast<double>(window);
    }
    if (Result<ParameterSet> set = ParameterSet::Make(*subject.mechanism, {}, named); set.ok()) own.parameters = std::move(set).value();
    Result<OwnedProblem> owned = own.Example({.query_tokens = {subject.Rows(4)}, .key_tokens = {140}, .storage = ExampleSpec::Storage::kDense}, "T06");
    if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
    Problem& problem = owned->problem;
    problem.window_left = window - 1;
    if (const Status status = own.Serves(problem); !status.ok()) return Outcome::NotApplicable(status.error().message);
    Fill(problem.Get(Role::kQ), 0);
    const TensorView& values = problem.Get(problem.Has(Role::kV) ? Role::kV : Role::kK);
    for (int64_t j = 0; j < 140; ++j) {
      for (int64_t h = 0; h < values.shape[2]; ++h) SetValue(problem, 0, j, h, 0, static_cast<double>(j));
    }
    const std::string reproducer = fmt::format("4 causal queries, 140 keys, window_left = {} (a window of {} keys), q = 0, v = key index", window - 1, window);
    const size_t before = outcome.findings.size();
    outcome.Expect(subject, problem, reproducer);
    if (outcome.findings.size() == before) continue;
    // A window that ends at the query and holds n keys has its mean (n - 1) / 2 behind the query.
    const double mean = problem.Get(Role::kO).At({0, subject.Rows(4) - 1, 0, 0});
    outcome.findings.back().title = fmt::format("a window of {} keys attends about {:.3g}", window, 2 * (139 - mean) + 1);
  }
  return outcome;
}

// Every key/value head holds its own constant, so an output tells which head it read.
Outcome HeadMap(const Subject& subject) {
  Result<OwnedProblem> owned = subject.Example({.query_tokens = {subject.Rows(2)}, .key_tokens = {9}, .query_heads = 6, .kv_heads = 3, .storage = ExampleSpec::Storage::kDense}, "T09");
  if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
  Problem& problem = owned->problem;
  if (!problem.Has(Role::kV) || problem.Get(Role::kV).shape[2] != 3) return Outcome::NotApplicable("the heads do not share values in groups");
  if (const Status status = subject.Serves(problem); !status.ok()) return Outcome::NotApplicable(status.error().message);
  const TensorView& v = problem.Get(Role::kV);
  ForEachElement(v, [&](std::span<const int64_t> index) { v.Set({index[0], index[1], index[2], index[3]}, static_cast<double>(index[2] + 1)); });
  Outcome outcome;
  const std::string reproducer = "6 query heads, 3 key/value heads, v of head g = g + 1";
  outcome.Expect(subject, problem, reproducer);
  if (!outcome.findings.empty()) {
    std::string read;
    for (int64_t h = 0; h < 6; ++h) read += fmt::format("{}{:.3g}", h > 0 ? ", " : "", problem.Get(Role::kO).At({0, subject.Rows(2) - 1, h, 0}) - 1);
    outcome.findings.back().title = fmt::format("query heads 0-5 read key/value heads {} instead of 0, 0, 1, 1, 2, 2", read);
  }
  return outcome;
}

constexpr Probe kProbes[] = {
    {"T01", "a fully masked row is exactly 0", "pytorch/pytorch#103963: NaN rows under a boolean mask row of all False", FullyMaskedRow},
    {"T02", "NaN in masked values does not leak", "Dao-AILab/flash-attention#2374: 0 * NaN in P.V beyond seqused_k", PoisonedValues},
    {"T03", "NaN in masked keys does not leak", "vllm-project/vllm#57156: a poisoned null block that masked slots read", PoisonedKeys},
    {"T04", "first tiles masked, later ones valid", "vllm-project/vllm#48364: a row is NaN for ever after 16 invalid slots", FirstTilesMasked},
    {"T05", "the causal frontier is where it is declared", "microsoft/onnxruntime#28904: top-left instead of bottom-right", CausalFrontier},
    {"T06", "a window of W attends exactly W keys", "NVIDIA-NeMo/Megatron-Bridge#2656: models trained with W + 1", WindowIsExact},
    {"T09", "query head h reads key/value head floor(h Hkv / Hq)", "onnx/onnx#7274: tile instead of repeat", HeadMap},
};

}  // namespace

std::span<const Probe> MaskProbes() { return kProbes; }

}  // namespace assay::numerics
