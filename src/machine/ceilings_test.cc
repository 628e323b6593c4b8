// The ceilings: that the loops of every backend that runs here read, write and compute what they are counted for, and
// that "together" means together. No test relates a rate to another: a busy machine is not a failure.
#include "machine/ceilings.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"
#include "machine/bursts.h"
#include "machine/ceiling_kernels.h"
#include "machine/huge_buffer.h"

namespace assay::machine {
namespace {

std::vector<CeilingKernels> RunnableKernels() {
  const Fingerprint fingerprint = TakeFingerprint();
  std::vector<CeilingKernels> kernels = {generic::Kernels()};
#if defined(__x86_64__)
  for (const std::string& backend : RunnableBackends(fingerprint)) {
    if (backend == "avx2") kernels.push_back(avx2::Kernels());
    if (backend == "avx512")
      kernels.push_back(avx512::Kernels({.vnni = fingerprint.avx512_vnni, .bf16 = fingerprint.avx512_bf16}));
  }
#endif
  return kernels;
}

TEST(CeilingLoops, ReadsTouchEveryLine) {
  constexpr size_t kBytes = 4096;
  for (const CeilingKernels& kernels : RunnableKernels())
    for (const auto read : {kernels.read, kernels.read_prefetched}) {
      HugeBuffer buffer(2 * kBytes);
      const unsigned clean = read(buffer.data(), kBytes);
      for (size_t line = 0; line < kBytes; line += 64) {
        // Every 32-bit lane, so that the folded result shows the change whichever lanes it is folded from.
        std::memset(buffer.data() + line, 0x5a, 4);
        std::memset(buffer.data() + line + 32 + 20, 0x0f, 4);
        EXPECT_NE(read(buffer.data(), kBytes), clean) << kernels.backend << " line " << line;
        std::memset(buffer.data() + line, 0, 64);
      }
      std::memset(buffer.data() + kBytes, 0x5a, kBytes);
      EXPECT_EQ(read(buffer.data(), kBytes), clean) << kernels.backend << " reads past the end";
    }
}

TEST(CeilingLoops, WritesFillTheirRangeAndNothingElse) {
  constexpr size_t kBytes = 4096;
  for (const CeilingKernels& kernels : RunnableKernels())
    for (const auto write : {kernels.write, kernels.write_streaming}) {
      HugeBuffer buffer(3 * kBytes);
      std::memset(buffer.data(), 0xee, buffer.size());
      write(buffer.data() + kBytes, kBytes);
      for (size_t i = 0; i < kBytes; i += 4) {
        uint32_t word = 0;
        std::memcpy(&word, buffer.data() + kBytes + i, 4);
        ASSERT_NE(word, 0xeeeeeeeeu) << kernels.backend << " byte " << i;
        ASSERT_EQ(static_cast<uint8_t>(buffer.data()[i]), 0xee);
        ASSERT_EQ(static_cast<uint8_t>(buffer.data()[2 * kBytes + i]), 0xee);
      }
    }
}

TEST(CeilingLoops, ArithmeticStaysFiniteAndIsNotSkipped) {
  for (const CeilingKernels& kernels : RunnableKernels())
    for (const FlopLoop& loop : {kernels.fp32, kernels.bf16, kernels.int8}) {
      if (loop.run == nullptr) continue;
      EXPECT_GT(loop.ops_per_iteration, 0);
      EXPECT_TRUE(std::isfinite(loop.run(100000))) << loop.instruction;
    }
  // The fp32 loops converge to 4 in every lane: a lane or chain left out would show. x = 3/4 x + 1.
  EXPECT_NEAR(generic::Kernels().fp32.run(1000), 12 * 4 * 4, 1e-3);
#if defined(__x86_64__)
  for (const CeilingKernels& kernels : RunnableKernels())
    if (std::string_view(kernels.backend) == "avx2") {
      EXPECT_NEAR(kernels.fp32.run(1000), 12 * 8 * 4, 1e-3);  // 3/4 x + 1 rounds to a fixed point just below 4
    }
#endif
}

// Worker i runs bursts [start, start + length), ...
WorkerLog Log(int64_t start_ns, int64_t length_ns, int count) {
  WorkerLog log;
  for (int i = 0; i < count; ++i) log.bursts.push_back({start_ns + i * length_ns, start_ns + (i + 1) * length_ns});
  return log;
}

TEST(Bursts, WorkersThatRunTogetherAddUp) {
  const std::vector<WorkerLog> logs = {Log(0, 100, 10), Log(30, 100, 10)};
  EXPECT_NEAR(BestRateTogether(logs), 2 / 100e-9, 1);
}

TEST(Bursts, WorkersThatRanOneAfterTheOtherGiveNoCeiling) {
  const std::vector<WorkerLog> logs = {Log(0, 100, 10), Log(1000, 100, 10)};
  EXPECT_TRUE(std::isnan(BestRateTogether(logs)));
}

TEST(Bursts, AnInterruptedBurstDoesNotCountAsRunning) {
  std::vector<WorkerLog> logs = {Log(0, 100, 10), {}};
  logs[1].bursts = {{0, 1000}};  // descheduled inside its only burst
  EXPECT_TRUE(std::isnan(BestRateTogether(logs)));
}

TEST(Bursts, TheBestMomentCountsNotTheMean) {
  std::vector<WorkerLog> logs = {Log(0, 200, 5), Log(0, 200, 5)};
  for (WorkerLog& log : logs) {
    log.bursts.push_back({1000, 1100});
    log.bursts.push_back({1100, 1300});
  }
  EXPECT_NEAR(BestRateTogether(logs), 2 / 100e-9, 1);
}

TEST(Bursts, NoWorkOrNoWorkersGiveNoRate) {
  EXPECT_TRUE(std::isnan(BestRateTogether({})));
  const std::vector<WorkerLog> idle(2);
  EXPECT_TRUE(std::isnan(BestRateTogether(idle)));
}

TEST(Ceilings, EveryBackendHereGivesARateOrARefusalForEveryKind) {
  Fingerprint fingerprint = TakeFingerprint();
  for (const std::string& backend : RunnableBackends(fingerprint)) {
    ThreadPool pool(1);
    const auto ceilings = Ceilings::Make(
        fingerprint, pool,
        {.backend = backend, .flop_bursts = 2, .flop_burst_us = 5, .memory_bursts = 2, .memory_burst_us = 5});
    ASSERT_TRUE(ceilings.ok()) << ceilings.error().message;
    EXPECT_EQ((*ceilings)->backend(), backend);
    const CeilingSample sample = (*ceilings)->Measure();
    for (const CeilingInfo& info : (*ceilings)->infos()) {
      EXPECT_EQ(info.refusal.empty(), sample[info.kind] > 0) << NameOf(info.kind) << " " << info.refusal;
      EXPECT_FALSE(info.instruction.empty());
    }
  }
}

TEST(Ceilings, Bf16WithoutAnInstructionSaysThatItIsFp32) {
  Fingerprint fingerprint = TakeFingerprint();
  ThreadPool pool(1);
  const auto ceilings = Ceilings::Make(fingerprint, pool, {.kinds = {CeilingKind::kBf16}, .backend = "generic"});
  ASSERT_TRUE(ceilings.ok());
  EXPECT_NE((*ceilings)->info(CeilingKind::kBf16).instruction.find("widened to fp32"), std::string::npos);
}

TEST(Ceilings, LevelsThatDoNotExistAreRefusedWithAReason) {
  Fingerprint fingerprint = TakeFingerprint();
  fingerprint.caches = {{.level = 1, .type = "data", .bytes = 32 << 10, .instances = 1}};
  fingerprint.memory_available_bytes = 1 << 20;
  ThreadPool pool(1);
  const auto ceilings =
      Ceilings::Make(fingerprint, pool, {.kinds = {CeilingKind::kL2Read, CeilingKind::kL3Read}, .backend = "generic"});
  ASSERT_TRUE(ceilings.ok());
  const CeilingSample sample = (*ceilings)->Measure();
  for (const CeilingKind kind : {CeilingKind::kL2Read, CeilingKind::kL3Read}) {
    EXPECT_TRUE(std::isnan(sample[kind]));
    EXPECT_FALSE((*ceilings)->info(kind).refusal.empty());
  }
}

TEST(Ceilings, ABackendThatDoesNotRunHereIsRefusedByName) {
  Fingerprint fingerprint = TakeFingerprint();
  fingerprint.best_backend = "generic";
  ThreadPool pool(1);
  const auto ceilings = Ceilings::Make(fingerprint, pool, {.backend = "avx512"});
  ASSERT_FALSE(ceilings.ok());
  EXPECT_NE(ceilings.error().message.find("generic"), std::string::npos);
}

}  // namespace
}  // namespace assay::machine
