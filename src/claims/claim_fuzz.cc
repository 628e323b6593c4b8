// Fuzz target: claims, and with them formulas and verdicts, and predictions.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "claims/claim.h"
#include "claims/ledger.h"
#include "claims/verdict.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto prediction = assay::ParsePrediction(text, "fuzz.toml"); prediction.ok()) {
    (void)assay::Score({*prediction}, "2027-01-01");
  }
  const auto claim = assay::ParseClaim(text, "fuzz.toml");
  if (!claim.ok()) return 0;
  (void)assay::FrozenHash(*claim);
  if (const auto verdict = assay::CheckClaim(*claim, nullptr); verdict.ok()) (void)verdict->at_origin.Label();
  return 0;
}
