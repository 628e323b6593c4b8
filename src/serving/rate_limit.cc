// Doubling, then bisection in the logarithm.
#include "serving/rate_limit.h"

#include <algorithm>
#include <cmath>

namespace assay::serving {

bool Holds(const Slo& slo, const Summary& s) {
  return s.refused == 0 && s.requests > 0 && !s.backlog.grows && (!slo.ttft_ms_p95 || s.ttft_ms.p95.value <= *slo.ttft_ms_p95) &&
         (!slo.tpot_ms_p95 || s.tpot_ms.p95.value <= *slo.tpot_ms_p95) && (!slo.e2e_ms_p95 || s.e2e_ms.p95.value <= *slo.e2e_ms_p95);
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
