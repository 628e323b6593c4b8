#include "probes/cost/row_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "probes/numerics/probe.h"

namespace assay::cost {
namespace {

// Rows of a softmax read every key before them, so the last ones are taken; rows of a recurrence need every token before them computed, so
// the first ones are, past the edge of a chunk.
constexpr int64_t kLastRows = 3;
constexpr int64_t kFirstRows = 70;
constexpr int64_t kMostQueryHeads = 4;

struct Slice {
  int64_t begin = 0;
  int64_t count = 0;
};

void Narrow(TensorView& view, int axis, Slice slice) {
  const auto i = static_cast<size_t>(axis);
  view.data = static_cast<char*>(view.data) + slice.begin * view.stride[i] * (BitsOf(view.dtype) / 8);
  view.shape[i] = slice.count;
}

Slice TokensOf(const Problem& problem, Role cu, int64_t sequence) {
  const auto begin = static_cast<int64_t>(problem.Get(cu).At({sequence}));
  return {begin, static_cast<int64_t>(problem.Get(cu).At({sequence + 1})) - begin};
}

// The heads of the last key head's group among `heads`; few enough where one key head serves them all.
Slice HeadsOf(int64_t heads, int64_t groups) {
  const int64_t each = std::max<int64_t>(1, heads / std::max<int64_t>(1, groups));
  return {heads - std::min(each, groups == 1 ? kMostQueryHeads : each), std::min(each, groups == 1 ? kMostQueryHeads : each)};
}

// One sequence, one group of heads, some rows of `batch`; new CU tensors live in `storage`.
Problem Part(const Problem& batch, int64_t sequence, bool recurrent, OwnedProblem& storage) {
  const Slice queries = TokensOf(batch, Role::kCuQ, sequence);
  const Slice keys = TokensOf(batch, Role::kCuK, sequence);
  const int64_t rows = std::min(queries.count, recurrent ? kFirstRows : kLastRows);
  const Slice part = {recurrent ? queries.begin : queries.begin + queries.count - rows, rows};
  const Slice key_part = recurrent ? part : keys;
  const int64_t groups = batch.Get(Role::kK).shape[1];
  Problem problem = batch;
  // The final state belongs to the last token, which is not in the part.
  std::erase_if(problem.arguments, [&](const Argument& argument) { return argument.role == Role::kStateOut && rows < queries.count; });
  for (Argument& argument : problem.arguments) {
    TensorView& view = argument.tensor;
    switch (argument.role) {
      case Role::kCuQ:
      case Role::kCuK: {
        const TensorView own = storage.Add(argument.role, DType::kI64, {2});
        own.Set({1}, static_cast<double>(argument.role == Role::kCuQ ? part.count : key_part.count));
        view = own;
        break;
      }
      case Role::kQ:
      case Role::kO:
      case Role::kLse:
      case Role::kLogDecay:
      case Role::kBeta:
        Narrow(view, 0, part);
        Narrow(view, 1, HeadsOf(view.shape[1], groups));
        break;
      case Role::kK:
      case Role::kV:
        Narrow(view, 0, key_part);
        Narrow(view, 1, HeadsOf(view.shape[1], groups));
        break;
      case Role::kStateIn:
      case Role::kStateOut:
        Narrow(view, 0, {sequence, 1});
        Narrow(view, 1, HeadsOf(view.shape[1], groups));
        break;
      case Role::kSink:
      case Role::kAlibi: Narrow(view, 0, HeadsOf(view.shape[0], groups)); break;
      default: break;
    }
  }
  return problem;
}

}  // namespace

Status CheckRows(const Mechanism& mechanism, DType dtype, const Problem& problem) {
  const int64_t sequences = problem.Get(Role::kCuQ).shape[0] - 1;
  for (const int64_t sequence : {int64_t{0}, sequences - 1}) {
    OwnedProblem storage;
    const Problem part = Part(problem, sequence, mechanism.traits.state == StateKind::kFixed, storage);
    if (const Status status = mechanism.check(part); !status.ok()) return Error(status.error()).In("a part of the answer cannot be checked");
    const numerics::Judgement judgement = numerics::JudgeAnswer(mechanism, dtype, part);
    if (!judgement.right) return NotHeld(fmt::format("sequence {}: {}", sequence, judgement.text));
    if (sequences == 1) break;
  }
  return Ok();
}

}  // namespace assay::cost
