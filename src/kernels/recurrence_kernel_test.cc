// The recurrence kernels, both forms on every backend, against the recurrence written out in fp64.
#include "kernels/recurrence_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "core/thread_pool.h"
#include "kernels/recurrence_plan.h"
#include "kernels/test_tables.h"

namespace assay {
namespace {

using testing::TestTables;

struct Spec {
  std::vector<int64_t> tokens = {70};
  int64_t key_heads = 1, heads = 2;
  int64_t head_dim = 16, v_head_dim = 24;
  DType dtype = DType::kF32;
  enum class Decay { kNone, kPerHead, kPerChannel } decay = Decay::kPerHead;
  double mean_decay = -0.1;
  bool beta = true;
  bool state_in = true;
  int rule = recurrence::kDelta;
  bool dense = false;
};

struct Case {
  Spec spec;
  OwnedProblem owned;
};

double Rounded(DType dtype, double value) {
  unsigned char bits[8];
  StoreElement(bits, dtype, 0, value);
  return LoadElement(bits, dtype, 0);
}

Case MakeCase(const Spec& spec, uint64_t seed) {
  Case c{spec, {}};
  Rng rng(seed);
  int64_t total = 0;
  for (const int64_t tokens : spec.tokens) total += tokens;
  const auto batch = static_cast<int64_t>(spec.tokens.size());
  const auto token_wise = [&](Role role, DType dtype, int64_t heads, int64_t channels) {
    if (spec.dense) {
      return channels == 0 ? c.owned.Add(role, dtype, {batch, spec.tokens[0], heads})
                           : c.owned.Add(role, dtype, {batch, spec.tokens[0], heads, channels});
    }
    return channels == 0 ? c.owned.Add(role, dtype, {total, heads}) : c.owned.Add(role, dtype, {total, heads, channels});
  };
  const auto fill = [&](const TensorView& view, const auto& draw) {
    for (int64_t i = 0; i < view.count(); ++i) StoreElement(view.data, view.dtype, static_cast<size_t>(i), draw());
  };
  const double key_deviation = 1 / std::sqrt(static_cast<double>(spec.head_dim));  // keys of norm about 1, as deployed models have
  fill(token_wise(Role::kQ, spec.dtype, spec.key_heads, spec.head_dim), [&] { return rng.Normal(); });
  fill(token_wise(Role::kK, spec.dtype, spec.key_heads, spec.head_dim), [&] { return rng.Normal() * key_deviation; });
  fill(token_wise(Role::kV, spec.dtype, spec.heads, spec.v_head_dim), [&] { return rng.Normal(); });
  fill(token_wise(Role::kO, spec.dtype, spec.heads, spec.v_head_dim), [] { return std::nan(""); });
  if (spec.decay != Spec::Decay::kNone) {
    fill(token_wise(Role::kLogDecay, DType::kF32, spec.heads, spec.decay == Spec::Decay::kPerChannel ? spec.head_dim : 0),
         [&] { return spec.mean_decay * (0.2 + 1.6 * rng.Uniform()); });
  }
  if (spec.beta) fill(token_wise(Role::kBeta, spec.dtype, spec.heads, 0), [&] { return rng.Uniform(); });
  if (spec.state_in) {
    fill(c.owned.Add(Role::kStateIn, DType::kF32, {batch, spec.heads, spec.head_dim, spec.v_head_dim}), [&] { return rng.Normal(); });
  }
  fill(c.owned.Add(Role::kStateOut, DType::kF32, {batch, spec.heads, spec.head_dim, spec.v_head_dim}), [] { return std::nan(""); });
  if (!spec.dense) {
    for (const Role role : {Role::kCuQ, Role::kCuK}) {
      const TensorView cu = c.owned.Add(role, DType::kI64, {batch + 1});
      for (int64_t b = 0; b < batch; ++b) cu.Set({b + 1}, cu.At({b}) + static_cast<double>(spec.tokens[static_cast<size_t>(b)]));
    }
  }
  c.owned.problem.scale = 0.7;
  return c;
}

// Largest errors of what the problem's O and STATE_OUT hold, and of the recurrence computed stepwise in float; in units of the largest
// magnitude that entered the sum.
struct Errors {
  double kernel = 0, twin = 0;
};

template <class T>
void Recur(const Case& c, int64_t b, int64_t first, int64_t head, std::vector<T>& state, std::vector<T>& outputs) {
  const Spec& s = c.spec;
  const Problem& p = c.owned.problem;
  const int64_t d = s.head_dim, dv = s.v_head_dim;
  const int64_t key_head = head * s.key_heads / s.heads;
  state.assign(static_cast<size_t>(d * dv), T{0});
  if (s.state_in) {
    for (int64_t i = 0; i < d * dv; ++i) state[static_cast<size_t>(i)] = static_cast<T>(p.Get(Role::kStateIn).At({b, head, i / dv, i % dv}));
  }
  const auto at = [&](Role role, int64_t t, int64_t h, int64_t ch) {
    return static_cast<T>(s.dense ? p.Get(role).At({b, t, h, ch}) : p.Get(role).At({first + t, h, ch}));
  };
  const auto scalar = [&](Role role, int64_t t) {
    return static_cast<T>(s.dense ? p.Get(role).At({b, t, head}) : p.Get(role).At({first + t, head}));
  };
  for (int64_t t = 0; t < s.tokens[static_cast<size_t>(b)]; ++t) {
    for (int64_t i = 0; i < d; ++i) {
      T g = 0;
      if (s.decay == Spec::Decay::kPerHead) g = scalar(Role::kLogDecay, t);
      if (s.decay == Spec::Decay::kPerChannel) g = at(Role::kLogDecay, t, head, i);
      for (int64_t j = 0; j < dv; ++j) state[static_cast<size_t>(i * dv + j)] *= std::exp(g);
    }
    const T beta = s.beta ? scalar(Role::kBeta, t) : T{1};
    for (int64_t j = 0; j < dv; ++j) {
      T answer = 0;
      for (int64_t i = 0; s.rule == recurrence::kDelta && i < d; ++i) answer += state[static_cast<size_t>(i * dv + j)] * at(Role::kK, t, key_head, i);
      const T update = beta * (at(Role::kV, t, head, j) - answer);
      T output = 0;
      for (int64_t i = 0; i < d; ++i) {
        T& cell = state[static_cast<size_t>(i * dv + j)];
        cell += at(Role::kK, t, key_head, i) * update;
        output += cell * at(Role::kQ, t, key_head, i);
      }
      outputs.push_back(static_cast<T>(c.owned.problem.scale) * output);
    }
  }
}

Errors Compare(const Case& c) {
  const Spec& s = c.spec;
  const Problem& p = c.owned.problem;
  Errors errors;
  int64_t first = 0;
  for (int64_t b = 0; b < static_cast<int64_t>(s.tokens.size()); first += s.tokens[static_cast<size_t>(b)], ++b) {
    for (int64_t head = 0; head < s.heads; ++head) {
      std::vector<double> state, outputs;
      std::vector<float> twin_state, twin_outputs;
      Recur(c, b, first, head, state, outputs);
      Recur(c, b, first, head, twin_state, twin_outputs);
      double magnitude = 1;
      for (const double o : outputs) magnitude = std::max(magnitude, std::fabs(o));
      for (const double cell : state) magnitude = std::max(magnitude, std::fabs(cell));
      const auto note = [&](double got, double twin, double want) {
        errors.kernel = std::isfinite(got) ? std::max(errors.kernel, std::fabs(got - want) / magnitude) : testing::kInf;
        errors.twin = std::max(errors.twin, std::fabs(twin - want) / magnitude);
      };
      for (size_t i = 0; i < outputs.size(); ++i) {
        const auto t = static_cast<int64_t>(i) / s.v_head_dim, j = static_cast<int64_t>(i) % s.v_head_dim;
        const double got = s.dense ? p.Get(Role::kO).At({b, t, head, j}) : p.Get(Role::kO).At({first + t, head, j});
        note(got, Rounded(s.dtype, static_cast<double>(twin_outputs[i])), outputs[i]);
      }
      for (size_t i = 0; i < state.size(); ++i) {
        const auto row = static_cast<int64_t>(i) / s.v_head_dim, j = static_cast<int64_t>(i) % s.v_head_dim;
        note(p.Get(Role::kStateOut).At({b, head, row, j}), static_cast<double>(twin_state[i]), state[i]);
      }
    }
  }
  return errors;
}

struct Variant {
  const KernelTable* table;
  RecurrenceForm form;
};

class Recurrence : public ::testing::TestWithParam<Variant> {
 protected:
  static void RunCase(Case& c, ThreadPool* pool = nullptr) {
    const Kernel kernel{.id = "recurrent", .epilogue = c.spec.rule};
    auto plan = PrepareRecurrenceOn(*GetParam().table, GetParam().form, c.owned.problem, kernel, pool);
    ASSERT_TRUE(plan.ok()) << plan.error().message;
    plan.value()->Run();
  }
  static void ExpectRight(const Spec& spec, uint64_t seed, const std::string& what) {
    Case c = MakeCase(spec, seed);
    RunCase(c);
    if (HasFatalFailure()) return;
    const Errors errors = Compare(c);
    // A chunk's sums run in another order and through a triangular solve: the factor is calibrated on the stepwise twin.
    EXPECT_LE(errors.kernel, 8 * errors.twin + 2 * EpsilonOf(spec.dtype) + 16 * EpsilonOf(DType::kF32)) << what << ", twin " << errors.twin;
  }
};

TEST_P(Recurrence, AgreesAtEveryLengthAroundATileAndAChunk) {
  for (const int64_t tokens : {0, 1, 2, 5, 6, 7, 13, 63, 64, 65, 127, 128, 129, 259}) {
    ExpectRight({.tokens = {tokens}}, static_cast<uint64_t>(tokens), fmt::format("{} tokens", tokens));
    ExpectRight({.tokens = {tokens}, .decay = Spec::Decay::kPerChannel}, static_cast<uint64_t>(tokens), fmt::format("{} tokens by channel", tokens));
  }
}

TEST_P(Recurrence, AgreesForEveryWidth) {
  constexpr int64_t kWidths[][2] = {{1, 1}, {3, 5}, {16, 64}, {17, 33}, {64, 65}, {64, 128}, {128, 128}, {100, 70}};
  for (const auto& width : kWidths) {
    for (const auto decay : {Spec::Decay::kPerHead, Spec::Decay::kPerChannel}) {
      ExpectRight({.tokens = {67}, .head_dim = width[0], .v_head_dim = width[1], .decay = decay}, 3, fmt::format("{} x {}", width[0], width[1]));
    }
  }
}

TEST_P(Recurrence, AgreesUnderEveryOption) {
  for (const auto decay : {Spec::Decay::kNone, Spec::Decay::kPerHead, Spec::Decay::kPerChannel}) {
    for (const int rule : {recurrence::kDelta, recurrence::kAdditive}) {
      for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
        for (const bool present : {false, true}) {
          ExpectRight({.tokens = {3, 0, 70}, .key_heads = 2, .heads = 6, .dtype = dtype, .decay = decay, .beta = present, .state_in = present,
                       .rule = rule}, 5, fmt::format("decay {} rule {} {} {}", static_cast<int>(decay), rule, NameOf(dtype), present));
        }
      }
    }
    ExpectRight({.tokens = {65, 65}, .decay = decay, .dense = true}, 6, "dense");
  }
}

TEST_P(Recurrence, StrongDecaysStayFiniteAndExact) {
  for (const auto decay : {Spec::Decay::kPerHead, Spec::Decay::kPerChannel}) {
    for (const double mean : {-5.9, -20.0, -80.0, -200.0, -1e30}) {
      ExpectRight({.tokens = {130}, .decay = decay, .mean_decay = mean}, 9, fmt::format("decay {}", mean));
    }
  }
}

// A long strong decay, then hardly any: cumulated sums must not eat the small differences.
TEST_P(Recurrence, WeakDecayAfterStrongDecayIsExact) {
  for (const auto decay : {Spec::Decay::kPerHead, Spec::Decay::kPerChannel}) {
    Case c = MakeCase({.tokens = {64}, .decay = decay}, 10);
    const TensorView g = c.owned.problem.Get(Role::kLogDecay);
    for (int64_t i = 0; i < g.count(); ++i) {
      StoreElement(g.data, g.dtype, static_cast<size_t>(i), i < g.count() / 2 ? -90.0 : -0.001 * static_cast<double>(i % 7));
    }
    RunCase(c);
    const Errors errors = Compare(c);
    EXPECT_LE(errors.kernel, 8 * errors.twin + 16 * EpsilonOf(DType::kF32)) << errors.twin;
  }
}

TEST_P(Recurrence, MinusInfinityIsAReset) {
  Case c = MakeCase({.tokens = {70}}, 12);
  const TensorView g = c.owned.problem.Get(Role::kLogDecay);
  for (int64_t h = 0; h < 2; ++h) g.Set({35, h}, -testing::kInf);
  RunCase(c);
  const Errors errors = Compare(c);
  EXPECT_LE(errors.kernel, 8 * errors.twin + 16 * EpsilonOf(DType::kF32));
}

TEST_P(Recurrence, NanNeverTravelsBackwards) {
  for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kBeta}) {
    Case clean = MakeCase({.tokens = {70}, .key_heads = 1, .heads = 1}, 13);
    Case dirty = MakeCase({.tokens = {70}, .key_heads = 1, .heads = 1}, 13);
    const TensorView view = dirty.owned.problem.Get(role);
    view.rank == 2 ? view.Set({40, 0}, std::nan("")) : view.Set({40, 0, 3}, std::nan(""));
    RunCase(clean);
    RunCase(dirty);
    const TensorView a = clean.owned.problem.Get(Role::kO), b = dirty.owned.problem.Get(Role::kO);
    for (int64_t t = 0; t < 40; ++t) {
      for (int64_t j = 0; j < 24; ++j) EXPECT_EQ(a.At({t, 0, j}), b.At({t, 0, j})) << t;
    }
    EXPECT_TRUE(std::isnan(b.At({40, 0, 3})));
  }
}

TEST_P(Recurrence, BitsDoNotDependOnThreadsOrOnTheBatch) {
  const Spec spec{.tokens = {100, 70}, .key_heads = 2, .heads = 4, .v_head_dim = 130};
  Case one = MakeCase(spec, 14);
  RunCase(one);
  const TensorView a = one.owned.problem.Get(Role::kO);
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    Case many = MakeCase(spec, 14);
    RunCase(many, &pool);
    const TensorView b = many.owned.problem.Get(Role::kO);
    for (int64_t i = 0; i < a.count(); ++i) {
      ASSERT_EQ(LoadElement(a.data, a.dtype, static_cast<size_t>(i)), LoadElement(b.data, b.dtype, static_cast<size_t>(i)));
    }
  }
}

TEST_P(Recurrence, StateHandedOverContinuesTheSequence) {
  Case whole = MakeCase({.tokens = {128}}, 15);
  RunCase(whole);
  // The same tokens in two calls, the state written where it was read.
  Case half = MakeCase({.tokens = {64}}, 16);
  const TensorView state = half.owned.problem.Get(Role::kStateIn);
  for (Argument& argument : half.owned.problem.arguments) {
    if (argument.role == Role::kStateOut) argument.tensor = state;
  }
  std::vector<double> outputs;
  for (int64_t part = 0; part < 2; ++part) {
    for (const Role role : {Role::kQ, Role::kK, Role::kV, Role::kLogDecay, Role::kBeta}) {
      const TensorView to = half.owned.problem.Get(role), from = whole.owned.problem.Get(role);
      for (int64_t i = 0; i < to.count(); ++i) {
        StoreElement(to.data, to.dtype, static_cast<size_t>(i), LoadElement(from.data, from.dtype, static_cast<size_t>(part * to.count() + i)));
      }
    }
    if (part == 0) {
      const TensorView from = whole.owned.problem.Get(Role::kStateIn);
      for (int64_t i = 0; i < state.count(); ++i) StoreElement(state.data, state.dtype, static_cast<size_t>(i), LoadElement(from.data, from.dtype, static_cast<size_t>(i)));
    }
    RunCase(half);
    const TensorView o = half.owned.problem.Get(Role::kO);
    for (int64_t i = 0; i < o.count(); ++i) outputs.push_back(LoadElement(o.data, o.dtype, static_cast<size_t>(i)));
  }
  const TensorView o = whole.owned.problem.Get(Role::kO);
  for (size_t i = 0; i < outputs.size(); ++i) ASSERT_EQ(outputs[i], LoadElement(o.data, o.dtype, i)) << i;
}

TEST_P(Recurrence, RefusesWhatItDoesNotServeAndSaysWhy) {
  const auto refused = [](const char* word, const auto& change) {
    Case c = MakeCase({}, 1);
    change(c.owned.problem);
    const Kernel kernel{.id = "recurrent"};
    const auto plan = PrepareRecurrenceOn(*GetParam().table, GetParam().form, c.owned.problem, kernel, nullptr);
    ASSERT_FALSE(plan.ok()) << word;
    EXPECT_NE(plan.error().message.find(word), std::string::npos) << plan.error().message;
  };
  refused("softcap", [](Problem& p) { p.softcap = 1; });
  refused("role 34", [](Problem& p) { p.arguments.push_back({Role::kSink, p.Get(Role::kBeta)}); });
  refused("finite", [](Problem& p) { p.scale = testing::kInf; });
  refused("STATE_IN", [](Problem& p) { for (Argument& a : p.arguments) if (a.role == Role::kStateIn) a.tensor.shape[2] = 1; });
  refused("BETA", [](Problem& p) { for (Argument& a : p.arguments) if (a.role == Role::kBeta) a.tensor.shape[1] = 1; });
  refused("f64", [](Problem& p) { for (Argument& a : p.arguments) if (a.role == Role::kBeta) a.tensor.dtype = DType::kF64; });
}

std::vector<Variant> Variants() {
  std::vector<Variant> variants;
  for (const KernelTable* table : TestTables()) {
    variants.push_back({table, RecurrenceForm::kStep});
    variants.push_back({table, RecurrenceForm::kChunk});
  }
  return variants;
}

INSTANTIATE_TEST_SUITE_P(Backends, Recurrence, ::testing::ValuesIn(Variants()), [](const auto& parameter) {
  return fmt::format("{}_{}", parameter.param.table->name, parameter.param.form == RecurrenceForm::kStep ? "step" : "chunk");
});

}  // namespace
}  // namespace assay
