#include "core/random.h"

#include <cmath>
#include <numbers>

#include "core/check.h"

namespace assay {
namespace {

uint64_t SplitMix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

uint64_t Rotate(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }

}  // namespace

uint64_t HashText(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return SplitMix(hash);
}

uint64_t DeriveSeed(uint64_t root, std::string_view key) {
  uint64_t state = root ^ HashText(key);
  return SplitMix(state);
}

Rng::Rng(uint64_t seed) {
  for (uint64_t& word : state_) word = SplitMix(seed);
}

uint64_t Rng::Next() {
  const uint64_t result = Rotate(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = Rotate(state_[3], 45);
  return result;
}

double Rng::Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }
double Rng::Uniform(double low, double high) { return low + (high - low) * Uniform(); }

uint64_t Rng::Below(uint64_t bound) {
  ASSAY_CHECK(bound >= 1, "Below needs a positive bound");
  const uint64_t reject_below = (0 - bound) % bound;  // 2^64 mod bound
  uint64_t x = Next();
  while (x < reject_below) x = Next();
  return x % bound;
}

double Rng::Normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
  const double angle = 2 * std::numbers::pi * Uniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_ = true;
  return radius * std::cos(angle);
}

double Rng::Exponential(double mean) { return -mean * std::log(1 - Uniform()); }
double Rng::LogNormal(double mu, double sigma) { return std::exp(mu + sigma * Normal()); }

// Marsaglia and Tsang (2000); a shape below 1 is boosted by U^(1/shape).
double Rng::Gamma(double shape, double scale) {
  if (shape < 1) return Gamma(shape + 1, scale) * std::pow(1 - Uniform(), 1 / shape);
  const double d = shape - 1.0 / 3;
  const double c = 1 / std::sqrt(9 * d);
  for (;;) {
    const double x = Normal();
    const double root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(1 - Uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v * scale;
  }
}

}  // namespace assay
