// Explain: how a number of an audit came to be, from the store alone.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "store/store.h"

namespace assay {

struct Explanation {
  Measurement row;
  std::string metric_meaning;
  RunInfo run;                  // the audit that stored it
  int64_t newer_audits = 0;     // without this number: stopped early, or of another use case
  std::vector<double> samples;  // raw, in the row's unit, where the number has its own
  std::string document_json;    // else what it was derived from: rounds of paired samples, curves, findings; may be empty
};

// `id` as the audit shows it: "B.max_rate_per_second". Looks in the newest audit of the store that has it. An unknown id is BadInput naming the
// nearest known one.
Result<Explanation> Explain(const Store& store, std::string_view id);

std::string ExplanationText(const Explanation& explanation);
std::string ExplanationJson(const Explanation& explanation);

}  // namespace assay
