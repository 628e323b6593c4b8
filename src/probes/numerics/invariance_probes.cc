// T15: an answer does not depend on its company. A sequence alone, in a batch, on one thread or several, gives the same bits.
#include <fmt/format.h>

#include <deque>

#include "probes/numerics/probe.h"

namespace assay::numerics {
namespace {

// The problem of one sequence of a packed batch: the same memory, narrowed.
Problem OneSequence(const Problem& batch, int64_t sequence, OwnedProblem& storage) {
  Problem alone = batch;
  const auto begin_of = [&](Role role) { return static_cast<int64_t>(batch.Get(role).At({sequence})); };
  const auto count_of = [&](Role role) { return static_cast<int64_t>(batch.Get(role).At({sequence + 1})) - begin_of(role); };
  for (Argument& argument : alone.arguments) {
    TensorView& view = argument.tensor;
    const auto narrow = [&](int64_t begin, int64_t count) {
      view.data = static_cast<char*>(view.data) + begin * view.stride[0] * (BitsOf(view.dtype) / 8);
      view.shape[0] = count;
    };
    switch (argument.role) {
      case Role::kCuQ:
      case Role::kCuK: {
        const TensorView own = storage.Add(argument.role, DType::kI64, {2});
        own.Set({1}, static_cast<double>(count_of(argument.role)));
        view = own;
        break;
      }
      case Role::kK:
      case Role::kV: narrow(begin_of(Role::kCuK), count_of(Role::kCuK)); break;
      case Role::kStateIn:
      case Role::kStateOut: narrow(sequence, 1); break;
      case Role::kQ:
      case Role::kO:
      case Role::kLse:
      case Role::kLogDecay:
      case Role::kBeta: narrow(begin_of(Role::kCuQ), count_of(Role::kCuQ)); break;
      default: break;  // the same for every sequence: sinks, slopes
    }
  }
  return alone;
}

Outcome BatchInvariance(const Subject& subject) {
  Outcome outcome;
  const std::vector<int64_t> lengths_of_queries[] = {{1, 1, 1, 1}, {subject.Rows(5), 1, subject.Rows(17), 0}};
  for (const std::vector<int64_t>& queries : lengths_of_queries) {
    const Result<OwnedProblem> owned = subject.Example({.query_tokens = queries, .key_tokens = {65, 300, 17, 64}}, "T15");
    if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
    const Problem& batch = owned->problem;
    if (const Status status = subject.Serves(batch); !status.ok()) return Outcome::NotApplicable(status.error().message);
    if (const auto ran = subject.Run(batch); !ran.ok()) return Outcome::NotApplicable(ran.error().message);
    std::vector<std::vector<double>> together;
    std::deque<OwnedProblem> storage(queries.size());
    std::vector<Problem> singles;
    for (size_t b = 0; b < queries.size(); ++b) {
      singles.push_back(OneSequence(batch, static_cast<int64_t>(b), storage[b]));
      together.push_back(Values(singles.back(), Role::kO));
    }
    const std::vector<double> whole = Values(batch, Role::kO);
    for (size_t b = 0; b < singles.size(); ++b) {
      if (!subject.Run(singles[b]).ok()) continue;
      const int64_t mismatches = MismatchCount(together[b], Values(singles[b], Role::kO));
      outcome.bitwise_mismatches += mismatches;
      if (mismatches > 0) {
        outcome.Add(Severity::kMinor, fmt::format("sequence {} of 4 has {} of {} values that differ in bits from the same sequence alone", b, mismatches, together[b].size()),
                    fmt::format("4 sequences of 65, 300, 17, 64 keys and {} queries", fmt::join(queries, ", ")));
      }
    }
    for (const int workers : {2, 3}) {
      ThreadPool pool(workers);
      if (!subject.Run(batch, &pool).ok()) continue;
      const int64_t mismatches = MismatchCount(whole, Values(batch, Role::kO));
      outcome.bitwise_mismatches += mismatches;
      if (mismatches > 0) {
        outcome.Add(Severity::kMinor, fmt::format("{} of {} values change with {} threads", mismatches, whole.size(), workers), fmt::format("4 sequences, {} threads against 1", workers));
      }
    }
  }
  return outcome;
}

// Splits over keys are another order of summation: right within tolerance for any number; how many values change in bits is told, not judged.
Outcome SplitCounts(const Subject& subject) {
  Outcome outcome;
  std::vector<double> unsplit;
  for (const int splits : {1, 2, 3, 5, 64}) {
    const Result<OwnedProblem> owned = subject.Example({.query_tokens = {1, subject.Rows(2)}, .key_tokens = {700, 3}}, "T11");
    if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
    Problem problem = owned->problem;
    problem.splits = splits;
    const int before = outcome.served;
    outcome.Expect(subject, problem, fmt::format("sequences of 700 and 3 keys, splits = {}", splits));
    if (outcome.served == before) continue;
    if (unsplit.empty()) unsplit = Values(problem, Role::kO);
    outcome.bitwise_mismatches += MismatchCount(unsplit, Values(problem, Role::kO));
  }
  if (outcome.served < 2) return Outcome::NotApplicable(outcome.unserved.empty() ? "it is not split over keys" : outcome.unserved);
  return outcome;
}

constexpr Probe kProbes[] = {
    {"T11", "any number of splits merges to the same answer", "pytorch/torchtitan#3235: NaN in 1 % of decode steps under automatic splits", SplitCounts},
    {"T15", "a row does not depend on its batch or on threads", "vllm-project/vllm#53257: a solo run differs in 11 of 50", BatchInvariance},
};

}  // namespace

std::span<const Probe> InvarianceProbes() { return kProbes; }

}  // namespace assay::numerics
