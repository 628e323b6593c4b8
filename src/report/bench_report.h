// What `assay bench` shows: the JSON (docs/schemas/bench.schema.json), the table, and the page with its roofline.
#pragma once

#include <string>

#include "probes/bench/bench.h"

namespace assay {

std::string BenchJson(const BenchReport& report);
std::string BenchTable(const BenchReport& report);

}  // namespace assay
