// What `assay bench` shows: the JSON (docs/schemas/bench.schema.json), the table, and the page with its rooflines.
#pragma once

#include <string>

#include "probes/bench/bench.h"

namespace assay {

std::string BenchJson(const BenchReport& report);
std::string BenchTable(const BenchReport& report);
// One self-contained page: a table and a roofline for each family.
std::string BenchHtml(const BenchReport& report);

}  // namespace assay
