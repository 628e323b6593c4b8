// Seeds and random numbers. Every random stream is derived from (root seed, text key): a cell's numbers do not depend on which cells
// ran before it, in which order, or on which thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace assay {

// 64-bit FNV-1a, finished by SplitMix64; stable across machines and versions because cell keys are stored.
uint64_t HashText(std::string_view text);
// The seed of the stream `key` under `root`.
uint64_t DeriveSeed(uint64_t root, std::string_view key);

// xoshiro256** (Blackman and Vigna, 2018): fast, 2^256-1 period, and identical on every platform, unlike std distributions.
class Rng {
 public:
  explicit Rng(uint64_t seed);
  uint64_t Next();
  double Uniform();                      // [0, 1), 53 bits
  double Uniform(double low, double high);
  uint64_t Below(uint64_t bound);        // [0, bound), unbiased; bound >= 1
  double Normal();                       // mean 0, variance 1
  double Exponential(double mean);
  double Gamma(double shape, double scale);
  double LogNormal(double mu, double sigma);

 private:
  uint64_t state_[4];
  double spare_normal_ = 0;
  bool has_spare_ = false;
};

}  // namespace assay
