// The pool: every item once, results that do not depend on the number of workers, phases that do not overlap, no
// allocation per call.
#include "core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

// Counts allocations of the whole test binary; the sanitizers bring their own operator new and are left alone.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define ASSAY_COUNTS_ALLOCATIONS 1
namespace {
std::atomic<long> allocations{0};
}
// Never inlined: GCC would see malloc meet the library's delete and warn.
[[gnu::noinline]] void* operator new(size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* pointer = std::malloc(bytes == 0 ? 1 : bytes)) return pointer;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* pointer) noexcept {
  std::free(pointer);
}
[[gnu::noinline]] void operator delete(void* pointer, size_t) noexcept {
  std::free(pointer);
}
#endif

namespace assay {
namespace {

TEST(ThreadPool, StaticRangesCoverEveryItemOnceAndInOrder) {
  for (int workers = 1; workers <= 7; ++workers) {
    for (size_t count = 0; count <= 40; ++count) {
      size_t next = 0;
      size_t longest = 0;
      size_t shortest = count;
      for (int worker = 0; worker < workers; ++worker) {
        const ItemRange range = StaticRange(count, workers, worker);
        ASSERT_EQ(range.begin, next);
        ASSERT_LE(range.begin, range.end);
        next = range.end;
        longest = std::max(longest, range.end - range.begin);
        shortest = std::min(shortest, range.end - range.begin);
      }
      ASSERT_EQ(next, count);
      ASSERT_LE(longest - shortest, 1u);
    }
  }
}

TEST(ThreadPool, EveryItemRunsExactlyOnceInEachOfManyCalls) {
  for (const int workers : {1, 2, 3, 8}) {
    ThreadPool pool(workers);
    std::vector<int> runs(101);
    for (int call = 0; call < 300; ++call)
      pool.ParallelFor(runs.size(), [&](size_t begin, size_t end, int) {
        for (size_t i = begin; i < end; ++i)
          ++runs[i];  // plain ints: a lost or doubled item shows, and TSan watches the hand-over
      });
    EXPECT_EQ(std::count(runs.begin(), runs.end(), 300), 101);
  }
}

TEST(ThreadPool, RunOnAllReachesEveryWorkerOnce) {
  ThreadPool pool(4);
  std::vector<int> runs(4);
  for (int call = 0; call < 100; ++call) pool.RunOnAll([&](int worker) { ++runs[static_cast<size_t>(worker)]; });
  EXPECT_EQ(runs, std::vector<int>({100, 100, 100, 100}));
}

TEST(ThreadPool, FloatingPointResultIsBitIdenticalForAnyNumberOfWorkers) {
  // Fixed work items of 64 values each, merged in item order: the sum must not know how many workers there were.
  std::vector<float> values(64 * 37);
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1.0f / static_cast<float>(i + 1);
  const auto sum_with = [&](int workers) {
    ThreadPool pool(workers);
    std::vector<float> partial(37);
    pool.ParallelFor(partial.size(), [&](size_t begin, size_t end, int) {
      for (size_t item = begin; item < end; ++item)
        partial[item] = std::accumulate(values.begin() + static_cast<long>(item * 64),
                                        values.begin() + static_cast<long>(item * 64 + 64), 0.0f);
    });
    return std::accumulate(partial.begin(), partial.end(), 0.0f);
  };
  const float alone = sum_with(1);
  for (const int workers : {2, 3, 5, 40}) EXPECT_EQ(sum_with(workers), alone);
}

TEST(ThreadPool, BarrierSeparatesThePhasesOfOneCall) {
  ThreadPool pool(3);
  SpinBarrier barrier(3);
  std::vector<int> first(3), second(3);
  for (int call = 1; call <= 200; ++call) {
    pool.RunOnAll([&](int worker) {
      first[static_cast<size_t>(worker)] = call;
      barrier.Wait();
      second[static_cast<size_t>(worker)] = first[0] + first[1] + first[2];
      barrier.Wait();
    });
    ASSERT_EQ(second, std::vector<int>(3, 3 * call));
  }
}

TEST(ThreadPool, PinningIsUndoneWhenThePoolGoes) {
  const std::vector<int> before = AllowedCpus();
  {
    ThreadPool pool({.workers = 2, .pinning = ThreadPool::Pinning::kOneCpuEach});
    EXPECT_EQ(AllowedCpus(), std::vector<int>({before[0]}));
    std::vector<size_t> allowed(2);
    pool.RunOnAll([&](int worker) { allowed[static_cast<size_t>(worker)] = AllowedCpus().size(); });
    EXPECT_EQ(allowed, std::vector<size_t>({1, 1}));
  }
  EXPECT_EQ(AllowedCpus(), before);
}

TEST(ThreadPool, NoItemsCallsNothing) {
  ThreadPool pool(2);
  std::atomic<int> calls{0};
  pool.ParallelFor(0, [&](size_t, size_t, int) { ++calls; });
  EXPECT_EQ(calls, 0);
}

#ifdef ASSAY_COUNTS_ALLOCATIONS
TEST(ThreadPool, ACallAllocatesNothing) {
  ThreadPool pool(2);
  std::vector<double> values(1000);
  const auto work = [&](size_t begin, size_t end, int) {
    for (size_t i = begin; i < end; ++i) values[i] += 1;
  };
  pool.ParallelFor(values.size(), work);
  const long before = allocations.load();
  for (int call = 0; call < 100; ++call) pool.ParallelFor(values.size(), work);
  EXPECT_EQ(allocations.load(), before);
}
#endif

TEST(ThreadPoolDeathTest, NestedCallsAreABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        ThreadPool pool(1);
        pool.RunOnAll([&](int) { pool.RunOnAll([](int) {}); });
      },
      "neither nest nor overlap");
}

}  // namespace
}  // namespace assay
