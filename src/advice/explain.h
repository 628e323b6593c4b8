// Explain: how a number of the last audit came to be, from the store alone.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "store/store.h"

namespace assay {

struct Explanation {
  Measurement row;
  std::string metric_meaning;
  std::string run_id;
  std::string run_command;
  std::string run_created_utc;
  std::vector<double> samples;  // raw, where the number has any
};

// `id` as the audit shows it: "B.max_rate_per_second". Looks in the newest audit of the store. An unknown id is BadInput naming the
// nearest known one.
Result<Explanation> Explain(const Store& store, std::string_view id);

std::string ExplanationText(const Explanation& explanation);
std::string ExplanationJson(const Explanation& explanation);

}  // namespace assay
