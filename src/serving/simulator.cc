// The event loop. One Engine a run; sequences are indices into the request list.
#include "serving/simulator.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include <fmt/format.h>

namespace assay::serving {
namespace {

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

struct Sequence {
  uint32_t request = 0;
  int32_t computed = 0;   // tokens whose keys and values are in the cache
  int32_t total = 0;      // prompt and tokens produced so far
  int32_t remaining = 0;  // tokens still to produce
  int64_t bytes = 0;      // held in the pool
  int32_t scheduled = 0;  // tokens in this step
};

class Engine {
 public:
  Engine(std::span<const Request> requests, const Policy& policy, const KvPool& pool, StepCost& cost, const Clients& clients, const Watch& watch)
      : requests_(requests), policy_(policy), pool_(pool), cost_(cost), clients_(clients), watch_(watch), free_(pool.pool_bytes) {
    for (const Request& r : requests) output_tokens_ += r.output_tokens;
    watermark_bytes_ = static_cast<int64_t>(policy.watermark * static_cast<double>(pool.pool_bytes));
    overhead_ms_ = cost.RequestOverheadMs();
    outcome_.requests.resize(requests.size());
  }

  Outcome Run() {
    const size_t first = clients_.closed_loop_concurrency > 0
                             ? std::min(requests_.size(), static_cast<size_t>(clients_.closed_loop_concurrency))
                             : 0;
    for (size_t i = 0; i < first; ++i) Release(0);
    while (!Stopped()) {
      PullArrivals();
      if (running_.empty() && waiting_.empty()) {
        if (next_ >= requests_.size() || clients_.closed_loop_concurrency > 0) {
          if (queued_.empty()) break;
        }
        const double wake_ms = NextArrivalMs();
        outcome_.ledger.idle_ms += wake_ms - now_ms_;
        now_ms_ = wake_ms;
        continue;
      }
      if (!Stretch()) Step();
    }
    Finish();
    return std::move(outcome_);
  }

 private:
  // Work is counted in sequences looked at, which is what a step costs us.
  bool Stopped() {
    constexpr int64_t kLookEvery = 1 << 16;
    work_ += 16 + static_cast<int64_t>(running_.size());
    if (!watch_ || work_ < kLookEvery) return false;
    work_ = 0;
    outcome_.stopped = !watch_(static_cast<double>(produced_tokens_) / static_cast<double>(std::max<int64_t>(output_tokens_, 1)));
    return outcome_.stopped;
  }

  // --- arrivals ---
  // A closed-loop client sends the next request of the list. The overhead before the queue is the client's to wait for.
  void Release(double at_ms) {
    if (next_ >= requests_.size()) return;
    queued_.push_back({static_cast<uint32_t>(next_), at_ms + overhead_ms_});
    outcome_.requests[next_].arrival_ms = at_ms;
    ++next_;
  }
  [[nodiscard]] double NextArrivalMs() const {
    if (!queued_.empty()) return queued_.front().at_ms;
    if (clients_.closed_loop_concurrency == 0 && next_ < requests_.size()) return requests_[next_].arrival_ms + overhead_ms_;
    return kNever;
  }
  void PullArrivals() {
    if (clients_.closed_loop_concurrency == 0) {
      while (next_ < requests_.size() && requests_[next_].arrival_ms + overhead_ms_ <= now_ms_) {
        outcome_.requests[next_].arrival_ms = requests_[next_].arrival_ms;
        Enqueue(static_cast<uint32_t>(next_++));
      }
      return;
    }
    while (!queued_.empty() && queued_.front().at_ms <= now_ms_) {
      const uint32_t request = queued_.front().request;
      queued_.pop_front();
      Enqueue(request);
    }
  }
  void Enqueue(uint32_t request) {
    const Request& r = requests_[request];
    outcome_.requests[request].output_tokens = r.output_tokens;
    // The last token is never written to the cache, but is counted: engines reserve for it.
    if (pool_.BytesFor(int64_t{r.prompt_tokens} + r.output_tokens) > pool_.pool_bytes) {
      ++outcome_.refused;
      produced_tokens_ += r.output_tokens;  // nothing is left to do for it
      if (clients_.closed_loop_concurrency > 0) Release(now_ms_);
      return;
    }
    waiting_.push_back({.request = request, .computed = 0, .total = r.prompt_tokens, .remaining = r.output_tokens, .bytes = 0, .scheduled = 0});
  }

  // --- one step ---
  bool Reserve(Sequence* sequence, int32_t tokens, int64_t keep_bytes) {
    const int64_t wanted = pool_.BytesFor(int64_t{sequence->computed} + tokens);
    if (wanted - sequence->bytes > free_ - keep_bytes) return false;
    free_ -= wanted - sequence->bytes;
    sequence->bytes = wanted;
    return true;
  }
  void PreemptYoungest() {
    Sequence victim = running_.back();
    running_.pop_back();
    free_ += victim.bytes;
    victim.bytes = 0;
    victim.computed = 0;
    victim.scheduled = 0;
    ++outcome_.preemptions;
    ++outcome_.requests[victim.request].preemptions;
    waiting_.push_front(victim);
  }

  void Step() {
    int32_t budget = policy_.max_batched_tokens;
    bool preempted = false;
    for (size_t i = 0; i < running_.size(); ++i) {
      running_[i].scheduled = 0;
      const int32_t tokens = std::min(running_[i].total - running_[i].computed, budget);
      if (tokens == 0) continue;
      bool fits = Reserve(&running_[i], tokens, 0);
      while (!fits && running_.size() > i + 1) {
        PreemptYoungest();
        preempted = true;
        fits = Reserve(&running_[i], tokens, 0);
      }
      if (!fits) {
        PreemptYoungest();  // itself: it waits for older ones to end
        preempted = true;
        break;
      }
      running_[i].scheduled = tokens;
      budget -= tokens;
    }
    while (!preempted && Admit(&budget)) {
    }
    RunStep();
  }

  bool Admit(int32_t* budget) {
    if (waiting_.empty() || *budget <= 0 || running_.size() >= static_cast<size_t>(policy_.max_sequences)) return false;
    Sequence& head = waiting_.front();
    int32_t tokens = std::min(head.total, *budget);
    if (policy_.prefill == PrefillMode::kWhole && tokens < head.total) {
      // A prompt beyond the whole budget could never run; it gets a step of its own.
      if (*budget < policy_.max_batched_tokens) return false;
      tokens = head.total;
    }
    if (!Reserve(&head, tokens, running_.empty() ? 0 : watermark_bytes_)) return false;
    head.scheduled = tokens;
    *budget -= tokens;
    running_.push_back(head);
    waiting_.pop_front();
    return true;
  }

  void RunStep() {
    chunks_.clear();
    int decodes = 0;
    int sequences = 0;
    int64_t rows = 0;
    double context = 0;
    for (const Sequence& s : running_) {
      if (s.scheduled == 0) continue;
      rows += s.scheduled;
      sequences += s.computed + s.scheduled == s.total;
      if (s.scheduled == 1 && s.computed > 0 && s.total - s.computed == 1) {
        ++decodes;
        context += s.total;
      } else {
        chunks_.push_back({.prefix_tokens = static_cast<double>(s.computed), .tokens = static_cast<double>(s.scheduled)});
        outcome_.ledger.prefill_tokens += s.scheduled;
      }
    }
    StepParts parts = cost_.Dense(static_cast<int>(rows), sequences);
    if (decodes > 0) {
      const double mean = context / decodes;
      const DecodeLine line = cost_.Decode(decodes, mean);
      const double ms = line.ms + line.ms_per_token * (mean - line.at_context);
      parts.attention_ms += ms;
      parts.outside_ms += ms * line.outside_share;
    }
    if (!chunks_.empty()) {
      parts.attention_ms += cost_.PrefillAttentionMs(chunks_);
      parts.outside_ms += cost_.PrefillOutsideMs();
    }
    outcome_.ledger.decode_tokens += decodes;
    ++outcome_.ledger.steps;
    outcome_.ledger.decode_only_steps += chunks_.empty();
    Account(parts, free_, free_);
    for (Sequence& s : running_) {
      if (s.scheduled == 0) continue;
      s.computed += s.scheduled;
      s.scheduled = 0;
      if (s.computed < s.total) continue;
      ++s.total;
      --s.remaining;
      ++produced_tokens_;
      if (outcome_.requests[s.request].first_token_ms < 0) outcome_.requests[s.request].first_token_ms = now_ms_;
    }
    RemoveEnded();
  }

  void RemoveEnded() {
    size_t kept = 0;
    for (Sequence& s : running_) {
      if (s.remaining > 0) {
        running_[kept++] = s;
        continue;
      }
      free_ += s.bytes;
      outcome_.requests[s.request].end_ms = now_ms_;
      if (clients_.closed_loop_concurrency > 0) Release(now_ms_);
    }
    running_.resize(kept);
  }

  void Account(const StepParts& parts, int64_t free_before, int64_t free_after) {
    const double ms = parts.total_ms();
    StepParts& busy = outcome_.ledger.busy;
    busy.attention_ms += parts.attention_ms;
    busy.gemm_ms += parts.gemm_ms;
    busy.collective_ms += parts.collective_ms;
    busy.other_ms += parts.other_ms;
    busy.host_ms += parts.host_ms;
    busy.outside_ms += parts.outside_ms;
    now_ms_ += ms;
    const double used = static_cast<double>(pool_.pool_bytes) - static_cast<double>(free_before + free_after) / 2;
    kv_byte_ms_ += used * ms;
    peak_bytes_ = std::max(peak_bytes_, pool_.pool_bytes - std::min(free_before, free_after));
    outcome_.running_peak = std::max(outcome_.running_peak, static_cast<int>(running_.size()));
  }

  // --- many decode steps at once ---
  // Runs the pure decode steps until the next event and returns true; false if the next step is not one of those.
  bool Stretch() {
    const auto count = static_cast<int64_t>(running_.size());
    if (count == 0 || count > policy_.max_batched_tokens) return false;
    int64_t steps = INT64_MAX;
    double context = 0;
    for (const Sequence& s : running_) {
      // A prompt whose last token is left over looks like a decode, but its step must note the first token.
      if (s.total - s.computed != 1 || outcome_.requests[s.request].first_token_ms < 0) return false;
      steps = std::min<int64_t>(steps, s.remaining);
      context += s.total;
    }
    const bool slot = count < policy_.max_sequences && count < policy_.max_batched_tokens;
    if (!waiting_.empty() && slot && CouldAdmit()) return false;
    // With a full house or a blocked head, arrivals only lengthen the queue.
    const double until_ms = waiting_.empty() && slot ? NextArrivalMs() : kNever;
    const int64_t affordable = StepsThatFit(steps);
    if (affordable == 0) return false;
    steps = std::min(steps, affordable);

    const StepParts dense = cost_.Dense(static_cast<int>(count), static_cast<int>(count));
    const double n = static_cast<double>(count);
    const int64_t free_before = free_;
    int64_t done = 0;
    double mean = context / n;
    const double start_ms = now_ms_;
    double elapsed_ms = 0;
    double attention_ms = 0;
    double outside_ms = 0;
    while (done < steps) {
      const DecodeLine line = cost_.Decode(static_cast<int>(count), mean);
      int64_t k = std::min<int64_t>(steps - done, std::max<int64_t>(1, static_cast<int64_t>(std::ceil(line.until_context - mean))));
      const double first_ms = line.ms + line.ms_per_token * (mean - line.at_context);
      const auto attention_of = [&](int64_t j) {
        return static_cast<double>(j) * (first_ms + line.ms_per_token * static_cast<double>(j - 1) / 2);
      };
      const double dense_ms = dense.total_ms();
      if (until_ms != kNever) {
        // The fewest steps after which the arrival is there; the sum rises with j, so bisection finds it.
        const auto reached = [&](int64_t j) { return start_ms + elapsed_ms + attention_of(j) + static_cast<double>(j) * dense_ms >= until_ms; };
        if (reached(k)) {
          int64_t low = 0;
          while (k - low > 1) {
            const int64_t middle = low + (k - low) / 2;
            (reached(middle) ? k : low) = middle;
          }
          steps = done + k;
        }
      }
      attention_ms += attention_of(k);
      outside_ms += attention_of(k) * line.outside_share;
      elapsed_ms += attention_of(k) + static_cast<double>(k) * dense_ms;
      done += k;
      mean += static_cast<double>(k);
    }
    for (Sequence& s : running_) {
      s.computed += static_cast<int32_t>(done);
      s.total += static_cast<int32_t>(done);
      s.remaining -= static_cast<int32_t>(done);
      const int64_t bytes = pool_.BytesFor(s.computed);
      free_ -= bytes - s.bytes;
      s.bytes = bytes;
    }
    const double k = static_cast<double>(done);
    outcome_.ledger.steps += done;
    outcome_.ledger.decode_only_steps += done;
    outcome_.ledger.decode_tokens += done * count;
    produced_tokens_ += done * count;
    Account({.attention_ms = attention_ms, .gemm_ms = dense.gemm_ms * k, .collective_ms = dense.collective_ms * k,
             .other_ms = dense.other_ms * k, .host_ms = dense.host_ms * k, .outside_ms = dense.outside_ms * k + outside_ms}, free_before, free_);
    RemoveEnded();
    return true;
  }

  // Whether the head of the queue would enter at the next step, decodes having taken what they need.
  [[nodiscard]] bool CouldAdmit() const {
    const Sequence& head = waiting_.front();
    const int32_t budget = policy_.max_batched_tokens - static_cast<int32_t>(running_.size());
    if (policy_.prefill == PrefillMode::kWhole && head.total > budget) return false;
    int64_t growth = 0;
    for (const Sequence& s : running_) growth += pool_.BytesFor(s.total) - s.bytes;
    return pool_.BytesFor(std::min(head.total, budget)) <= free_ - growth - watermark_bytes_;
  }

  // How many decode steps, at most `limit`, the pool can hold.
  [[nodiscard]] int64_t StepsThatFit(int64_t limit) {
    const auto need = [&](int64_t steps) {
      int64_t bytes = 0;
      for (const Sequence& s : running_) bytes += pool_.BytesFor(int64_t{s.computed} + steps) - s.bytes;
      return bytes;
    };
    if (need(limit) <= free_) return limit;
    int64_t low = 0;
    int64_t high = limit;
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (need(middle) <= free_ ? low : high) = middle;
    }
    return low;
  }

  void Finish() {
    outcome_.virtual_ms = now_ms_;
    const double pool = static_cast<double>(pool_.pool_bytes);
    const double busy_ms = outcome_.ledger.busy.total_ms();
    outcome_.kv_mean_share = busy_ms > 0 && pool > 0 ? kv_byte_ms_ / busy_ms / pool : 0;
    outcome_.kv_peak_share = pool > 0 ? static_cast<double>(peak_bytes_) / pool : 0;
  }

  struct Queued {
    uint32_t request;
    double at_ms;
  };
  static constexpr double kNever = 1e300;
  std::span<const Request> requests_;
  const Policy& policy_;
  const KvPool& pool_;
  StepCost& cost_;
  Clients clients_;
  const Watch& watch_;
  int64_t work_ = 0;
  int64_t output_tokens_ = 0;    // of all requests
  int64_t produced_tokens_ = 0;  // so far
  size_t next_ = 0;
  std::deque<Queued> queued_;  // released by closed-loop clients, not yet at the queue
  std::deque<Sequence> waiting_;
  std::vector<Sequence> running_;  // oldest first
  std::vector<PrefillChunk> chunks_;
  int64_t free_ = 0;
  int64_t watermark_bytes_ = 0;
  int64_t peak_bytes_ = 0;
  double overhead_ms_ = 0;
  double now_ms_ = 0;
  double kv_byte_ms_ = 0;
  Outcome outcome_;
};

}  // namespace

int64_t KvPool::BytesFor(int64_t tokens) const {
  if (tokens <= 0) return 0;
  const int64_t rounded = RoundUp(tokens, block_tokens);
  int64_t bytes = state_bytes;
  for (const KvGroup& group : groups) {
    // A window needs one block more than it holds: the oldest block leaves only when its last token does.
    const int64_t kept = group.window_tokens > 0 ? std::min(rounded, RoundUp(group.window_tokens, block_tokens) + block_tokens) : rounded;
    bytes += kept * group.bytes_per_token;
  }
  return bytes;
}

Result<Outcome> Simulate(std::span<const Request> requests, const Policy& policy, const KvPool& pool, StepCost& cost, const Clients& clients,
                         const Watch& watch) {
  if (policy.max_batched_tokens < 1 || policy.max_sequences < 1) {
    return BadInput(fmt::format("max_batched_tokens is {} and max_sequences {}; both must be at least 1", policy.max_batched_tokens,
                                policy.max_sequences));
  }
  if (policy.max_batched_tokens > cost.MostRows()) {
    return BadInput(fmt::format("max_batched_tokens is {}; steps of at most {} tokens are timed", policy.max_batched_tokens, cost.MostRows()));
  }
  if (pool.pool_bytes <= 0 || pool.block_tokens < 1) {
    return BadInput(fmt::format("the KV pool holds {} bytes in blocks of {} tokens; weights and reserve leave it no room: use a larger GPU, "
                                "more ranks or smaller weights", pool.pool_bytes, pool.block_tokens));
  }
  double last_ms = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    const Request& r = requests[i];
    if (r.prompt_tokens < 1 || r.output_tokens < 1) {
      return BadInput(fmt::format("request {}: {} prompt and {} output tokens; both must be at least 1", i, r.prompt_tokens, r.output_tokens));
    }
    if (policy.prefill == PrefillMode::kWhole && r.prompt_tokens > cost.MostRows()) {
      return BadInput(fmt::format("request {}: a prompt of {} tokens in one step; steps of at most {} tokens are timed: use chunked prefill", i, r.prompt_tokens,
                                  cost.MostRows()));
    }
    if (!(r.arrival_ms >= last_ms)) return BadInput(fmt::format("request {}: arrives at {} ms, before the one ahead of it", i, r.arrival_ms));
    last_ms = r.arrival_ms;
  }
  return Engine(requests, policy, pool, cost, clients, watch).Run();
}

}  // namespace assay::serving
