// Fingerprint: what machine this is, as far as a measurement depends on it, and what limits this process has on it.
// Stored with every measurement; its id is part of a cell's key, so that a time never travels to another machine
// unnoticed.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace assay::machine {

struct Cache {
  int level = 0;
  std::string type;   // "data", "instruction", "unified"
  int64_t bytes = 0;  // of one instance
  int instances = 0;  // that the allowed processors can reach
};

struct Counters {
  bool available = false;  // cycles and instructions of this very process
  std::string reason;      // why not, in words
};

struct Fingerprint {
  // The processor.
  std::string architecture;  // "x86_64"
  std::string vendor;
  std::string cpu_model;
  int family = 0, model = 0, stepping = 0;
  std::vector<Cache> caches;
  std::vector<std::string>
      simd;                  // of those that kernels may use: "avx2", "fma", "avx512f", ...; as the kernel enabled them
  std::string best_backend;  // "avx512", "avx2" or "generic"
  bool avx512_vnni = false, avx512_bf16 = false;

  // What this process may use of it.
  int online_cpus = 0;
  int allowed_cpus = 0;   // affinity and cpuset
  double quota_cpus = 0;  // cgroup quota; 0: none
  int64_t memory_total_bytes = 0;
  int64_t memory_available_bytes = 0;
  int64_t memory_limit_bytes = 0;  // cgroup; 0: none

  // How it is set up.
  std::string huge_pages;  // "always", "madvise", "never"; empty: the kernel has none
  std::string governor;    // empty: not exposed
  std::string kernel;      // release
  std::string hypervisor;  // "KVM", ...; "unknown" when only its presence shows; empty: none seen
  std::string clock_source;
  std::string distribution;
  Counters counters;

  // How this program was built.
  std::string compiler;
  std::string build_type;
  std::string build_flags;
  std::string sanitizers;

  // 12 hex digits over what a repeated run on the same machine finds again: processor, limits and memory size, but
  // neither the kernel release nor what happens to be free.
  [[nodiscard]] std::string Id() const;
  // For a reader: "AMD EPYC (2 cores, avx2, 23 GiB)".
  [[nodiscard]] std::string Line() const;
  // Processors' worth of time this process gets: the smaller of allowed and quota.
  [[nodiscard]] double usable_cpus() const;
  // Data or unified cache of `level`: bytes of one instance, 0 if there is none.
  [[nodiscard]] int64_t CacheBytes(int level) const;
  [[nodiscard]] int CacheInstances(int level) const;
  // Memory that may still be used: available, cut to what the cgroup leaves.
  [[nodiscard]] int64_t usable_memory_bytes() const;
};

// Reads /proc, /sys, CPUID and the affinity. `root` replaces "/" in front of /proc, /sys and /etc (tests); what a file
// does not say stays empty.
Fingerprint TakeFingerprint(const std::string& root = "/");

nlohmann::json ToJson(const Fingerprint& fingerprint);

}  // namespace assay::machine
