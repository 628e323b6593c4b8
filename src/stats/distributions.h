// The few distributions that intervals and tests need, to near double precision. No library in the supported
// distributions has them without also bringing all of Boost.
#pragma once

namespace assay::stats {

double NormalCdf(double x);
double NormalQuantile(double probability);             // +-infinity at 0 and 1
double RegularizedBeta(double x, double a, double b);  // I_x(a, b)
double StudentCdf(double t, double degrees_of_freedom);
double StudentQuantile(double probability, double degrees_of_freedom);
double BinomialCdf(long successes, long trials, double probability);  // P(X <= successes)

}  // namespace assay::stats
