// A measured table of kernel times as rows of (query, variant, time). Name: system__group__framework__version__table.csv; `latency` in ms.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "platform/kernel_query.h"

namespace assay::platform {

struct MeasuredRow {
  KernelQuery query;
  std::string variant;  // the kernel's own name; empty where the table gives none
  double ms = 0;
};

struct MeasuredTable {
  std::string stem;     // the file's name without folder and extension
  std::string gpu;      // "h100_sxm"
  std::string engine;   // "vllm"
  std::string version;  // "0.24.0"
  std::string kind;     // "generation_attention_perf"
  bool known_kind = true;  // false: rows of a family we have no model of; `rows` is then empty and row_count tells how many there are
  int row_count = 0;
  int zero_rows = 0;    // latency 0: a failed measurement, dropped
  std::vector<MeasuredRow> rows = {};
};

Result<MeasuredTable> ReadMeasuredTable(const std::string& path);

}  // namespace assay::platform
