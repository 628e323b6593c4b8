// Peers of one row of the bench: other projects' kernels on the same inputs, their answers compared before anything is timed, then timed
// among ours round by round. A peer that has nothing for the row, answers wrongly or dies keeps its place with the reason.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "foreign/peer.h"
#include "kernels/problem.h"
#include "machine/paired_runner.h"
#include "probes/bench/bench.h"
#include "probes/bench/bench_shape.h"

namespace assay::bench {

struct RowPeer {
  BenchPeer shown;
  std::unique_ptr<foreign::Peer> peer;  // absent where refused before timing
};

struct PeerRun {
  foreign::PeerHost& host;
  int threads = 1;
  uint64_t seed = 0;           // of the rows whose error is taken: the same as ours
  double memory_bytes = 0;     // that all peers of the row may hold together
  std::function<bool()> stop{};
};

// `problem` holds our own answer, which is what theirs are compared with.
std::vector<RowPeer> PreparePeers(const Shape& shape, const Problem& problem, const PeerRun& run);

// Lets the peer time itself; its failure is written into `row_peer`, which must stay where it is.
machine::TimedSubject SubjectOf(RowPeer& row_peer);

// Fills in times and ratios: subject 0 is ours, the peers that are not refused follow in order.
std::vector<BenchPeer> ComparePeers(const machine::PairedResult& result, std::vector<RowPeer>& peers, uint64_t seed);

// ||theirs - ours|| / ||ours|| over all elements: a wrong mask, scale or head order moves it to about one, however small the answer is.
double DistanceToOurs(const TensorView& ours, const std::vector<float>& theirs);

}  // namespace assay::bench
