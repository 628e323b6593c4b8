// ServingFacts: what a candidate's service does under the traffic, by simulation at three points of what is uncertain (optimistic corner,
// likely values, pessimistic corner), so that every number carries an interval.
#pragma once

#include <string>
#include <vector>

#include "advice/candidate_plan.h"
#include "core/quantity.h"
#include "serving/deployment.h"
#include "serving/traffic.h"

namespace assay {

struct ServingRequest {
  const formats::UseCase* usecase = nullptr;
  const CandidatePlan* plan = nullptr;
  const serving::Traffic* traffic = nullptr;
  serving::AssumeOverrides assume;
};

struct ServingFacts {
  Quantity max_rate;  // of one replica, within the objectives; all below refused with the same reason where no time is known
  Quantity ttft_ms_p50, ttft_ms_p95, ttft_ms_p99;
  Quantity tpot_ms_p50, tpot_ms_p95, tpot_ms_p99;
  Quantity e2e_ms_p95;
  Quantity kv_peak_bytes;
  Quantity preemptions;        // in the simulated window
  Quantity batch_mean;         // sequences decoded together
  Quantity decode_step_ms;     // at the mean batch and the mean decode context
  Quantity attention_share_decode;   // of that step
  Quantity attention_share_prefill;  // of a step that prefills one median prompt
  // Of the time that the service is busy, at the planned rate or at its limit, whichever is more: kernels from beyond the measured region.
  // Above platform::kOutsideShareTolerated the times let no candidate in; the origin names the rows that would fill it.
  Quantity outside_share;
  double replicas = 0;
  std::string rate_origin;

  // Of the likely draw, for pictures.
  std::vector<double> ttft_ms, tpot_ms;
  struct Load {
    double context_tokens, concurrency;
  };
  std::vector<Load> load;  // sampled over decoded tokens: context of the token, sequences running with it
};

// Whether more of the time than is tolerated comes from kernels that no row holds: such times let no candidate in.
bool IsExtrapolated(const Quantity& outside_share);

// The rate limit of one replica and its latencies at the planned rate. Where no time is known every quantity is refused with the reason.
ServingFacts EvaluateServing(const ServingRequest& request);

// The rate limit alone, from a shorter replay: what the search for flips asks many times and then confirms with EvaluateServing.
Quantity QuickMaxRate(const ServingRequest& request);

// One decode step's time at (context, sequences), kernels at the ends of their intervals and assumed parts at their likely values, because
// those are common to all candidates. Empty interval (refused) where the candidate has no time or the cache does not fit.
class DecodeStepModel {
 public:
  static Result<DecodeStepModel> Make(const ServingRequest& request);
  struct Step {
    Quantity time;
    bool is_extrapolated;  // more of it than is tolerated comes from beyond the measured region: such a time decides nothing
  };
  [[nodiscard]] Step At(double context_tokens, int sequences);
  // Where a kernel of the step has no rows its time is a floor, which ranks nothing.
  [[nodiscard]] bool is_floor() const { return likely_.is_floor(); }

 private:
  DecodeStepModel(platform::StepTimer low, platform::StepTimer likely, platform::StepTimer high, serving::KvPool pool)
      : low_(std::move(low)), likely_(std::move(likely)), high_(std::move(high)), pool_(std::move(pool)) {}
  platform::StepTimer low_, likely_, high_;
  serving::KvPool pool_;
};

}  // namespace assay
