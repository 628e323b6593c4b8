// T20-T22: recurrences. Chunked against stepwise, strong decay, and the state that is handed from call to call.
#include <fmt/format.h>

#include <algorithm>

#include "probes/numerics/probe.h"

namespace assay::numerics {
namespace {

bool IsRecurrent(const Subject& subject) { return subject.mechanism->traits.state == StateKind::kFixed; }
constexpr const char* kNoState = "it has no recurrent state";

Outcome ChunkedEqualsStepwise(const Subject& subject) {
  if (!IsRecurrent(subject) || !subject.mechanism->traits.chunked) return Outcome::NotApplicable("it has no chunked form");
  Outcome outcome;
  for (const int chunk : {0, 1, 16, 64}) {
    const int64_t edge = chunk > 1 ? chunk : 64;
    for (const int64_t tokens : {int64_t{1}, edge - 1, edge, edge + 1, 3 * edge + 5}) {
      const Result<OwnedProblem> owned = subject.Example({.query_tokens = {tokens}, .key_tokens = {tokens + 1}, .head_dim = 16}, "T20");
      if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
      Problem problem = owned->problem;
      problem.chunk = chunk;
      outcome.Expect(subject, problem, fmt::format("{} tokens, chunk = {}, initial state", tokens, chunk));
    }
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  return outcome;
}

Outcome StrongDecay(const Subject& subject) {
  if (!IsRecurrent(subject)) return Outcome::NotApplicable(kNoState);
  Outcome outcome;
  for (const double log_decay : {-6.0, -20.0, -120.0}) {
    const Result<OwnedProblem> owned = subject.Example({.query_tokens = {70}, .key_tokens = {71}, .head_dim = 16, .log_decay = log_decay}, "T21");
    if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
    if (!owned->problem.Has(Role::kLogDecay)) return Outcome::NotApplicable("it does not decay");
    outcome.Expect(subject, owned->problem, fmt::format("70 tokens, log decay {} a token on average", log_decay));
    // Tokens without any decay among those that forget everything.
    const TensorView& decay = owned->problem.Get(Role::kLogDecay);
    ForEachElement(decay, [&](std::span<const int64_t> index) {
      if (index[0] % 3 == 0) StoreElement(decay.data, decay.dtype, static_cast<size_t>(decay.Offset(index)), 0);
    });
    outcome.Expect(subject, owned->problem, fmt::format("70 tokens, log decay {} on average, every third token 0", log_decay));
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  return outcome;
}

// Tokens [begin, end) of a dense one-sequence problem, from `state` (nullptr: none) into `next`.
Problem Part(const Problem& whole, int64_t begin, int64_t end, const TensorView* state, const TensorView& next) {
  Problem part = whole;
  std::erase_if(part.arguments, [&](const Argument& argument) { return argument.role == Role::kStateIn; });
  for (Argument& argument : part.arguments) {
    if (argument.role == Role::kStateOut) {
      argument.tensor = next;
      continue;
    }
    argument.tensor.data = static_cast<char*>(argument.tensor.data) + begin * argument.tensor.stride[1] * (BitsOf(argument.tensor.dtype) / 8);
    argument.tensor.shape[1] = end - begin;
  }
  if (state != nullptr) part.arguments.push_back({Role::kStateIn, *state});
  return part;
}

Tensor StateLike(const Problem& problem) {
  const TensorView& state = problem.Get(Role::kStateOut);
  return Tensor(state.dtype, std::span<const int64_t>(state.shape.data(), 4));
}

// Error of the second of two outputs against the truth, as `Judge` has it for one call: run the parts, then judge the whole with the
// kernel's answers of the parts in place.
Outcome StateHandOver(const Subject& subject) {
  if (!IsRecurrent(subject)) return Outcome::NotApplicable(kNoState);
  Outcome outcome;
  constexpr int64_t kTokens = 40;
  Result<OwnedProblem> owned = subject.Example({.query_tokens = {kTokens}, .key_tokens = {kTokens + 1}, .head_dim = 16, .storage = ExampleSpec::Storage::kDense}, "T22");
  if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
  const Problem& whole = owned->problem;
  const Result<Judgement> in_one = Judge(subject, whole);
  if (!in_one.ok()) return Outcome::NotApplicable(in_one.error().message);
  const std::vector<double> expected = Values(whole, Role::kO);
  const std::vector<double> expected_state = Values(whole, Role::kStateOut);
  const TensorView initial = whole.Get(Role::kStateIn);
  const std::vector<double> initial_before = Values(whole, Role::kStateIn);
  double size = 0;
  for (const double x : expected) size = std::max(size, std::abs(x));

  // Both answers may be off by what one call may be off by.
  const auto differs = [&](const std::vector<double>& got, const std::vector<double>& want) {
    double largest = 0;
    for (size_t i = 0; i < got.size(); ++i) largest = std::max(largest, std::abs(got[i] - want[i]));
    return !(largest <= 2 * std::max(in_one->allowed, 1e-6) * std::max(size, 1.0)) ? largest : 0.0;
  };
  for (const int64_t cut : {int64_t{1}, int64_t{17}, kTokens - 1}) {
    Tensor middle = StateLike(whole);
    Tensor last = StateLike(whole);
    const Problem first = Part(whole, 0, cut, &initial, middle.view());
    if (!subject.Run(first).ok()) return Outcome::NotApplicable("it does not serve a part of the sequence");
    const std::vector<double> early = Values(first, Role::kO);
    // Drafts that are rejected: run them from the same state into another, then forget them.
    Tensor discarded = StateLike(whole);
    const Problem draft = Part(whole, cut, std::min(cut + 3, kTokens), &middle.view(), discarded.view());
    const std::vector<double> middle_before = Values(Part(whole, 0, 0, &middle.view(), last.view()), Role::kStateIn);
    if (!subject.Run(draft).ok()) return Outcome::NotApplicable("it does not serve a draft");
    const Problem rest = Part(whole, cut, kTokens, &middle.view(), last.view());
    if (!subject.Run(rest).ok()) return Outcome::NotApplicable("it does not serve a part of the sequence");
    std::vector<double> got = early;
    const std::vector<double> late = Values(rest, Role::kO);
    got.insert(got.end(), late.begin(), late.end());
    const std::string reproducer = fmt::format("{} tokens in one call, and as {} + {} with the state handed over", kTokens, cut, kTokens - cut);
    if (const double off = differs(got, expected); off != 0) outcome.Add(Severity::kMajor, fmt::format("handing over the state after {} tokens changes the output by {:.3g}", cut, off), reproducer);
    if (const double off = differs(Values(rest, Role::kStateOut), expected_state); off != 0) outcome.Add(Severity::kMajor, fmt::format("the final state differs by {:.3g} after a hand-over", off), reproducer);
    if (MismatchCount(middle_before, Values(rest, Role::kStateIn)) > 0) outcome.Add(Severity::kMajor, "a call writes into the state it was given: rejected drafts cannot be undone", reproducer);
  }
  if (MismatchCount(initial_before, Values(whole, Role::kStateIn)) > 0) outcome.Add(Severity::kMajor, "a call writes into the state it was given", "any call with an initial state");
  return outcome;
}

constexpr Probe kProbes[] = {
    {"T20", "chunked equals stepwise at chunk edges", "vllm-project/vllm#45819: a chunked scan that depends on its company", ChunkedEqualsStepwise},
    {"T21", "strong decay stays finite and exact", "flashinfer-ai/flashinfer#5032: non-finite below -5.5 nats a token", StrongDecay},
    {"T22", "a state can be handed over, and drafts forgotten", "vllm-project/vllm#39273: draft tokens left in the recurrent state", StateHandOver},
};

}  // namespace

std::span<const Probe> RecurrentProbes() { return kProbes; }

}  // namespace assay::numerics
