// Ceilings: the most this machine gave just now, in arithmetic and in bandwidth, as the best of short bursts. They move
// with the host, so they are measured inside every round that a kernel is timed in, by the same threads, and stored
// beside its time; none is ever typed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/thread_pool.h"
#include "machine/fingerprint.h"

namespace assay::machine {

enum class CeilingKind {
  kFp32,
  kBf16,
  kInt8,
  kL2Read,
  kL2Write,
  kL3Read,
  kL3Write,
  kDramRead,
  kDramWrite,
};
inline constexpr size_t kCeilingKinds = 9;
std::string_view NameOf(CeilingKind kind);  // "fp32", "dram_read", ...
std::string_view UnitOf(CeilingKind kind);  // "FLOP/s", "OP/s" (int8) or "B/s"
std::vector<CeilingKind> AllCeilings();

// One measurement of all kinds asked for, in units per second and of all threads together; NaN where not measured, or
// where the machine was too busy to run all threads at once.
struct CeilingSample {
  std::array<double, kCeilingKinds> rate;
  CeilingSample();
  [[nodiscard]] double operator[](CeilingKind kind) const { return rate[static_cast<size_t>(kind)]; }
  double& operator[](CeilingKind kind) { return rate[static_cast<size_t>(kind)]; }
};

// What a kind means on this machine.
struct CeilingInfo {
  CeilingKind kind{};
  std::string
      instruction;  // what ran: "vpdpbusd (64 x int8)"; for bf16 without such an instruction, the fp32 one and why
  int64_t working_set_bytes = 0;  // per thread, of bandwidths
  std::string refusal;            // why there is no number; empty if there is one
};

struct CeilingOptions {
  std::vector<CeilingKind> kinds = AllCeilings();
  std::string backend = {};  // "avx512", "avx2", "generic"; empty: the fastest that runs here
  int flop_bursts = 12;      // per worker, kind and round
  double flop_burst_us = 20;
  int memory_bursts = 8;
  double memory_burst_us = 60;
};

class Ceilings {
 public:
  // Allocates the working sets (DRAM: four times the last-level caches within reach, at most a quarter of the free
  // memory), has each worker touch its part, and finds how many iterations fill a burst. The pool outlives this object
  // and is idle whenever Measure is called.
  static Result<std::unique_ptr<Ceilings>> Make(const Fingerprint& fingerprint, ThreadPool& pool,
                                                CeilingOptions options);
  ~Ceilings();

  // A few milliseconds for all kinds, some tens on a busy machine. The rate is the work of all workers within the time
  // of one burst of one of them, and the best such burst counts; one in which some worker was not running does not.
  CeilingSample Measure();

  [[nodiscard]] const std::vector<CeilingInfo>& infos() const;
  [[nodiscard]] const CeilingInfo& info(CeilingKind kind) const;
  [[nodiscard]] std::string_view backend() const;
  [[nodiscard]] int threads() const;

 private:
  struct State;
  explicit Ceilings(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The backend's loops: `backend` must be one that runs on the machine of the fingerprint. For tests of every backend.
std::vector<std::string> RunnableBackends(const Fingerprint& fingerprint);

}  // namespace assay::machine
