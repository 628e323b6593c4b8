// Counted: a double that counts what is done with it. A reference template run with T = Counted yields its useful work by construction,
// instead of by a formula that someone might get wrong; cost models are tested against it.
#pragma once

#include <cmath>
#include <cstdint>

namespace assay {

struct WorkCount {
  uint64_t adds = 0;  // additions, subtractions
  uint64_t multiplies = 0;
  uint64_t divides = 0;
  uint64_t transcendentals = 0;  // exp, log, tanh, sqrt
  uint64_t comparisons = 0;
  [[nodiscard]] double flops() const { return static_cast<double>(adds + multiplies + divides); }
};

class Counted {
 public:
  Counted() = default;
  Counted(double value) : value_(value) {}  // NOLINT: implicit, so that templates read like the paper
  explicit operator double() const { return value_; }

  static WorkCount& Work() {
    thread_local WorkCount work;
    return work;
  }

  friend Counted operator+(Counted a, Counted b) { return ++Work().adds, Counted(a.value_ + b.value_); }
  friend Counted operator-(Counted a, Counted b) { return ++Work().adds, Counted(a.value_ - b.value_); }
  friend Counted operator*(Counted a, Counted b) { return ++Work().multiplies, Counted(a.value_ * b.value_); }
  friend Counted operator/(Counted a, Counted b) { return ++Work().divides, Counted(a.value_ / b.value_); }
  friend Counted operator-(Counted a) { return Counted(-a.value_); }
  Counted& operator+=(Counted b) { return *this = *this + b; }
  Counted& operator-=(Counted b) { return *this = *this - b; }
  Counted& operator*=(Counted b) { return *this = *this * b; }
  Counted& operator/=(Counted b) { return *this = *this / b; }
  friend bool operator<(Counted a, Counted b) { return ++Work().comparisons, a.value_ < b.value_; }
  friend bool operator>(Counted a, Counted b) { return b < a; }
  friend bool operator==(Counted a, Counted b) { return a.value_ == b.value_; }

  friend Counted exp(Counted a) { return ++Work().transcendentals, Counted(std::exp(a.value_)); }
  friend Counted log(Counted a) { return ++Work().transcendentals, Counted(std::log(a.value_)); }
  friend Counted log1p(Counted a) { return ++Work().transcendentals, Counted(std::log1p(a.value_)); }
  friend Counted tanh(Counted a) { return ++Work().transcendentals, Counted(std::tanh(a.value_)); }
  friend Counted sqrt(Counted a) { return ++Work().transcendentals, Counted(std::sqrt(a.value_)); }
  friend Counted max(Counted a, Counted b) { return a < b ? b : a; }

 private:
  double value_ = 0;
};

}  // namespace assay
