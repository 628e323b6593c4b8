#include "machine/fingerprint.h"

#include <fmt/format.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/random.h"
#include "core/thread_pool.h"
#include "machine/limits.h"
#include "machine/small_files.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace assay::machine {
namespace {

int IntegerOf(const std::string& text) {
  return static_cast<int>(ParseSize(text).value_or(0));
}

// Names of /proc/cpuinfo, which lists what CPU and kernel both support.
constexpr const char* kSimdNames[] = {"sse4_2",      "avx",      "avx2",     "fma",      "f16c",        "avx_vnni",
                                      "avx512f",     "avx512bw", "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16",
                                      "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd",       "asimdhp",
                                      "asimddp",     "bf16",     "i8mm",     "sve",      "sve2"};

void ReadProcessor(const std::string& root, Fingerprint& result) {
  const std::string cpuinfo = ReadSmallFile(root + "/proc/cpuinfo");
  result.vendor = ValueOf(cpuinfo, "vendor_id");
  result.cpu_model = ValueOf(cpuinfo, "model name");
  result.family = IntegerOf(ValueOf(cpuinfo, "cpu family"));
  result.model = IntegerOf(ValueOf(cpuinfo, "model"));
  result.stepping = IntegerOf(ValueOf(cpuinfo, "stepping"));
  std::string flags = ValueOf(cpuinfo, "flags");
  if (flags.empty()) flags = ValueOf(cpuinfo, "Features");  // Arm
  const std::string padded = " " + flags + " ";
  const auto has = [&](const std::string& name) { return padded.find(" " + name + " ") != std::string::npos; };
  for (const char* name : kSimdNames)
    if (has(name)) result.simd.emplace_back(name);
  const bool avx2 = has("avx2") && has("fma");
  const bool avx512 = avx2 && has("avx512f") && has("avx512bw") && has("avx512vl");
  result.avx512_vnni = avx512 && has("avx512_vnni");
  result.avx512_bf16 = avx512 && has("avx512_bf16");
  result.best_backend = avx512 ? "avx512" : avx2 ? "avx2" : "generic";
  result.online_cpus = CountCpuList(ReadSmallFile(root + "/sys/devices/system/cpu/online"));
}

void ReadCaches(const std::string& root, const std::vector<int>& allowed, Fingerprint& result) {
  std::set<std::string> seen;
  for (const int cpu : allowed) {
    const std::string base = fmt::format("{}/sys/devices/system/cpu/cpu{}/cache/index", root, cpu);
    for (int index = 0; index < 8; ++index) {
      const std::string directory = base + std::to_string(index);
      Cache cache;
      cache.level = IntegerOf(ReadSmallFile(directory + "/level"));
      if (cache.level == 0) break;
      cache.type = ReadSmallFile(directory + "/type");
      std::transform(cache.type.begin(), cache.type.end(), cache.type.begin(),
                     [](unsigned char c) { return std::tolower(c); });
      cache.bytes = ParseSize(ReadSmallFile(directory + "/size")).value_or(0);
      cache.instances = 1;
      const std::string instance =
          fmt::format("{} {} {}", cache.level, cache.type, ReadSmallFile(directory + "/shared_cpu_list"));
      if (!seen.insert(instance).second) continue;
      const auto same = std::find_if(result.caches.begin(), result.caches.end(), [&](const Cache& other) {
        return other.level == cache.level && other.type == cache.type && other.bytes == cache.bytes;
      });
      if (same != result.caches.end())
        ++same->instances;
      else
        result.caches.push_back(cache);
    }
  }
}

std::string HypervisorName(const std::string& root) {
  const std::string flags = ValueOf(ReadSmallFile(root + "/proc/cpuinfo"), "flags");
  if ((" " + flags + " ").find(" hypervisor ") == std::string::npos) return {};
#if defined(__x86_64__)
  unsigned words[4] = {};
  __cpuid(0x40000000, words[0], words[1], words[2], words[3]);
  char name[13] = {};
  std::memcpy(name, &words[1], 12);
  const std::string vendor(name);
  if (vendor == "KVMKVMKVM") return "KVM";
  if (vendor == "Microsoft Hv") return "Hyper-V";
  if (vendor == "VMwareVMware") return "VMware";
  if (vendor == "XenVMMXenVMM") return "Xen";
  if (vendor == "TCGTCGTCGTCG") return "QEMU without KVM";
  if (!vendor.empty()) return vendor;
#endif
  return "unknown";
}

// The bracketed word of "always [madvise] never".
std::string Bracketed(const std::string& text) {
  const size_t open = text.find('[');
  const size_t close = text.find(']');
  return open == std::string::npos || close == std::string::npos || close < open
             ? ""
             : text.substr(open + 1, close - open - 1);
}

Counters TryCounters() {
  for (const uint64_t event : {PERF_COUNT_HW_CPU_CYCLES, PERF_COUNT_HW_INSTRUCTIONS}) {
    perf_event_attr attributes{};
    attributes.type = PERF_TYPE_HARDWARE;
    attributes.size = sizeof(attributes);
    attributes.config = event;
    attributes.exclude_kernel = 1;
    attributes.exclude_hv = 1;
    const long descriptor = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
    if (descriptor < 0) {
      const int error = errno;
      if (error == ENOENT || error == EOPNOTSUPP)
        return {.available = false, .reason = "the machine exposes no hardware counters"};
      if (error == EACCES || error == EPERM)
        return {.available = false,
                .reason = "not permitted: lower /proc/sys/kernel/perf_event_paranoid to 2, or allow perf_event_open"};
      if (error == ENOSYS)
        return {.available = false, .reason = "perf_event_open is blocked by the container or absent from the kernel"};
      return {.available = false, .reason = fmt::format("perf_event_open failed: {}", std::strerror(error))};
    }
    uint64_t count = 0;
    const bool counts = read(static_cast<int>(descriptor), &count, sizeof(count)) == sizeof(count) && count > 0;
    close(static_cast<int>(descriptor));
    if (!counts) return {.available = false, .reason = "hardware counters open but stay at zero"};
  }
  return {.available = true, .reason = ""};
}

void ReadBuild(Fingerprint& result) {
#if defined(__clang__)
  result.compiler = fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#elif defined(__GNUC__)
  result.compiler = fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
  result.build_type = ASSAY_BUILD_TYPE;
  result.build_flags = ASSAY_BUILD_FLAGS;
  result.sanitizers = ASSAY_BUILD_SANITIZE;
}

}  // namespace

Fingerprint TakeFingerprint(const std::string& given_root) {
  const std::string root = given_root == "/" ? "" : given_root;
  Fingerprint result;
  utsname names{};
  if (uname(&names) == 0) {
    result.architecture = names.machine;
    result.kernel = names.release;
  }
  const std::vector<int> allowed = AllowedCpus();
  ReadProcessor(root, result);
  ReadCaches(root, allowed, result);
  result.allowed_cpus = static_cast<int>(allowed.size());

  const CgroupLimits limits = ReadCgroupLimits(root);
  result.quota_cpus = limits.quota_cpus;
  const std::string meminfo = ReadSmallFile(root + "/proc/meminfo");
  result.memory_total_bytes = ParseSize(ValueOf(meminfo, "MemTotal")).value_or(0) * 1024;
  result.memory_available_bytes = ParseSize(ValueOf(meminfo, "MemAvailable")).value_or(0) * 1024;
  if (limits.memory_limit_bytes > 0 && limits.memory_limit_bytes < result.memory_total_bytes) {
    result.memory_limit_bytes = limits.memory_limit_bytes;
    result.memory_available_bytes =
        std::min(result.memory_available_bytes, limits.memory_limit_bytes - limits.memory_used_bytes);
  }

  result.huge_pages = Bracketed(ReadSmallFile(root + "/sys/kernel/mm/transparent_hugepage/enabled"));
  result.governor =
      ReadSmallFile(fmt::format("{}/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor", root, allowed[0]));
  result.clock_source = ReadSmallFile(root + "/sys/devices/system/clocksource/clocksource0/current_clocksource");
  result.hypervisor = HypervisorName(root);
  // PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
  const std::string os = "\n" + ReadSmallFile(root + "/etc/os-release");
  const size_t name = os.find("\nPRETTY_NAME=\"");
  if (name != std::string::npos) result.distribution = os.substr(name + 14, os.find('"', name + 14) - name - 14);
  result.counters = TryCounters();
  ReadBuild(result);
  return result;
}

double Fingerprint::usable_cpus() const {
  const double allowed = allowed_cpus;
  return quota_cpus > 0 ? std::min(quota_cpus, allowed) : allowed;
}

int64_t Fingerprint::CacheBytes(int level) const {
  for (const Cache& cache : caches)
    if (cache.level == level && cache.type != "instruction") return cache.bytes;
  return 0;
}

int Fingerprint::CacheInstances(int level) const {
  for (const Cache& cache : caches)
    if (cache.level == level && cache.type != "instruction") return cache.instances;
  return 0;
}

int64_t Fingerprint::usable_memory_bytes() const {
  return std::max<int64_t>(0, memory_available_bytes);
}

std::string Fingerprint::Line() const {
  return fmt::format("{} ({} cores, {}, {:.0f} GiB)", cpu_model, allowed_cpus, best_backend, static_cast<double>(memory_total_bytes) / 0x1p30);
}

std::string Fingerprint::Id() const {
  std::string text =
      fmt::format("{}|{}|{}|{}.{}.{}|{}|{}|{:.2f}|{}|{}", architecture, vendor, cpu_model, family, model, stepping,
                  fmt::join(simd, ","), allowed_cpus, quota_cpus, memory_total_bytes >> 30, hypervisor);
  for (const Cache& cache : caches)
    text += fmt::format("|{}{}:{}x{}", cache.level, cache.type, cache.bytes, cache.instances);
  return fmt::format("{:012x}", HashText(text) >> 16);
}

nlohmann::json ToJson(const Fingerprint& f) {
  nlohmann::json caches = nlohmann::json::array();
  for (const Cache& cache : f.caches)
    caches.push_back(
        {{"level", cache.level}, {"type", cache.type}, {"bytes", cache.bytes}, {"instances", cache.instances}});
  const auto or_null = [](auto value) { return value > 0 ? nlohmann::json(value) : nlohmann::json(); };
  return {{"id", f.Id()},
          {"architecture", f.architecture},
          {"vendor", f.vendor},
          {"cpu_model", f.cpu_model},
          {"family", f.family},
          {"model", f.model},
          {"stepping", f.stepping},
          {"caches", caches},
          {"simd", f.simd},
          {"backend", f.best_backend},
          {"online_cpus", f.online_cpus},
          {"allowed_cpus", f.allowed_cpus},
          {"quota_cpus", or_null(f.quota_cpus)},
          {"memory_total_bytes", f.memory_total_bytes},
          {"memory_available_bytes", f.memory_available_bytes},
          {"memory_limit_bytes", or_null(f.memory_limit_bytes)},
          {"huge_pages", f.huge_pages},
          {"governor", f.governor},
          {"kernel", f.kernel},
          {"hypervisor", f.hypervisor},
          {"clock_source", f.clock_source},
          {"distribution", f.distribution},
          {"counters", {{"available", f.counters.available}, {"reason", f.counters.reason}}},
          {"build",
           {{"compiler", f.compiler}, {"type", f.build_type}, {"flags", f.build_flags}, {"sanitizers", f.sanitizers}}}};
}

}  // namespace assay::machine
