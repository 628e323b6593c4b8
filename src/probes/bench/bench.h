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
  std::function<bool()> stop{};
  std::function<void(std::string_view row)> progress{};  // before each row
};

struct BenchRow {
  std::string name{}, family{}, shape{}, dtype{};
  std::string implementation{};  // what ran: "avx2/bf16"
  int threads = 1;
  double median_ms = 0;
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
};

struct BenchRefusal {
  std::string name{}, reason{};
};

struct BenchReport {
  std::vector<BenchRow> rows{};
  std::vector<BenchRefusal> refused{};
  bool stopped = false;
};

// Names of all rows, in order.
std::vector<std::string> BenchRowNames();
// BadInput if the filter matches no row.
Result<BenchReport> RunBench(const BenchOptions& options);

}  // namespace assay
