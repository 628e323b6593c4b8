// The serving simulator: continuous batching in virtual time. Deterministic, no I/O, no clock; what a step costs is asked of a StepCost.
//
// Scheduling, a step at a time (the order matters, and the slow reference in the tests follows the same words):
//  1. Running sequences, oldest first, each get the tokens they still need to compute (one for a decode), as the token budget allows. A
//     sequence that the KV pool cannot hold preempts the youngest running one, which loses its cache and waits again at the head of the queue.
//  2. If nothing was preempted, waiting requests are admitted in order while budget, sequence slots and the pool (less its watermark) last.
//     With chunked prefill a prompt may be cut at the budget.
//  3. The step runs. A sequence whose tokens are all computed has produced one; the last one ends it.
// A stretch of pure decode steps is summed in closed form: a step's time is a line in the mean context between two knots.
#pragma once

#include <climits>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/result.h"
#include "platform/step_time.h"

namespace assay::serving {

using platform::DecodeLine;
using platform::PrefillChunk;
using platform::StepParts;

struct Request {
  double arrival_ms = 0;
  int32_t prompt_tokens = 0;
  int32_t output_tokens = 0;
};

enum class PrefillMode { kChunked, kWhole };

struct Policy {
  int max_batched_tokens = 8192;
  int max_sequences = 256;
  PrefillMode prefill = PrefillMode::kChunked;
  double watermark = 0.01;  // of the pool, kept free when admitting
};

// Bytes of the cache of one sequence: paged layers, windowed layers that stop growing, and a fixed recurrent state.
struct KvGroup {
  int64_t bytes_per_token = 0;  // all layers of the group, one rank
  int32_t window_tokens = 0;    // 0: grows without end
};
struct KvPool {
  int64_t pool_bytes = 0;
  int32_t block_tokens = 16;
  int64_t state_bytes = 0;      // a sequence
  std::vector<KvGroup> groups;

  [[nodiscard]] int64_t BytesFor(int64_t tokens) const;
};

// What steps cost. An implementation may cache; calls are from one thread.
class StepCost {
 public:
  virtual ~StepCost() = default;
  virtual StepParts Dense(int rows, int sequences) = 0;
  virtual DecodeLine Decode(int decodes, double mean_context) = 0;
  virtual double PrefillAttentionMs(std::span<const PrefillChunk> chunks) = 0;
  virtual double PrefillOutsideMs() { return 0; }  // of the last PrefillAttentionMs: kernels from beyond the measured region
  // The largest step that it can time.
  virtual int MostRows() { return INT_MAX; }
  // From a request's arrival to its place in the queue.
  virtual double RequestOverheadMs() = 0;
};

// StepCost from a platform's step times.
class TimedSteps final : public StepCost {
 public:
  explicit TimedSteps(platform::StepTimer timer) : timer_(std::move(timer)) {}
  StepParts Dense(int rows, int sequences) override { return timer_.Dense(rows, sequences); }
  DecodeLine Decode(int decodes, double mean_context) override { return timer_.Decode(decodes, mean_context); }
  double PrefillAttentionMs(std::span<const PrefillChunk> chunks) override { return timer_.PrefillAttentionMs(chunks); }
  double PrefillOutsideMs() override { return timer_.prefill_outside_ms(); }
  int MostRows() override { return platform::kMostStepRows; }
  double RequestOverheadMs() override { return timer_.draw().request_overhead_ms; }
  [[nodiscard]] const platform::StepTimer& timer() const { return timer_; }

 private:
  platform::StepTimer timer_;
};

struct RequestTimes {
  double arrival_ms = 0;      // as released: a closed-loop client's is the end of its former request
  double first_token_ms = -1; // < 0: refused, its cache would not fit the pool alone; or the run was stopped before it
  double end_ms = -1;
  int32_t output_tokens = 0;
  int32_t preemptions = 0;

  [[nodiscard]] bool served() const { return end_ms >= 0; }
  [[nodiscard]] double ttft_ms() const { return first_token_ms - arrival_ms; }
  [[nodiscard]] double tpot_ms() const { return output_tokens > 1 ? (end_ms - first_token_ms) / (output_tokens - 1) : 0; }
  [[nodiscard]] double e2e_ms() const { return end_ms - arrival_ms; }
};

// Where virtual time went.
struct Ledger {
  StepParts busy;               // summed over steps
  double idle_ms = 0;           // nothing to run
  int64_t steps = 0;
  int64_t decode_only_steps = 0;
  int64_t prefill_tokens = 0;   // recomputed ones included
  int64_t decode_tokens = 0;
};

struct Outcome {
  std::vector<RequestTimes> requests;  // in the order given
  Ledger ledger;
  double virtual_ms = 0;               // from time 0 to the end of the last request
  int64_t preemptions = 0;
  int64_t refused = 0;
  double kv_mean_share = 0;            // of the pool, over busy time
  double kv_peak_share = 0;
  int running_peak = 0;
  bool stopped = false;                // by the watch: requests without an end were waiting or running then
};

struct Clients {
  int closed_loop_concurrency = 0;  // 0: requests arrive at arrival_ms; else this many clients, each sending its next at once
};

// Asked now and then (after so much work, not time: a run stays deterministic) with the share of the answers' tokens that is there; false
// ends the run where it is.
using Watch = std::function<bool(double share)>;

// `requests` must be sorted by arrival (open loop).
Result<Outcome> Simulate(std::span<const Request> requests, const Policy& policy, const KvPool& pool, StepCost& cost, const Clients& clients = {},
                         const Watch& watch = {});

}  // namespace assay::serving
