// The kernel bench: our own kernels at the shapes people run, each beside the ceiling of this machine in the same round. An answer is
// compared with fp64 before anything is timed. Rows keep their names: others read them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace assay {

struct BenchOptions {
  std::string filter{};  // substring of a row's name; empty: all
  int threads = 0;       // 0: every processor allowed
  int rounds = 15;
  uint64_t seed = 0;
  std::string peers_python{};  // interpreter that has the peers' libraries (`./dev setup --peers`); empty: our kernels alone
  double peer_timeout_s = 600;  // of one answer of a peer
  std::function<bool()> stop{};
  std::function<void(std::string_view row)> progress{};  // before each row
};

// Another project's kernel on the same inputs, in the same rounds.
struct BenchPeer {
  std::string name{};            // "pytorch_sdpa_bf16": library, call, dtype
  std::string implementation{};  // "PyTorch 2.13.0+cpu: SDPA, enable_gqa, bf16"; empty where it never said
  std::string refusal{};         // why there is no time; empty if there is one
  double median_ms = 0;
  double ratio = 0, ratio_low = 0, ratio_high = 0;  // its time over ours, round by round: median with its 95 % interval; infinite where rounds are few
  double row_error = 0;                              // as of ours
};

struct BenchRow {
  std::string name{}, family{}, shape{}, dtype{};
  std::string implementation{};  // what ran: "avx2/bf16"
  int threads = 1;
  double median_ms = 0, ms_q1 = 0, ms_q3 = 0;  // over the rounds, of the best of each
  double pack_ms = 0;  // repacking a plain cache once, not part of the time; 0 where nothing is packed
  double rate = 0;
  std::string rate_unit{};
  double ceiling = 0;
  std::string ceiling_kind{};  // "bf16", "dram_read", ...: the one that would take longer for the useful work
  std::string ceiling_instruction{};  // what its loop ran: where no instruction multiplies bf16, the bf16 ceiling is the fp32 one, and says so
  double share_of_ceiling = 0, share_q1 = 0, share_q3 = 0;
  int rounds = 0;
  std::string flags{};
  double row_error = 0;  // largest |answer - fp64| on the rows compared, over sum_j p_j |v_j| (recurrences: over the largest output)
  // The roofline: useful work per byte that must move, and the medians of both ceilings over the rounds.
  double ops_per_byte = 0;
  double arithmetic_ceiling = 0, bandwidth_ceiling = 0;  // operations and bytes per second
  std::string arithmetic_kind{}, bandwidth_kind{};
  std::vector<BenchPeer> peers{};
};

struct BenchRefusal {
  std::string name{}, reason{};
};

struct BenchReport {
  std::string machine{}, date{};
  uint64_t seed = 0;
  std::vector<BenchRow> rows{};
  std::vector<BenchRefusal> refused{};
  bool stopped = false;
};

// Names of all rows, in order.
std::vector<std::string> BenchRowNames();
// BadInput if the filter matches no row; an environment error if the peers are asked for and are not installed.
Result<BenchReport> RunBench(const BenchOptions& options);

}  // namespace assay
