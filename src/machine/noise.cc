#include "machine/noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "stats/power.h"

namespace assay::machine {
namespace {

// y = M x over 224 KiB of matrix: read from L2, multiplied and added, like a decode step over a short context.
struct CacheKernel {
  static constexpr int kRows = 224;
  static constexpr int kColumns = 256;
  std::vector<float> matrix = std::vector<float>(static_cast<size_t>(kRows * kColumns), 0.5f);
  std::vector<float> x = std::vector<float>(kColumns, 0.25f);
  std::vector<float> y = std::vector<float>(kRows);

  void Run() {
    for (int row = 0; row < kRows; ++row) {
      const float* m = &matrix[static_cast<size_t>(row * kColumns)];
      float sum[8] = {};
      for (int column = 0; column < kColumns; column += 8)
        for (int lane = 0; lane < 8; ++lane) sum[lane] += m[column + lane] * x[static_cast<size_t>(column + lane)];
      y[static_cast<size_t>(row)] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
    }
    asm volatile("" : : "r"(y.data()) : "memory");
  }
  [[nodiscard]] Status Check() const {
    const bool right = std::all_of(y.begin(), y.end(), [](float value) { return value == kColumns * 0.125f; });
    return right ? Ok() : Status(Error{ErrorKind::kInternal, "the fixed kernel of the noise floor is broken"});
  }
};

// The sum over 32 MiB: most of it comes from memory or from a cache that others share.
struct MemoryKernel {
  std::vector<uint64_t> data = std::vector<uint64_t>(size_t{4} << 20, 3);
  uint64_t sum = 0;

  void Run() {
    uint64_t parts[4] = {};
    for (size_t i = 0; i < data.size(); i += 4)
      for (size_t lane = 0; lane < 4; ++lane) parts[lane] += data[i + lane];
    sum = parts[0] + parts[1] + parts[2] + parts[3];
    asm volatile("" : : "r"(&sum) : "memory");
  }
  [[nodiscard]] Status Check() const {
    return sum == 3 * data.size()
               ? Ok()
               : Status(Error{ErrorKind::kInternal, "the fixed kernel of the noise floor is broken"});
  }
};

}  // namespace

double NoiseFloor::log_deviation() const {
  if (std::isnan(cache.log_deviation) || std::isnan(memory.log_deviation))
    return std::numeric_limits<double>::quiet_NaN();
  return std::max(cache.log_deviation, memory.log_deviation);
}

double NoiseFloor::DetectableRatio(long pairs) const {
  return stats::MinimumDetectableRatio(log_deviation(), pairs);
}

long NoiseFloor::PairsFor(double ratio) const {
  return stats::PairsNeeded(log_deviation(), ratio);
}

Result<NoiseFloor> MeasureNoise(const NoiseOptions& options) {
  auto cache = std::make_unique<CacheKernel>();
  auto memory = std::make_unique<MemoryKernel>();
  const TimedSubject in_cache{"cache", [&] { cache->Run(); }, [&] { return cache->Check(); }};
  const TimedSubject in_memory{"memory", [&] { memory->Run(); }, [&] { return memory->Check(); }};
  ASSAY_TRY(const PairedResult result, RunPaired({in_cache, in_cache, in_memory, in_memory}, nullptr,
                                                 {.min_rounds = std::min(8, options.rounds),
                                                  .max_rounds = options.rounds,
                                                  .budget_s = options.budget_s,
                                                  .seed = options.seed,
                                                  .stop = options.stop}));
  NoiseFloor floor;
  ASSAY_TRY(floor.cache, result.Compare(0, 1, options.seed));
  ASSAY_TRY(floor.memory, result.Compare(2, 3, options.seed));
  floor.rounds = static_cast<int>(result.rounds.size());
  floor.flagged_rounds = result.flagged_rounds;
  return floor;
}

}  // namespace assay::machine
