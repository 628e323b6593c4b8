// Roofline: how close a kernel came to what the machine gave in the very same round. The ceiling that would take longer
// for the useful work, arithmetic or bandwidth, is the tighter one, and the share is its time over the measured time.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "machine/ceilings.h"
#include "machine/paired_runner.h"
#include "stats/interval.h"

namespace assay::machine {

// Useful work of one call, counted (never what a kernel happens to execute), and the ceilings that bound it.
struct UsefulWork {
  double ops = 0;    // multiply-add is two; in the type of `arithmetic`
  double bytes = 0;  // that must cross `bandwidth`, read and written
  CeilingKind arithmetic = CeilingKind::kFp32;
  CeilingKind bandwidth = CeilingKind::kDramRead;
};

struct CeilingShare {
  CeilingKind ceiling{};  // the tighter one in most rounds
  bool arithmetic_bound = false;
  double share = 0;  // median over rounds of lower bound on time / measured time, 0 to about 1
  double share_q1 = 0, share_q3 = 0;
  stats::Interval share_interval;    // of the median
  double other_share = 0;            // median share of the other ceiling
  double rate = 0;                   // median achieved, in the ceiling's unit per second
  double ceiling_rate = 0;           // median of the ceiling over the rounds
  double milliseconds = 0;           // median over rounds of the best of each round
  std::vector<double> round_shares;  // of the rounds that have both ceilings
  int rounds_without_ceiling = 0;    // left out of the shares, not of the times
};

// Refuses work that is not positive, and ceilings that no round has.
Result<CeilingShare> ShareOfCeiling(const PairedResult& result, size_t subject, const UsefulWork& work);

// From plain numbers, one entry per round, for times that were stored: seconds[i] with ceilings[i].
Result<CeilingShare> ShareOfRounds(const std::vector<double>& seconds, const std::vector<CeilingSample>& ceilings,
                                   const UsefulWork& work);

// The level that data of `bytes_per_thread` streams from: kL2Read, kL3Read or kDramRead; what is touched once comes
// from memory.
CeilingKind ReadLevelFor(const Fingerprint& fingerprint, double bytes, int threads);

}  // namespace assay::machine
