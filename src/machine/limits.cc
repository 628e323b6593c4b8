#include "machine/limits.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "machine/small_files.h"

namespace assay::machine {
namespace {

void TightenQuota(CgroupLimits& limits, double cpus) {
  if (cpus > 0 && (limits.quota_cpus == 0 || cpus < limits.quota_cpus)) limits.quota_cpus = cpus;
}

void TightenMemory(CgroupLimits& limits, std::optional<int64_t> bytes, std::optional<int64_t> used) {
  // Version 1 writes "none" as the largest multiple of a page below 2^63.
  constexpr int64_t kUnlimited = int64_t{1} << 62;
  if (!bytes || *bytes >= kUnlimited || (limits.memory_limit_bytes != 0 && *bytes >= limits.memory_limit_bytes)) return;
  limits.memory_limit_bytes = *bytes;
  limits.memory_used_bytes = used.value_or(0);
}

void ReadVersion2(const std::string& group, CgroupLimits& limits) {
  const std::string cpu_max = ReadSmallFile(group + "/cpu.max");  // "max 100000" or "150000 100000"
  const size_t space = cpu_max.find(' ');
  if (space != std::string::npos) {
    const auto quota = ParseSize(cpu_max);
    const auto period = ParseSize(std::string_view(cpu_max).substr(space));
    if (quota && period && *period > 0)
      TightenQuota(limits, static_cast<double>(*quota) / static_cast<double>(*period));
  }
  TightenMemory(limits, ParseSize(ReadSmallFile(group + "/memory.max")),
                ParseSize(ReadSmallFile(group + "/memory.current")));
}

void ReadVersion1(const std::string& group, CgroupLimits& limits) {
  const auto quota = ParseSize(ReadSmallFile(group + "/cpu.cfs_quota_us"));  // -1: none
  const auto period = ParseSize(ReadSmallFile(group + "/cpu.cfs_period_us"));
  if (quota && period && *period > 0) TightenQuota(limits, static_cast<double>(*quota) / static_cast<double>(*period));
  TightenMemory(limits, ParseSize(ReadSmallFile(group + "/memory.limit_in_bytes")),
                ParseSize(ReadSmallFile(group + "/memory.usage_in_bytes")));
}

// "/a/b" -> "/a/b", "/a", "": a limit of a parent binds its children too.
std::vector<std::string> WithParents(std::string path) {
  std::vector<std::string> paths;
  while (!path.empty() && path != "/") {
    paths.push_back(path);
    path.resize(path.rfind('/'));
  }
  paths.emplace_back();
  return paths;
}

}  // namespace

CgroupLimits ReadCgroupLimits(const std::string& root) {
  CgroupLimits limits;
  const std::string mounts = root + "/sys/fs/cgroup";
  const std::string groups = ReadSmallFile(root + "/proc/self/cgroup");
  for (std::string_view rest = groups; !rest.empty();) {
    const size_t end = rest.find('\n');
    const std::string_view line = rest.substr(0, end);  // "4:memory:/path", "0::/path"
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string controllers(line.substr(first + 1, second - first - 1));
    const std::string path(line.substr(second + 1));
    if (!path.starts_with('/')) continue;
    for (const std::string& group : WithParents(path)) {
      if (controllers.empty()) {
        ReadVersion2(mounts + group, limits);
        ReadVersion2(mounts + "/unified" + group, limits);  // where systemd mounts it beside version 1
      } else {
        ReadVersion1(mounts + "/" + controllers + group, limits);  // "cpu,cpuacct" is a directory of that name
      }
    }
  }
  return limits;
}

}  // namespace assay::machine
