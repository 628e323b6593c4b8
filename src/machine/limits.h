// Container limits of this process: cgroup v1, v2 and the mix of both that many hosts still run.
#pragma once

#include <cstdint>
#include <string>

namespace assay::machine {

struct CgroupLimits {
  double quota_cpus = 0;           // 0: no quota
  int64_t memory_limit_bytes = 0;  // 0: no limit
  int64_t memory_used_bytes = 0;   // of the group that carries the limit
};

// The tightest limit of this process's groups and of every group above them. `root` stands in front of /proc and
// /sys/fs/cgroup. Inside a container the path in /proc/self/cgroup may name groups that are not mounted; those are
// passed over.
CgroupLimits ReadCgroupLimits(const std::string& root);

}  // namespace assay::machine
