// What the fingerprint reads, from made-up /proc and /sys trees: containers of both cgroup versions, and files that are
// missing or nonsense.
#include "machine/fingerprint.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "gtest/gtest.h"
#include "machine/limits.h"
#include "machine/small_files.h"

namespace assay::machine {
namespace {

class FakeRoot : public testing::Test {
 protected:
  FakeRoot() {
    root_ = testing::TempDir() + "/assay_fingerprint_" + std::to_string(getpid()) + "_" +
            testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(root_);
  }
  ~FakeRoot() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  std::string root_;
};

TEST(SmallFiles, SizesTakeSuffixesAndRefuseNonsense) {
  EXPECT_EQ(ParseSize("32768K"), int64_t{32} << 20);
  EXPECT_EQ(ParseSize(" 2M\n"), 2 << 20);
  EXPECT_EQ(ParseSize("100000"), 100000);
  EXPECT_EQ(ParseSize("max"), std::nullopt);
  EXPECT_EQ(ParseSize("-1"), std::nullopt);
  EXPECT_EQ(ParseSize(""), std::nullopt);
  EXPECT_EQ(ParseSize("9223372036854775807K"), std::nullopt);
}

TEST(SmallFiles, CpuListsAreCounted) {
  EXPECT_EQ(CountCpuList("0-3,8\n"), 5);
  EXPECT_EQ(CountCpuList("0"), 1);
  EXPECT_EQ(CountCpuList(""), 0);
  EXPECT_EQ(CountCpuList("3-1,x,2"), 1);
}

TEST(SmallFiles, ValuesAreFoundByTheWholeKey) {
  EXPECT_EQ(ValueOf("model name\t: X\nmodel\t\t: 17\n", "model"), "17");
  EXPECT_EQ(ValueOf("MemTotal:  24 kB", "MemTotal"), "24 kB");
  EXPECT_EQ(ValueOf("a: b", "c"), "");
}

TEST_F(FakeRoot, Version2LimitsAreTheTightestOfGroupAndParents) {
  Write("/proc/self/cgroup", "0::/pod/box\n");
  Write("/sys/fs/cgroup/pod/box/cpu.max", "400000 100000");
  Write("/sys/fs/cgroup/pod/cpu.max", "150000 100000");
  Write("/sys/fs/cgroup/cpu.max", "max 100000");
  Write("/sys/fs/cgroup/pod/box/memory.max", "2147483648");
  Write("/sys/fs/cgroup/pod/box/memory.current", "1048576");
  Write("/sys/fs/cgroup/pod/memory.max", "4294967296");
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_EQ(limits.quota_cpus, 1.5);
  EXPECT_EQ(limits.memory_limit_bytes, int64_t{2} << 30);
  EXPECT_EQ(limits.memory_used_bytes, 1 << 20);
}

TEST_F(FakeRoot, Version1LimitsAndItsSpellingOfNone) {
  Write("/proc/self/cgroup", "4:memory:/box\n1:cpu,cpuacct:/box\n0::/\n");
  Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "50000");
  Write("/sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000");
  Write("/sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9223372036854771712");
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_EQ(limits.quota_cpus, 0.5);
  EXPECT_EQ(limits.memory_limit_bytes, 0);
}

TEST_F(FakeRoot, GroupsThatAreNotMountedInsideAContainerFallBackToItsRoot) {
  Write("/proc/self/cgroup", "0::/kubepods/of/the/host\n");
  Write("/sys/fs/cgroup/cpu.max", "200000 100000");
  EXPECT_EQ(ReadCgroupLimits(root_).quota_cpus, 2);
}

TEST_F(FakeRoot, MalformedGroupFilesAreNoLimit) {
  Write("/proc/self/cgroup", "nonsense\n:\n::\n1:cpu\n5:memory:relative\n0::/a\n");
  Write("/sys/fs/cgroup/a/cpu.max", "0 0");
  Write("/sys/fs/cgroup/a/memory.max", "lots");
  const CgroupLimits limits = ReadCgroupLimits(root_);
  EXPECT_EQ(limits.quota_cpus, 0);
  EXPECT_EQ(limits.memory_limit_bytes, 0);
}

TEST_F(FakeRoot, ProcessorMemoryAndSystemAreRead) {
  Write("/proc/cpuinfo",
        "processor : 0\nvendor_id\t: GenuineTest\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: Test 9000\n"
        "stepping\t: 8\nflags\t\t: avx2 fma avx512f avx512bw avx512vl avx512_vnni sse4_2\n");
  Write("/proc/meminfo", "MemTotal:       8388608 kB\nMemAvailable:   4194304 kB\n");
  Write("/proc/self/cgroup", "0::/\n");
  Write("/sys/fs/cgroup/memory.max", "3221225472");
  Write("/sys/fs/cgroup/memory.current", "1073741824");
  Write("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
  Write("/etc/os-release", "NAME=x\nPRETTY_NAME=\"Test Linux 1\"\n");
  const Fingerprint f = TakeFingerprint(root_);
  EXPECT_EQ(f.cpu_model, "Test 9000");
  EXPECT_EQ(f.model, 143);
  EXPECT_EQ(f.best_backend, "avx512");
  EXPECT_TRUE(f.avx512_vnni);
  EXPECT_FALSE(f.avx512_bf16);
  EXPECT_EQ(f.memory_limit_bytes, int64_t{3} << 30);
  EXPECT_EQ(f.usable_memory_bytes(), int64_t{2} << 30);
  EXPECT_EQ(f.huge_pages, "madvise");
  EXPECT_EQ(f.hypervisor, "");
  EXPECT_EQ(f.distribution, "Test Linux 1");
}

TEST_F(FakeRoot, AvxWithoutFmaOrAnEmptyTreeLeavesTheGenericBackend) {
  EXPECT_EQ(TakeFingerprint(root_).best_backend, "generic");
  Write("/proc/cpuinfo", "flags : avx2 avx512f avx512bw avx512vl\n");
  EXPECT_EQ(TakeFingerprint(root_).best_backend, "generic");
}

TEST(Fingerprint, IdKeepsThroughRebootsAndChangesWithTheMachine) {
  Fingerprint f;
  f.cpu_model = "X";
  f.memory_total_bytes = int64_t{16} << 30;
  Fingerprint rebooted = f;
  rebooted.kernel = "7.0";
  rebooted.memory_available_bytes = 5;
  rebooted.memory_total_bytes += 4096;
  EXPECT_EQ(rebooted.Id(), f.Id());
  EXPECT_EQ(f.Id().size(), 12u);
  Fingerprint smaller_cache = f;
  smaller_cache.caches.push_back({.level = 3, .type = "unified", .bytes = 1 << 20, .instances = 1});
  EXPECT_NE(smaller_cache.Id(), f.Id());
  Fingerprint fewer = f;
  fewer.quota_cpus = 1;
  EXPECT_NE(fewer.Id(), f.Id());
}

TEST(Fingerprint, OfThisMachineIsConsistent) {
  const Fingerprint f = TakeFingerprint();
  EXPECT_GE(f.allowed_cpus, 1);
  EXPECT_GT(f.memory_total_bytes, 0);
  EXPECT_LE(f.usable_memory_bytes(), f.memory_total_bytes);
  EXPECT_FALSE(f.compiler.empty());
  EXPECT_EQ(f.counters.available, f.counters.reason.empty());
  EXPECT_EQ(TakeFingerprint().Id(), f.Id());
  EXPECT_EQ(ToJson(f)["id"], f.Id());
}

}  // namespace
}  // namespace assay::machine
