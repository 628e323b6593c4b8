// The simulator against a slow, obvious one that follows the words of simulator.h a step at a time, and against laws it must obey.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>

#include "core/random.h"
#include "serving/arrivals.h"
#include "serving/metrics.h"
#include "serving/simulator.h"
#include "serving/synthetic_test.h"

namespace assay::serving {
namespace {

// A step cost with a kink in context, so that a stretch crosses lines.
class ToyCost : public StepCost {
 public:
  StepParts Dense(int rows, int sequences) override {
    StepParts parts;
    parts.gemm_ms = 1.0 + 0.01 * rows;
    parts.host_ms = 0.1 + 0.001 * sequences;
    return parts;
  }
  DecodeLine Decode(int decodes, double mean) override {
    const double knot = std::floor(mean / 64) * 64;
    return {.at_context = knot, .ms = decodes * AttentionAt(knot), .ms_per_token = decodes * (AttentionAt(knot + 64) - AttentionAt(knot)) / 64,
            .until_context = knot + 64};
  }
  double PrefillAttentionMs(std::span<const PrefillChunk> chunks) override {
    double ms = 0;
    for (const PrefillChunk& c : chunks) ms += 1e-5 * c.tokens * (c.prefix_tokens + c.tokens / 2);
    return ms;
  }
  double RequestOverheadMs() override { return overhead_ms; }

  double overhead_ms = 0;

 private:
  static double AttentionAt(double context) { return 1e-4 * std::sqrt(context); }
};

struct SlowSequence {
  size_t request;
  int computed, total, remaining;
  int64_t bytes = 0;
  int scheduled = 0;
};

// One step at a time, everything recomputed.
Outcome SlowSimulate(std::span<const Request> requests, const Policy& policy, const KvPool& pool, StepCost& cost) {
  Outcome outcome;
  outcome.requests.resize(requests.size());
  std::deque<SlowSequence> waiting;
  std::vector<SlowSequence> running;
  size_t next = 0;
  double now = 0;
  const auto used = [&] {
    int64_t bytes = 0;
    for (const SlowSequence& s : running) bytes += s.bytes;
    return bytes;
  };
  const auto reserve = [&](SlowSequence& s, int tokens, double keep) {
    const int64_t wanted = pool.BytesFor(s.computed + tokens);
    if (wanted - s.bytes > pool.pool_bytes - used() - static_cast<int64_t>(keep)) return false;
    s.bytes = wanted;
    return true;
  };
  for (;;) {
    for (; next < requests.size() && requests[next].arrival_ms + cost.RequestOverheadMs() <= now; ++next) {
      outcome.requests[next].arrival_ms = requests[next].arrival_ms;
      outcome.requests[next].output_tokens = requests[next].output_tokens;
      if (pool.BytesFor(requests[next].prompt_tokens + requests[next].output_tokens) > pool.pool_bytes) {
        ++outcome.refused;
        continue;
      }
      waiting.push_back({next, 0, requests[next].prompt_tokens, requests[next].output_tokens});
    }
    if (running.empty() && waiting.empty()) {
      if (next == requests.size()) break;
      outcome.ledger.idle_ms += requests[next].arrival_ms + cost.RequestOverheadMs() - now;
      now = requests[next].arrival_ms + cost.RequestOverheadMs();
      continue;
    }
    int budget = policy.max_batched_tokens;
    bool preempted = false;
    const auto preempt = [&] {
      SlowSequence s = running.back();
      running.pop_back();
      s.bytes = s.computed = s.scheduled = 0;
      ++outcome.preemptions;
      ++outcome.requests[s.request].preemptions;
      waiting.push_front(s);
      preempted = true;
    };
    for (size_t i = 0; i < running.size(); ++i) {
      const int tokens = std::min(running[i].total - running[i].computed, budget);
      running[i].scheduled = 0;
      if (tokens == 0) continue;
      bool fits = reserve(running[i], tokens, 0);
      while (!fits && running.size() > i + 1) {
        preempt();
        fits = reserve(running[i], tokens, 0);
      }
      if (!fits) {
        preempt();
        break;
      }
      running[i].scheduled = tokens;
      budget -= tokens;
    }
    while (!preempted && !waiting.empty() && budget > 0 && running.size() < static_cast<size_t>(policy.max_sequences)) {
      SlowSequence s = waiting.front();
      int tokens = std::min(s.total, budget);
      if (policy.prefill == PrefillMode::kWhole && tokens < s.total) {
        if (budget < policy.max_batched_tokens) break;
        tokens = s.total;
      }
      const double keep = running.empty() ? 0 : std::floor(policy.watermark * static_cast<double>(pool.pool_bytes));
      if (!reserve(s, tokens, keep)) break;
      s.scheduled = tokens;
      budget -= tokens;
      running.push_back(s);
      waiting.pop_front();
    }
    EXPECT_LE(used(), pool.pool_bytes);
    int rows = 0, sequences = 0, decodes = 0;
    double context = 0;
    std::vector<PrefillChunk> chunks;
    for (const SlowSequence& s : running) {
      if (s.scheduled == 0) continue;
      rows += s.scheduled;
      sequences += s.computed + s.scheduled == s.total;
      if (s.scheduled == 1 && s.computed > 0 && s.total - s.computed == 1) {
        ++decodes;
        context += s.total;
      } else {
        chunks.push_back({static_cast<double>(s.computed), static_cast<double>(s.scheduled)});
        outcome.ledger.prefill_tokens += s.scheduled;
      }
    }
    StepParts parts = cost.Dense(rows, sequences);
    if (decodes > 0) {
      const DecodeLine line = cost.Decode(decodes, context / decodes);
      parts.attention_ms += line.ms + line.ms_per_token * (context / decodes - line.at_context);
    }
    parts.attention_ms += cost.PrefillAttentionMs(chunks);
    outcome.ledger.decode_tokens += decodes;
    ++outcome.ledger.steps;
    outcome.ledger.busy.attention_ms += parts.attention_ms;
    now += parts.total_ms();
    std::vector<SlowSequence> kept;
    for (SlowSequence s : running) {
      if (s.scheduled > 0) {
        s.computed += s.scheduled;
        if (s.computed == s.total) {
          ++s.total;
          --s.remaining;
          if (outcome.requests[s.request].first_token_ms < 0) outcome.requests[s.request].first_token_ms = now;
        }
      }
      s.scheduled = 0;
      if (s.remaining == 0) {
        outcome.requests[s.request].end_ms = now;
      } else {
        kept.push_back(s);
      }
    }
    running = kept;
  }
  outcome.virtual_ms = now;
  return outcome;
}

struct World {
  std::vector<Request> requests;
  Policy policy;
  KvPool pool;
  double overhead_ms = 0;
};

World RandomWorld(uint64_t seed) {
  Rng rng(seed);
  World world;
  world.policy = {.max_batched_tokens = 16 + static_cast<int>(rng.Below(400)), .max_sequences = 1 + static_cast<int>(rng.Below(24)),
                  .prefill = rng.Below(3) == 0 ? PrefillMode::kWhole : PrefillMode::kChunked, .watermark = rng.Below(2) == 0 ? 0.0 : 0.03};
  world.pool.block_tokens = static_cast<int32_t>(1 << rng.Below(6));
  world.pool.groups.push_back({.bytes_per_token = 10, .window_tokens = 0});
  if (rng.Below(2) == 0) world.pool.groups.push_back({.bytes_per_token = 25, .window_tokens = 1 + static_cast<int32_t>(rng.Below(100))});
  if (rng.Below(3) == 0) world.pool.state_bytes = 500;
  world.pool.pool_bytes = 4000 + static_cast<int64_t>(rng.Below(60000));
  world.overhead_ms = rng.Below(2) == 0 ? 0 : 3;
  double now = 0;
  const size_t count = 1 + rng.Below(60);
  const double gap = rng.Uniform(0.5, 60);
  for (size_t i = 0; i < count; ++i) {
    now += rng.Exponential(gap);
    world.requests.push_back({.arrival_ms = now, .prompt_tokens = 1 + static_cast<int32_t>(rng.Below(300)),
                              .output_tokens = 1 + static_cast<int32_t>(rng.Below(200))});
  }
  return world;
}

RC_GTEST_PROP(Simulator, AgreesWithTheSlowOneEventByEvent, (uint64_t seed)) {
  const World world = RandomWorld(seed);
  ToyCost cost;
  cost.overhead_ms = world.overhead_ms;
  const auto fast = Simulate(world.requests, world.policy, world.pool, cost);
  RC_ASSERT(fast.ok());
  const Outcome slow = SlowSimulate(world.requests, world.policy, world.pool, cost);
  RC_ASSERT(fast->preemptions == slow.preemptions);
  RC_ASSERT(fast->refused == slow.refused);
  RC_ASSERT(fast->ledger.steps == slow.ledger.steps);
  RC_ASSERT(fast->ledger.prefill_tokens == slow.ledger.prefill_tokens);
  RC_ASSERT(fast->ledger.decode_tokens == slow.ledger.decode_tokens);
  RC_ASSERT(std::abs(fast->ledger.busy.attention_ms - slow.ledger.busy.attention_ms) < 1e-6);
  for (size_t i = 0; i < world.requests.size(); ++i) {
    RC_ASSERT(std::abs(fast->requests[i].first_token_ms - slow.requests[i].first_token_ms) < 1e-6);
    RC_ASSERT(std::abs(fast->requests[i].end_ms - slow.requests[i].end_ms) < 1e-6);
    RC_ASSERT(fast->requests[i].preemptions == slow.requests[i].preemptions);
  }
}

RC_GTEST_PROP(Simulator, ConservesRequestsTokensAndTime, (uint64_t seed)) {
  const World world = RandomWorld(seed);
  ToyCost cost;
  const auto outcome = Simulate(world.requests, world.policy, world.pool, cost);
  RC_ASSERT(outcome.ok());
  int64_t served = 0;
  int64_t tokens = 0;
  for (size_t i = 0; i < world.requests.size(); ++i) {
    const RequestTimes& r = outcome->requests[i];
    if (!r.served()) continue;
    ++served;
    tokens += world.requests[i].output_tokens;
    RC_ASSERT(r.first_token_ms > r.arrival_ms);
    RC_ASSERT(r.end_ms >= r.first_token_ms);
  }
  RC_ASSERT(served + outcome->refused == static_cast<int64_t>(world.requests.size()));
  RC_ASSERT(std::abs(outcome->ledger.busy.total_ms() + outcome->ledger.idle_ms - outcome->virtual_ms) < 1e-6);
  RC_ASSERT(outcome->kv_peak_share <= 1.0);
  // Without preemption every prompt token is computed once and every output token but the first is one decode.
  if (outcome->preemptions == 0) RC_ASSERT(outcome->ledger.decode_tokens <= tokens);
}

TEST(Simulator, IsDeterministic) {
  const World world = RandomWorld(5);
  ToyCost cost;
  const auto a = Simulate(world.requests, world.policy, world.pool, cost);
  const auto b = Simulate(world.requests, world.policy, world.pool, cost);
  for (size_t i = 0; i < world.requests.size(); ++i) EXPECT_EQ(a->requests[i].end_ms, b->requests[i].end_ms);
}

// A server that serves one request in a fixed time: M/D/1.
class FixedService final : public StepCost {
 public:
  StepParts Dense(int, int) override {
    StepParts parts;
    parts.gemm_ms = 10;
    return parts;
  }
  DecodeLine Decode(int, double) override { return {.at_context = 0, .ms = 0, .ms_per_token = 0, .until_context = 1e9}; }
  double PrefillAttentionMs(std::span<const PrefillChunk>) override { return 0; }
  double RequestOverheadMs() override { return 0; }
};

Outcome RunQueue(double load, uint64_t seed) {
  const auto requests = Generate({.process = ArrivalProcess::kPoisson, .requests_per_s = 100 * load, .requests = 200'000,
                                  .prompt = {.mean_log = 0, .sigma_log = 0}, .output = {.mean_log = 0, .sigma_log = 0}}, seed);
  FixedService cost;
  KvPool pool{.pool_bytes = 1 << 20, .block_tokens = 16, .state_bytes = 0, .groups = {{.bytes_per_token = 1, .window_tokens = 0}}};
  auto outcome = Simulate(requests, {.max_batched_tokens = 1, .max_sequences = 1}, pool, cost);
  EXPECT_TRUE(outcome.ok());
  return std::move(*outcome);
}

TEST(Simulator, MeetsTheMD1Formula) {
  for (double load : {0.3, 0.6, 0.8}) {
    const Outcome outcome = RunQueue(load, 17);
    double wait_ms = 0;
    for (const RequestTimes& r : outcome.requests) wait_ms += (r.e2e_ms() - 10) / static_cast<double>(outcome.requests.size());
    // Pollaczek-Khinchine for fixed service: W = rho s / (2 (1 - rho)).
    EXPECT_NEAR(wait_ms / (load * 10 / (2 * (1 - load))), 1, 0.04) << load;
  }
}

TEST(Simulator, ObeysLittlesLaw) {
  const Outcome outcome = RunQueue(0.7, 23);
  // The time average of requests inside, from the events themselves, equals rate times mean time inside.
  std::vector<std::pair<double, int>> events;
  double inside_ms = 0;
  for (const RequestTimes& r : outcome.requests) {
    events.emplace_back(r.arrival_ms, 1);
    events.emplace_back(r.end_ms, -1);
    inside_ms += r.e2e_ms();
  }
  std::sort(events.begin(), events.end());
  double area = 0;
  double last = 0;
  int count = 0;
  for (const auto& [at, change] : events) {
    area += count * (at - last);
    last = at;
    count += change;
  }
  EXPECT_NEAR(area / inside_ms, 1, 1e-9);
}

TEST(Simulator, ClosedLoopKeepsItsConcurrency) {
  const auto benchmark = Generate(ClosedLoopBenchmark{.concurrency = 8, .prompt_tokens = 100, .output_tokens = 50}, 3);
  ToyCost cost;
  KvPool pool{.pool_bytes = 1 << 20, .block_tokens = 16, .state_bytes = 0, .groups = {{.bytes_per_token = 10, .window_tokens = 0}}};
  const auto outcome = Simulate(benchmark, {}, pool, cost, {.closed_loop_concurrency = 8});
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->running_peak, 8);
  EXPECT_EQ(outcome->ledger.idle_ms, 0);
  EXPECT_EQ(Summarise(*outcome).requests, 80);
}

TEST(Simulator, AWindowHoldsLessThanFullAttention) {
  const KvPool full{.pool_bytes = 1, .block_tokens = 16, .state_bytes = 0, .groups = {{.bytes_per_token = 10, .window_tokens = 0}}};
  const KvPool window{.pool_bytes = 1, .block_tokens = 16, .state_bytes = 0, .groups = {{.bytes_per_token = 10, .window_tokens = 128}}};
  EXPECT_EQ(full.BytesFor(1000), 10080);
  EXPECT_EQ(window.BytesFor(1000), 1440);
  EXPECT_EQ(window.BytesFor(100), full.BytesFor(100));
}

TEST(Simulator, RequestThatCannotFitIsRefusedNotLooped) {
  ToyCost cost;
  const KvPool pool{.pool_bytes = 100, .block_tokens = 16, .state_bytes = 0, .groups = {{.bytes_per_token = 10, .window_tokens = 0}}};
  const std::vector<Request> requests = {{.arrival_ms = 0, .prompt_tokens = 1000, .output_tokens = 10}};
  const auto outcome = Simulate(requests, {}, pool, cost);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->refused, 1);
  EXPECT_FALSE(outcome->requests[0].served());
}

TEST(Simulator, RefusesBadRequestsAndEmptyPools) {
  ToyCost cost;
  const KvPool pool{.pool_bytes = 10000, .block_tokens = 16, .state_bytes = 0, .groups = {}};
  const std::vector<Request> no_output = {{.arrival_ms = 0, .prompt_tokens = 1, .output_tokens = 0}};
  EXPECT_FALSE(Simulate(no_output, {}, pool, cost).ok());
  const std::vector<Request> backwards = {{.arrival_ms = 5, .prompt_tokens = 1, .output_tokens = 1}, {.arrival_ms = 4, .prompt_tokens = 1, .output_tokens = 1}};
  EXPECT_FALSE(Simulate(backwards, {}, pool, cost).ok());
  EXPECT_FALSE(Simulate({}, {}, KvPool{}, cost).ok());
}

TEST(Arrivals, PoissonAndGammaHaveTheirMeanGap) {
  for (ArrivalProcess process : {ArrivalProcess::kPoisson, ArrivalProcess::kGammaBursts}) {
    const auto requests = Generate({.process = process, .requests_per_s = 5, .requests = 100'000, .prompt = {}, .output = {}}, 1);
    EXPECT_NEAR(requests.back().arrival_ms / 1e5, 200, 4);
  }
}

TEST(Metrics, PercentileIntervalHoldsTheTruthAsOftenAsItSays) {
  Rng rng(9);
  int inside = 0;
  constexpr int kTrials = 400;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> values(500);
    for (double& value : values) value = rng.Uniform();
    const Percentiles p = PercentilesOf(values);
    inside += p.p90.low <= 0.9 && 0.9 <= p.p90.high;
  }
  EXPECT_GT(inside, static_cast<int>(0.92 * kTrials));
}

TEST(Simulate, RefusesStepsLargerThanAnythingTimed) {
  struct Small final : ToyCost {
    int MostRows() override { return 4096; }
  } cost;
  const KvPool pool{.pool_bytes = 1'000'000'000, .groups = {{.bytes_per_token = 1000}}};
  const std::vector<Request> requests = {{.arrival_ms = 0, .prompt_tokens = 5000, .output_tokens = 3}};
  EXPECT_TRUE(Simulate(requests, {.max_batched_tokens = 4096}, pool, cost).ok()) << "cut into chunks";
  const auto budget = Simulate(requests, {.max_batched_tokens = 4097}, pool, cost);
  ASSERT_FALSE(budget.ok());
  EXPECT_NE(budget.error().message.find("max_batched_tokens is 4097; steps of at most 4096"), std::string::npos) << budget.error().message;
  const auto whole = Simulate(requests, {.max_batched_tokens = 4096, .prefill = PrefillMode::kWhole}, pool, cost);
  ASSERT_FALSE(whole.ok());
  EXPECT_NE(whole.error().message.find("use chunked prefill"), std::string::npos) << whole.error().message;
}

TEST(Simulate, AWatchSeesTheShareRiseAndEndsTheRunWithWhatHadEnded) {
  const auto requests = Generate({.requests_per_s = 5, .requests = 100'000, .prompt = {.mean_log = 5, .sigma_log = 0.5},
                                  .output = {.mean_log = 5, .sigma_log = 0.5}}, 3);
  const KvPool pool{.pool_bytes = 1'000'000'000, .groups = {{.bytes_per_token = 1000}}};
  ToyCost cost;
  std::vector<double> shares;
  const auto whole = Simulate(requests, {}, pool, cost, {}, [&](double share) { return shares.push_back(share), true; });
  ASSERT_TRUE(whole.ok());
  EXPECT_FALSE(whole->stopped);
  ASSERT_GT(shares.size(), 1U);
  EXPECT_TRUE(std::is_sorted(shares.begin(), shares.end()));
  EXPECT_LE(shares.back(), 1);
  const auto cut = Simulate(requests, {}, pool, cost, {}, [&](double share) { return share < shares[0] / 2; });
  ASSERT_TRUE(cut.ok());
  EXPECT_TRUE(cut->stopped);
  const Summary summary = Summarise(*cut);
  EXPECT_GT(summary.requests, 0);
  EXPECT_LT(summary.requests, 100'000);
  // What had ended is told as the whole run tells it.
  for (size_t i = 0; i < requests.size(); ++i) {
    if (!cut->requests[i].served()) continue;
    EXPECT_EQ(cut->requests[i].end_ms, whole->requests[i].end_ms) << i;
  }
}

}  // namespace
}  // namespace assay::serving
