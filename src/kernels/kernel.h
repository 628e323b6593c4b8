// Kernel: an implementation that can be timed. Check says which problems it serves; Prepare does everything that depends on shapes only
// (plans, scratch memory); Pack repacks K and V into the kernel's own layout and is timed apart; Run does the work and allocates nothing.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "core/result.h"
#include "kernels/problem.h"

namespace assay {

class ThreadPool;

enum class Backend { kAuto, kGeneric, kAvx2, kAvx512 };
std::string_view NameOf(Backend backend);  // "auto", "generic", "avx2", "avx512"
// The backends compiled into this program that this CPU can run, the fastest last. kGeneric is always there.
std::span<const Backend> AvailableBackends();

// How a cache of integers is multiplied: decoded to float, exactly; or with queries and weights rounded to 16-bit integers as well, which takes
// about half the time where the CPU is what limits, and errs by what softmax_shorts-inl.h states. Plan::target() then ends in "-q16".
enum class IntegerProducts { kExact, kShorts };

struct KernelEnv {
  ThreadPool* pool = nullptr;         // nullptr: run on the calling thread
  Backend backend = Backend::kAuto;   // asked for; Plan::target() says what ran
  IntegerProducts products = IntegerProducts::kExact;
};

// One prepared problem. Data pointers of the problem it was made from must stay valid; the data may change between runs.
class Plan {
 public:
  virtual ~Plan() = default;
  // Repacks K and V. A plan that needs it has not packed yet after Prepare: call it before Run and whenever K or V changed.
  virtual void Pack() noexcept {}
  virtual void Run() noexcept = 0;
  // What will really run, e.g. "avx2/f32" or "generic/bf16".
  [[nodiscard]] virtual std::string_view target() const = 0;
};

// A function pair, so that a mechanism's folder lists kernels as plain data. `epilogue` selects the score function of a softmax-family
// kernel (kernels/epilogue.h) and is 0 where there is none.
struct Kernel {
  std::string_view id;  // "tile", "recurrent_step", ...
  Status (*check)(const Problem& problem, const Kernel& self) = nullptr;
  Result<std::unique_ptr<Plan>> (*prepare)(const Problem& problem, const Kernel& self, const KernelEnv& env) = nullptr;
  int epilogue = 0;
};

}  // namespace assay
