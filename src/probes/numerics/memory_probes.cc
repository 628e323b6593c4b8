// T27-T31: memory. Layouts, length residues, far offsets, options that must not be ignored, poison around everything.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <memory>

#include "kernels/role_name.h"
#include "probes/numerics/probe.h"

namespace assay::numerics {
namespace {

// --- T27 ---

// A copy of a tensor whose axes lie in memory in the given order (outermost first), with `gap` unused elements after each innermost row,
// optionally reversed along the innermost axis.
struct Layout {
  std::string_view name;
  std::vector<int> order;  // of a rank-4 tensor
  int64_t gap = 0;
  bool reversed = false;
};

TensorView Rearranged(const TensorView& source, const Layout& layout, OwnedProblem& storage) {
  std::array<int64_t, 4> stride{};
  int64_t elements = 1;
  for (size_t i = 4; i-- > 0;) {
    const auto axis = static_cast<size_t>(layout.order[i]);
    stride[axis] = elements;
    elements *= source.shape[axis] + (i == 3 ? layout.gap : 0);
  }
  storage.tensors.emplace_back(source.dtype, std::initializer_list<int64_t>{elements});
  storage.tensors.back().Poison();
  TensorView view = source;
  view.data = storage.tensors.back().view().data;
  std::copy(stride.begin(), stride.end(), view.stride.begin());
  if (layout.reversed) {
    const auto inner = static_cast<size_t>(layout.order[3]);
    view.data = static_cast<char*>(view.data) + (source.shape[inner] - 1) * view.stride[inner] * (BitsOf(view.dtype) / 8);
    view.stride[inner] = -view.stride[inner];
  }
  const int64_t bytes = BitsOf(source.dtype) / 8;
  ForEachElement(source, [&](std::span<const int64_t> index) {
    std::memcpy(static_cast<char*>(view.data) + view.Offset(index) * bytes, static_cast<const char*>(source.data) + source.Offset(index) * bytes, static_cast<size_t>(bytes));
  });
  return view;
}

// q, k and v as slices of one [B, T, everything] buffer, as a fused projection leaves them.
Problem Fused(const Problem& problem, OwnedProblem& storage) {
  Problem fused = problem;
  int64_t row = 0;
  const auto is_operand = [](Role role) { return role == Role::kQ || role == Role::kK || role == Role::kV; };
  for (const Argument& argument : problem.arguments) {
    if (is_operand(argument.role)) row += argument.tensor.shape[2] * argument.tensor.shape[3];
  }
  const TensorView& q = problem.Get(Role::kQ);
  storage.tensors.emplace_back(q.dtype, std::initializer_list<int64_t>{q.shape[0] * q.shape[1] * row});
  storage.tensors.back().Poison();
  const int64_t bytes = BitsOf(q.dtype) / 8;
  char* base = static_cast<char*>(storage.tensors.back().view().data);
  for (Argument& argument : fused.arguments) {
    if (!is_operand(argument.role)) continue;
    const TensorView source = argument.tensor;
    TensorView& view = argument.tensor;
    view.data = base;
    view.stride = {source.shape[1] * row, row, source.shape[3], 1};
    base += source.shape[2] * source.shape[3] * bytes;
    ForEachElement(source, [&](std::span<const int64_t> index) {
      std::memcpy(static_cast<char*>(view.data) + view.Offset(index) * bytes, static_cast<const char*>(source.data) + source.Offset(index) * bytes, static_cast<size_t>(bytes));
    });
  }
  return fused;
}

// Every layout of one problem against the contiguous one. Two sequences of `queries` and 67 keys.
void CompareLayouts(const Subject& subject, const Problem& plain, int64_t queries, Outcome& outcome) {
  const Result<std::string> contiguous = subject.Run(plain);
  if (!contiguous.ok()) {
    outcome.unserved = contiguous.error().message;
    return;
  }
  const std::vector<double> expected = Values(plain, Role::kO);
  const auto compare = [&](const Problem& problem, std::string_view name, const std::vector<double>& wanted) {
    const Result<std::string> ran = subject.Run(problem);
    if (!ran.ok()) return;  // a layout may be refused; it must not be misread
    ++outcome.served;
    const std::vector<double> got = Values(problem, Role::kO);
    const int64_t mismatches = MismatchCount(got, wanted);
    if (mismatches == 0) return;
    double largest = 0;
    for (size_t i = 0; i < got.size(); ++i) largest = std::max(largest, std::abs(got[i] - wanted[i]));
    outcome.Add(largest > 1e-3 || std::isnan(largest) ? Severity::kMajor : Severity::kMinor,
                fmt::format("{} of {} values differ from the contiguous call, by up to {:.3g}", mismatches, got.size(), largest), fmt::format("2 sequences of {} queries and 67 keys, {}", queries, name));
  };
  const Layout layouts[] = {{"heads before tokens", {0, 2, 1, 3}}, {"channels before tokens", {0, 2, 3, 1}}, {"rows with gaps", {0, 1, 2, 3}, 5}, {"channels reversed in memory", {0, 1, 2, 3}, 0, true}};
  for (const Layout& layout : layouts) {
    for (const auto& [roles, which] : {std::pair<std::vector<Role>, std::string_view>{{Role::kQ, Role::kK, Role::kV}, "q, k, v"}, {{Role::kV}, "v alone"}, {{Role::kO}, "o"}}) {
      OwnedProblem storage;
      Problem changed = plain;
      bool any = false;
      for (Argument& argument : changed.arguments) {
        if (std::find(roles.begin(), roles.end(), argument.role) == roles.end()) continue;
        argument.tensor = Rearranged(argument.tensor, layout, storage);
        any = true;
      }
      if (any) compare(changed, fmt::format("{}: {}", which, layout.name), expected);
    }
  }
  OwnedProblem storage;
  // One buffer holds all three only where there are as many queries as keys.
  if (plain.Get(Role::kQ).shape[1] == plain.Get(Role::kK).shape[1]) compare(Fused(plain, storage), "views of one fused buffer", expected);
  // Stride 0: both sequences and all key heads are the same memory.
  Problem broadcast = plain;
  OwnedProblem copies;
  Problem repeated = plain;
  for (size_t i = 0; i < broadcast.arguments.size(); ++i) {
    Argument& argument = broadcast.arguments[i];
    if (argument.role != Role::kK && argument.role != Role::kV) continue;
    argument.tensor.stride[0] = 0;
    argument.tensor.stride[2] = 0;
    repeated.arguments[i].tensor = Rearranged(argument.tensor, {"", {0, 1, 2, 3}}, copies);
  }
  if (subject.Run(repeated).ok()) compare(broadcast, "k and v with stride 0 over sequences and heads", Values(repeated, Role::kO));
}

Outcome Layouts(const Subject& subject) {
  Outcome outcome;
  for (const int64_t queries : {int64_t{67}, subject.Rows(3)}) {
    const Result<OwnedProblem> owned = subject.Example({.query_tokens = {queries, queries}, .key_tokens = {67, 67}, .storage = ExampleSpec::Storage::kDense}, "T27");
    if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
    CompareLayouts(subject, owned->problem, queries, outcome);
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved.empty() ? "every layout is refused" : outcome.unserved);
  return outcome;
}

// --- T28 ---

Outcome LengthResidues(const Subject& subject) {
  std::vector<int64_t> keys = {1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 257};
  std::vector<int64_t> queries = {1, 2, 7};
  if (!subject.quick) {
    keys.insert(keys.end(), {4, 6, 7, 9, 32, 128, 191, 193, 255, 256, 1025});
    queries.insert(queries.end(), {3, 6, 12, 13, 25, 65});
  }
  Outcome outcome;
  for (const int64_t q : queries) {
    for (const int64_t k : keys) {
      if (k < q) continue;
      const Result<OwnedProblem> owned = subject.Example({.query_tokens = {q}, .key_tokens = {k}, .query_heads = 2, .kv_heads = 1, .head_dim = k % 2 == 0 ? 32 : 40}, fmt::format("T28/{}/{}", q, k));
      if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
      outcome.Expect(subject, owned->problem, fmt::format("{} queries, {} keys", q, k));
    }
  }
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  return outcome;
}

// --- T29 ---

struct Mapping {
  void* data = MAP_FAILED;
  size_t bytes = 0;
  explicit Mapping(size_t wanted) : data(mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)), bytes(wanted) {}
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (data != MAP_FAILED) munmap(data, bytes);
  }
};

// Rows 2^29 elements apart: the fifth row lies beyond 2^31 elements, which a 32-bit offset cannot reach. The mapping is sparse; only the
// pages that hold rows exist.
Outcome FarOffsets(const Subject& subject) {
  constexpr int64_t kRows = 7;
  constexpr int64_t kApart = int64_t{1} << 29;
  Result<OwnedProblem> owned = subject.Example({.query_tokens = {subject.Rows(kRows)}, .key_tokens = {kRows}, .query_heads = 2, .kv_heads = 1, .storage = ExampleSpec::Storage::kDense}, "T29");
  if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
  const Problem& plain = owned->problem;
  if (const auto ran = subject.Run(plain); !ran.ok()) return Outcome::NotApplicable(ran.error().message);
  const std::vector<double> expected = Values(plain, Role::kO);
  Outcome outcome;
  for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kO}) {
    if (!plain.Has(role)) continue;
    const TensorView& near = plain.Get(role);
    const int64_t bytes = BitsOf(near.dtype) / 8;
    const Mapping mapping(static_cast<size_t>((kApart * (kRows - 1) + near.shape[2] * near.shape[3]) * bytes));
    if (mapping.data == MAP_FAILED) {
      return Outcome::NotApplicable(fmt::format("the system gives no {} GiB of address space: {}", mapping.bytes >> 30, std::strerror(errno)));
    }
    TensorView far = near;
    far.data = mapping.data;
    far.stride = {0, kApart, near.shape[3], 1};
    for (int64_t t = 0; t < near.shape[1]; ++t) {
      for (int64_t h = 0; h < near.shape[2]; ++h) {
        for (int64_t c = 0; c < near.shape[3]; ++c) far.Set({0, t, h, c}, near.At({0, t, h, c}));
      }
    }
    Problem changed = plain;
    for (Argument& argument : changed.arguments) {
      if (argument.role == role) argument.tensor = far;
    }
    if (!subject.Run(changed).ok()) continue;
    ++outcome.served;
    if (const int64_t mismatches = MismatchCount(Values(changed, Role::kO), expected); mismatches > 0) {
      outcome.Add(Severity::kCritical, fmt::format("{} of {} values change when rows lie 2^29 elements apart", mismatches, expected.size()),
                  fmt::format("7 tokens, token stride 2^29 elements in {}", NameOf(role)));
    }
  }
  if (outcome.served == 0) return Outcome::NotApplicable("every far layout is refused");
  return outcome;
}

// --- T30 ---

struct Knob {
  std::string_view name;
  void (*turn)(OwnedProblem& owned);
};

void AddRandom(OwnedProblem& owned, Role role, std::initializer_list<int64_t> shape, double low, double high) {
  const TensorView view = owned.Add(role, DType::kF32, shape);
  Rng rng(11);
  ForEachElement(view, [&](std::span<const int64_t> index) { view.as<float>()[view.Offset(index)] = static_cast<float>(rng.Uniform(low, high)); });
}

int64_t HeadsOf(const OwnedProblem& owned) { return owned.problem.Get(Role::kQ).shape[2]; }

constexpr Knob kKnobs[] = {
    {"scale x 3", [](OwnedProblem& o) { o.problem.scale *= 3; }},
    {"softcap 0.5", [](OwnedProblem& o) { o.problem.softcap = 0.5; }},
    {"window_left 1", [](OwnedProblem& o) { o.problem.window_left = 1; }},
    {"window_right 0 without causality", [](OwnedProblem& o) { o.problem.causal = Causal::kNone; o.problem.window_right = 0; }},
    {"causal top-left", [](OwnedProblem& o) { o.problem.causal = Causal::kTopLeft; }},
    {"a sink of 5", [](OwnedProblem& o) { AddRandom(o, Role::kSink, {HeadsOf(o)}, 5, 5); }},
    {"ALiBi slopes of 1", [](OwnedProblem& o) { AddRandom(o, Role::kAlibi, {HeadsOf(o)}, 1, 1); }},
    {"an additive mask", [](OwnedProblem& o) { AddRandom(o, Role::kMaskAdd, {1, 1, o.problem.Get(Role::kQ).shape[1], 40}, -4, 4); }},
    {"a boolean mask", [](OwnedProblem& o) {
       const TensorView mask = o.Add(Role::kMaskBool, DType::kBool8, {1, 1, o.problem.Get(Role::kQ).shape[1], 40});
       ForEachElement(mask, [&](std::span<const int64_t> index) { mask.as<uint8_t>()[mask.Offset(index)] = index[3] % 2 == 0; });
     }},
    {"32 of 40 keys in use", [](OwnedProblem& o) { o.Add(Role::kLenK, DType::kI64, {1}).Set({0}, 32); }},
    {"an initial state", [](OwnedProblem& o) {
       if (!o.problem.Has(Role::kStateOut) || o.problem.Has(Role::kStateIn)) return;
       const TensorView& s = o.problem.Get(Role::kStateOut);
       AddRandom(o, Role::kStateIn, {s.shape[0], s.shape[1], s.shape[2], s.shape[3]}, -1, 1);
     }},
    {"stronger decay", [](OwnedProblem& o) {
       if (!o.problem.Has(Role::kLogDecay)) return;
       const TensorView& g = o.problem.Get(Role::kLogDecay);
       ForEachElement(g, [&](std::span<const int64_t> index) { StoreElement(g.data, g.dtype, static_cast<size_t>(g.Offset(index)), -3); });
     }},
    {"beta 0.1", [](OwnedProblem& o) {
       if (!o.problem.Has(Role::kBeta)) return;
       const TensorView& b = o.problem.Get(Role::kBeta);
       ForEachElement(b, [&](std::span<const int64_t> index) { StoreElement(b.data, b.dtype, static_cast<size_t>(b.Offset(index)), 0.1); });
     }},
};

// An option is honoured or refused, never ignored. It counts as honoured only if the truth moves too: some have no effect by definition.
Outcome KnobSensitivity(const Subject& subject) {
  const ExampleSpec spec = {.query_tokens = {subject.Rows(5)}, .key_tokens = {40}, .storage = ExampleSpec::Storage::kDense};
  const Result<OwnedProblem> base = subject.Example(spec, "T30");
  if (!base.ok()) return Outcome::NotApplicable(base.error().message);
  if (const auto ran = subject.Run(base->problem); !ran.ok()) return Outcome::NotApplicable(ran.error().message);
  const std::vector<double> plain = Values(base->problem, Role::kO);
  Outcome outcome;
  for (const Knob& knob : kKnobs) {
    Result<OwnedProblem> owned = subject.Example(spec, "T30");
    knob.turn(*owned);
    if (!subject.Serves(owned->problem).ok()) continue;  // refused: fine
    subject.mechanism->reference(owned->problem);
    const std::vector<double> truth = Values(owned->problem, Role::kO);
    if (!subject.Run(owned->problem).ok()) continue;
    ++outcome.served;
    const std::vector<double> got = Values(owned->problem, Role::kO);
    double moved = 0;
    double should_move = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      moved = std::max(moved, std::abs(got[i] - plain[i]));
      should_move = std::max(should_move, std::abs(truth[i] - plain[i]));
    }
    if (should_move < 0.02 || moved > 0.1 * should_move) continue;
    outcome.Add(Severity::kMajor, fmt::format("{} is accepted and changes nothing", knob.name), fmt::format("5 queries, 40 keys, with and without {}", knob.name));
  }
  // Parameters of the mechanism that the problem carries: another value is another function, which the reference knows.
  for (size_t i = 0; i < base->problem.parameters.size(); ++i) {
    const double given = base->problem.parameters[i].value;
    for (const double value : {0.0, 1.0, std::floor(given / 2), given * 2}) {
      if (value == given) continue;
      Problem changed = base->problem;
      changed.parameters[i].value = value;
      outcome.Expect(subject, changed, fmt::format("5 queries, 40 keys, {} = {:g}", changed.parameters[i].name, value));
    }
  }
  if (outcome.served == 0) return Outcome::NotApplicable("every option is refused");
  return outcome;
}

// --- T31 ---

Outcome Poison(const Subject& subject) {
  Outcome outcome;
  // Canaries on both sides of every output, and outputs that hold NaN before the call (Subject::Run sees to that).
  Result<OwnedProblem> owned = subject.Example({.query_tokens = {subject.Rows(7)}, .key_tokens = {70}, .storage = ExampleSpec::Storage::kDense}, "T31");
  if (!owned.ok()) return Outcome::NotApplicable(owned.error().message);
  Problem guarded = owned->problem;
  constexpr size_t kGuard = 4096;
  std::vector<std::unique_ptr<std::vector<unsigned char>>> blocks;
  std::vector<size_t> sizes;
  for (Argument& argument : guarded.arguments) {
    if (argument.role != Role::kO && argument.role != Role::kLse && argument.role != Role::kStateOut) continue;
    const size_t bytes = BytesOf(argument.tensor.dtype, static_cast<size_t>(argument.tensor.count()));
    blocks.push_back(std::make_unique<std::vector<unsigned char>>(bytes + 2 * kGuard, static_cast<unsigned char>(0xA5)));
    sizes.push_back(bytes);
    argument.tensor.data = blocks.back()->data() + kGuard;
  }
  outcome.Expect(subject, guarded, "7 queries, 70 keys, outputs between canaries, NaN before the call");
  if (outcome.served == 0) return Outcome::NotApplicable(outcome.unserved);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const auto intact = [](unsigned char byte) { return byte == 0xA5; };
    const auto begin = blocks[i]->begin();
    if (!std::all_of(begin, begin + kGuard, intact) || !std::all_of(begin + static_cast<std::ptrdiff_t>(kGuard + sizes[i]), blocks[i]->end(), intact)) {
      outcome.Add(Severity::kCritical, "memory beside an output was overwritten", "7 queries, 70 keys, canaries of 4 KiB around O, LSE and state");
    }
  }
  // Unused pages and page tails hold NaN in every paged example; calls in another order must not leave anything behind.
  std::vector<std::vector<double>> first;
  std::deque<OwnedProblem> cases;  // a deque: problems own memory and do not copy
  for (const ExampleSpec::Storage storage : {ExampleSpec::Storage::kPacked, ExampleSpec::Storage::kPaged, ExampleSpec::Storage::kDense}) {
    for (const int64_t keys : {3, 65, 200}) {
      Result<OwnedProblem> made = subject.Example({.query_tokens = {subject.Rows(2)}, .key_tokens = {keys}, .storage = storage}, fmt::format("T31/{}", keys));
      if (made.ok() && subject.Serves(made->problem).ok()) cases.push_back(std::move(made).value());
    }
  }
  for (const OwnedProblem& one : cases) {
    outcome.Expect(subject, one.problem, fmt::format("2 queries, {}", ShapeString(one.problem.Get(Role::kK))));
    first.push_back(Values(one.problem, Role::kO));
  }
  Rng rng = subject.Stream("T31/order");
  for (int round = 0; round < 20 && !cases.empty(); ++round) {
    const auto i = static_cast<size_t>(rng.Below(cases.size()));
    if (!subject.Run(cases[i].problem).ok()) continue;
    if (const int64_t mismatches = MismatchCount(first[i], Values(cases[i].problem, Role::kO)); mismatches > 0) {
      outcome.Add(Severity::kMinor, fmt::format("{} values change when the same call is repeated after others", mismatches), "mixed storage forms and lengths in random order");
      break;
    }
  }
  return outcome;
}

constexpr Probe kProbes[] = {
    {"T27", "layouts give the same bits", "pytorch/pytorch#112577: garbage for non-contiguous k and v", Layouts},
    {"T28", "every length residue", "pytorch/pytorch#133717: keys that do not divide into blocks", LengthResidues},
    {"T29", "offsets beyond 2^31", "thu-ml/SageAttention#386: 32-bit offsets over a fused view", FarOffsets},
    {"T30", "an option is honoured or refused", "sgl-project/sglang#33915: a softcap passed and ignored", KnobSensitivity},
    {"T31", "poisoned memory does not reach the output", "flashinfer-ai/flashinfer#2883: NaN in padding rows", Poison},
};

}  // namespace

std::span<const Probe> MemoryProbes() { return kProbes; }

}  // namespace assay::numerics
