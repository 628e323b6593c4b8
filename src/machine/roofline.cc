#include "machine/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "stats/descriptive.h"

namespace assay::machine {

Result<CeilingShare> ShareOfRounds(const std::vector<double>& seconds, const std::vector<CeilingSample>& ceilings,
                                   const UsefulWork& work) {
  if (seconds.size() != ceilings.size() || seconds.empty())
    return BadInput(
        fmt::format("{} times and {} ceilings: a share needs one of each per round", seconds.size(), ceilings.size()));
  if (!(work.ops >= 0 && work.bytes >= 0 && work.ops + work.bytes > 0))
    return BadInput(fmt::format("useful work of {} operations and {} bytes has no ceiling", work.ops, work.bytes));

  CeilingShare result;
  std::vector<double> by_arithmetic, by_bandwidth, rates;
  size_t arithmetic_rounds = 0;
  CeilingKind missing{};
  for (size_t round = 0; round < seconds.size(); ++round) {
    // Work that there is none of needs no ceiling.
    const double arithmetic_s = work.ops > 0 ? work.ops / ceilings[round][work.arithmetic] : 0;
    const double bandwidth_s = work.bytes > 0 ? work.bytes / ceilings[round][work.bandwidth] : 0;
    if (!(seconds[round] > 0)) return BadInput(fmt::format("the time of round {} is {} s", round, seconds[round]));
    if (std::isnan(arithmetic_s) || std::isnan(bandwidth_s)) {
      missing = std::isnan(arithmetic_s) ? work.arithmetic : work.bandwidth;
      ++result.rounds_without_ceiling;
      continue;
    }
    by_arithmetic.push_back(arithmetic_s / seconds[round]);
    by_bandwidth.push_back(bandwidth_s / seconds[round]);
    result.round_shares.push_back(std::max(arithmetic_s, bandwidth_s) / seconds[round]);
    if (arithmetic_s >= bandwidth_s) ++arithmetic_rounds;
  }

  if (result.round_shares.empty())
    return Unsupported(fmt::format(
        "no round has a {} ceiling: it is refused here, or the machine was too busy to run all threads at once",
        NameOf(missing)));

  result.arithmetic_bound = 2 * arithmetic_rounds >= result.round_shares.size();
  result.ceiling = result.arithmetic_bound ? work.arithmetic : work.bandwidth;
  result.other_share = stats::Median(result.arithmetic_bound ? by_bandwidth : by_arithmetic);
  const stats::Summary shares = stats::Summarize(result.round_shares);
  result.share = shares.median;
  result.share_q1 = shares.q1;
  result.share_q3 = shares.q3;
  result.share_interval = stats::QuantileInterval(result.round_shares, 0.5);
  std::vector<double> ceiling_rates;
  for (const CeilingSample& sample : ceilings)
    if (!std::isnan(sample[result.ceiling])) ceiling_rates.push_back(sample[result.ceiling]);
  result.ceiling_rate = stats::Median(ceiling_rates);
  const double median_s = stats::Median(seconds);
  result.milliseconds = 1e3 * median_s;
  result.rate = (result.arithmetic_bound ? work.ops : work.bytes) / median_s;
  return result;
}

Result<CeilingShare> ShareOfCeiling(const PairedResult& result, size_t subject, const UsefulWork& work) {
  ASSAY_CHECK(subject < result.subjects.size(), "no such subject");
  std::vector<CeilingSample> ceilings;
  for (const Round& round : result.rounds) ceilings.push_back(round.ceilings);
  return ShareOfRounds(result.subjects[subject].best_s, ceilings, work);
}

CeilingKind ReadLevelFor(const Fingerprint& fingerprint, double bytes, int threads) {
  const auto l2 = static_cast<double>(fingerprint.CacheBytes(2));
  const auto l3 = static_cast<double>(fingerprint.CacheBytes(3)) * fingerprint.CacheInstances(3);
  if (bytes / threads <= 0.75 * l2) return CeilingKind::kL2Read;
  // Half: other tenants and the rest of a round pass through the same cache.
  if (bytes <= 0.5 * l3) return CeilingKind::kL3Read;
  return CeilingKind::kDramRead;
}

}  // namespace assay::machine
