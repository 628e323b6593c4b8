// ThreadPool: a fixed set of workers for kernels and for the paired runner. The partition is static and a call
// allocates nothing, so that a result never depends on timing; workers spin before they sleep, because a wake-up
// through the kernel (tens of microseconds) costs more than a whole decode step over a short context.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace assay {

// Processors this process may run on (sched_getaffinity), ascending; never empty.
std::vector<int> AllowedCpus();

// Work item range of `worker` when `count` items are split evenly and in order over `workers`: the first count %
// workers get one more.
struct ItemRange {
  size_t begin = 0;
  size_t end = 0;
};
ItemRange StaticRange(size_t count, int workers, int worker);

// A barrier of a fixed number of threads for phases inside one parallel call: it spins, and yields when it spun for
// long.
class SpinBarrier {
 public:
  explicit SpinBarrier(int threads) : threads_(threads) {}
  void Wait();

 private:
  const int threads_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};
};

class ThreadPool {
 public:
  enum class Pinning { kNone, kOneCpuEach };
  struct Options {
    int workers = 1;                   // the calling thread is worker 0, so workers - 1 threads are started; at least 1
    Pinning pinning = Pinning::kNone;  // kOneCpuEach also pins the constructing thread, until the pool is destroyed
  };

  explicit ThreadPool(Options options);
  explicit ThreadPool(int workers) : ThreadPool(Options{.workers = workers}) {}
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int workers() const { return static_cast<int>(threads_.size()) + 1; }

  // fn(begin, end, worker) once per worker that has items, StaticRange each; returns when all are done, and what they
  // wrote is visible to the caller. Results are independent of the number of workers when item i is computed from i
  // alone: fix the items (a page, a head, 2,048 keys) before the split, never derive them from workers(). Calls do not
  // nest, and fn does not throw.
  template <class Function>
  void ParallelFor(size_t count, Function&& fn) {
    const int all = workers();
    RunOnAll([&fn, count, all](int worker) {
      const ItemRange range = StaticRange(count, all, worker);
      if (range.begin < range.end) fn(range.begin, range.end, worker);
    });
  }

  // fn(worker) exactly once on every worker, all at the same time: for code with a SpinBarrier between its phases.
  template <class Function>
  void RunOnAll(Function&& fn) {
    using Callable = std::remove_reference_t<Function>;
    Run([](void* context, int worker) { (*static_cast<Callable*>(context))(worker); },
        const_cast<void*>(static_cast<const void*>(std::addressof(fn))));
  }

 private:
  using Call = void (*)(void* context, int worker);
  void Run(Call call, void* context);
  void WorkerLoop(int worker);

  std::vector<std::thread> threads_;
  Call call_ = nullptr;  // both are published by the increment of generation_
  void* context_ = nullptr;
  int spins_ = 0;
  std::atomic<bool> busy_{false};
  // Each on a line of its own: the caller spins on one while the workers spin on the other.
  alignas(64) std::atomic<int> generation_{0};
  alignas(64) std::atomic<int> pending_{0};
  alignas(64) std::atomic<bool> stop_{false};
  struct SavedAffinity;
  std::unique_ptr<SavedAffinity> saved_affinity_;
};

}  // namespace assay
