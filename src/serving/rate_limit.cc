// Doubling, then bisection in the logarithm.
#include "serving/rate_limit.h"

#include <algorithm>
#include <cmath>

namespace assay::serving {

bool Holds(const Slo& slo, const Summary& s) {
  const auto within = [](const std::optional<double>& limit, const Percentiles& p) { return !limit || (p.count > 0 && p.p95.value <= *limit); };
  return s.refused == 0 && s.requests > 0 && !s.backlog.grows && within(slo.ttft_ms_p95, s.ttft_ms) && within(slo.tpot_ms_p95, s.tpot_ms) &&
         within(slo.e2e_ms_p95, s.e2e_ms);
}

Result<RateLimit> LargestRate(const std::function<Result<bool>(double)>& holds, const RateSearch& search) {
  ASSAY_TRY(bool fine, holds(search.idle));
  if (!fine) return RateLimit{};
  double low = search.idle;
  double high = std::min(std::max(1.0, search.idle), search.most);
  for (;;) {
    ASSAY_TRY(fine, holds(high));
    if (!fine) break;
    low = high;
    if (high >= search.most) return RateLimit{.requests_per_s = high, .at_least = true};
    high = std::min(2 * high, search.most);
  }
  while (high / low > search.bracket) {
    const double middle = std::sqrt(low * high);
    ASSAY_TRY(fine, holds(middle));
    (fine ? low : high) = middle;
  }
  return RateLimit{.requests_per_s = low};
}

}  // namespace assay::serving
