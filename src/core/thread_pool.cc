#include "core/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include "core/check.h"

namespace assay {
namespace {

void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

// About 50 to 100 us on current x86 (a pause takes 40 to 140 cycles): longer than the gap between two layers' kernels,
// shorter than a time slice.
constexpr int kSpinsBeforeSleep = 2000;
constexpr int kSpinsBeforeYield = 2000;

// Spins while `word` equals `old`, then sleeps on it.
void AwaitChange(const std::atomic<int>& word, int old, int spins) {
  for (int i = 0; i < spins; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    Pause();
  }
  while (word.load(std::memory_order_acquire) == old) word.wait(old, std::memory_order_acquire);
}

void PinTo(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<size_t>(cpu), &set);
  pthread_setaffinity_np(thread, sizeof(set),
                         &set);  // a refusal leaves the thread where it may run: slower, never wrong
}

}  // namespace

struct ThreadPool::SavedAffinity {
  pthread_t thread;
  cpu_set_t set;
};

std::vector<int> AllowedCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(static_cast<size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

ItemRange StaticRange(size_t count, int workers, int worker) {
  const auto all = static_cast<size_t>(workers);
  const auto index = static_cast<size_t>(worker);
  const size_t base = count / all;
  const size_t longer = count % all;  // this many workers, the first ones, take one item more
  const size_t begin = index * base + (index < longer ? index : longer);
  return {begin, begin + base + (index < longer ? 1 : 0)};
}

void SpinBarrier::Wait() {
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == threads_) {
    arrived_.store(0, std::memory_order_relaxed);  // ordered before the next phase by the release below
    phase_.store(phase + 1, std::memory_order_release);
    return;
  }
  for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
    if (spins < kSpinsBeforeYield) {
      Pause();
    } else {
      sched_yield();  // the thread we wait for may need this very core
    }
  }
}

ThreadPool::ThreadPool(Options options) {
  ASSAY_CHECK(options.workers >= 1, "a pool needs at least one worker, the caller");
  const std::vector<int> cpus = AllowedCpus();
  // Spinning on more threads than cores would steal the core from the thread that is waited for.
  spins_ = static_cast<size_t>(options.workers) <= cpus.size() ? kSpinsBeforeSleep : 0;
  threads_.reserve(static_cast<size_t>(options.workers - 1));
  for (int worker = 1; worker < options.workers; ++worker)
    threads_.emplace_back([this, worker] { WorkerLoop(worker); });
  if (options.pinning == Pinning::kOneCpuEach) {
    saved_affinity_ = std::make_unique<SavedAffinity>();
    saved_affinity_->thread = pthread_self();
    pthread_getaffinity_np(pthread_self(), sizeof(cpu_set_t), &saved_affinity_->set);
    PinTo(pthread_self(), cpus[0]);
    for (size_t i = 0; i < threads_.size(); ++i) PinTo(threads_[i].native_handle(), cpus[(i + 1) % cpus.size()]);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true, std::memory_order_relaxed);  // published by the increment below
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  if (saved_affinity_ && pthread_equal(saved_affinity_->thread, pthread_self()))
    pthread_setaffinity_np(pthread_self(), sizeof(cpu_set_t), &saved_affinity_->set);
}

void ThreadPool::Run(Call call, void* context) {
  ASSAY_CHECK(!busy_.exchange(true, std::memory_order_acquire), "parallel calls on one pool neither nest nor overlap");
  call_ = call;
  context_ = context;
  pending_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  if (!threads_.empty()) {
    generation_.fetch_add(1, std::memory_order_release);
    generation_.notify_all();
  }
  call(context, 0);
  for (int left = pending_.load(std::memory_order_acquire); left != 0; left = pending_.load(std::memory_order_acquire))
    AwaitChange(pending_, left, spins_);
  busy_.store(false, std::memory_order_release);
}

void ThreadPool::WorkerLoop(int worker) {
  for (int seen = 0;;) {
    AwaitChange(generation_, seen, spins_);
    ++seen;  // the caller waits for every worker before the next generation, so none is ever skipped
    if (stop_.load(std::memory_order_relaxed)) return;
    call_(context_, worker);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
  }
}

}  // namespace assay
