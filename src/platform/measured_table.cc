// Measured kernel tables: from columns to queries. One function a kind of table.
#include "platform/measured_table.h"

#include <cmath>
#include <functional>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "formats/table.h"
#include "formats/text.h"

namespace assay::platform {
namespace {

// One row of a table; remembers the first thing that was wrong with it.
class Row {
 public:
  Row(const formats::Table& table, const std::map<std::string, size_t, std::less<>>& columns) : table_(table), columns_(columns) {}

  void Move(size_t row) { row_ = row; }
  [[nodiscard]] bool Has(std::string_view column) const { return columns_.contains(column); }
  [[nodiscard]] std::string_view Text(std::string_view column) const {
    const auto found = columns_.find(column);
    return found == columns_.end() ? std::string_view() : table_.Text(row_, found->second);
  }
  double Number(std::string_view column, double least) {
    const auto found = columns_.find(column);
    if (found == columns_.end()) {
      if (const auto missing = table_.Column(column); !missing.ok()) Note(missing.error());
      return least;
    }
    const auto value = table_.Number(row_, found->second, {.low = least, .high = 1e18});
    if (!value.ok()) Note(value.error());
    return value.ok() ? *value : least;
  }
  DType Type(std::string_view column, DType fallback) {
    if (!Has(column)) return fallback;
    const std::string_view name = Text(column);
    if (name.starts_with("fp8")) return DType::kE4m3;
    if (const auto dtype = DTypeFromName(name)) return *dtype;
    Note(BadInput(fmt::format("{}: {} '{}' is no dtype we know", formats::At(table_.path(), table_.line(row_)), column, formats::Printable(name))));
    return fallback;
  }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }

 private:
  void Note(const Error& error) {
    if (!error_) error_ = error;
  }

  const formats::Table& table_;
  const std::map<std::string, size_t, std::less<>>& columns_;
  size_t row_ = 0;
  std::optional<Error> error_;
};

MeasuredRow Attention(Row& row, Family family) {
  MeasuredRow out;
  KernelQuery& q = out.query;
  q.family = family;
  q.batch = row.Number("batch_size", 1);
  q.query_heads = row.Number("num_heads", 1);
  q.kv_heads = row.Number("num_key_value_heads", 1);
  q.head_dim = static_cast<int32_t>(row.Number("head_dim", 1));
  q.window = row.Has("window_size") ? static_cast<int32_t>(row.Number("window_size", 0)) : 0;
  q.cache = row.Type("kv_cache_dtype", DType::kBf16);
  q.compute = row.Type("attn_dtype", DType::kBf16);
  q.tokens = family == Family::kAttentionPrefill ? row.Number("isl", 1) : row.Number("step", 0) + 1;
  return out;
}

MeasuredRow Mla(Row& row, Family family) {
  MeasuredRow out;
  KernelQuery& q = out.query;
  q.family = family;
  q.batch = row.Number("batch_size", 1);
  q.query_heads = row.Number("num_heads", 1);
  q.cache = row.Type("kv_cache_dtype", DType::kBf16);
  q.tokens = family == Family::kMlaPrefill ? row.Number("isl", 1) : row.Number("step", 0) + 1;
  return out;
}

MeasuredRow Gdn(Row& row, Family recurrence, Family convolution) {
  MeasuredRow out;
  KernelQuery& q = out.query;
  out.variant = row.Text("kernel_source");
  q.family = out.variant.starts_with("causal_conv1d") ? convolution : recurrence;
  q.batch = row.Number("batch_size", 1);
  q.query_heads = row.Number("num_v_heads", 1);
  q.kv_heads = row.Number("num_k_heads", 1);
  q.tokens = row.Has("seq_len") ? row.Number("seq_len", 1) : 1;
  return out;
}

MeasuredRow Gemm(Row& row) {
  MeasuredRow out;
  KernelQuery& q = out.query;
  out.variant = row.Text("kernel_source");
  q.family = Family::kGemm;
  q.compute = row.Type("gemm_dtype", DType::kBf16);
  q.m = row.Number("m", 1);
  q.n = row.Number("n", 1);
  q.k = row.Number("k", 1);
  return out;
}

// `message_size` counts elements: two bytes, or one in NCCL's int8 rows. Custom all-reduce is measured inside a CUDA graph and eagerly,
// which are two variants.
MeasuredRow Collective(Row& row) {
  MeasuredRow out;
  KernelQuery& q = out.query;
  q.family = Family::kAllReduce;
  if (row.Has("op_name")) {
    out.variant = "nccl";
    q.family = FamilyFromName(row.Text("op_name") == "alltoall" ? "all_to_all" : row.Text("op_name")).value_or(Family::kAllReduce);
  }
  if (row.Has("backend")) out.variant = row.Text("backend").ends_with("eager") ? "eager" : "graph";
  q.gpus = row.Number("num_gpus", 2);
  q.bytes = row.Number("message_size", 1) * (row.Text("nccl_dtype") == "int8" ? 1 : 2);
  return out;
}

std::optional<MeasuredRow> ToRow(std::string_view kind, Row& row) {
  if (kind == "context_attention_perf") return Attention(row, Family::kAttentionPrefill);
  if (kind == "generation_attention_perf") return Attention(row, Family::kAttentionDecode);
  if (kind == "context_mla_perf") return Mla(row, Family::kMlaPrefill);
  if (kind == "generation_mla_perf") return Mla(row, Family::kMlaDecode);
  if (kind == "gdn_context_perf") return Gdn(row, Family::kGdnPrefill, Family::kGdnConvPrefill);
  if (kind == "gdn_perf") return Gdn(row, Family::kGdnDecode, Family::kGdnConvDecode);
  if (kind == "gemm_perf") return Gemm(row);
  if (kind == "nccl_perf" || kind == "custom_allreduce_perf") return Collective(row);
  return std::nullopt;
}

}  // namespace

Result<MeasuredTable> ReadMeasuredTable(const std::string& path) {
  ASSAY_TRY(const formats::TableName name, formats::ParseTableName(path));
  ASSAY_TRY(const formats::Table csv, formats::Table::Read(path));
  std::string stem = path.substr(path.find_last_of('/') + 1);
  if (stem.ends_with(".csv")) stem.resize(stem.size() - 4);
  MeasuredTable table{.stem = stem, .gpu = name.system, .engine = name.framework, .version = name.version, .kind = name.table};
  table.row_count = static_cast<int>(csv.rows());
  std::map<std::string, size_t, std::less<>> columns;
  for (size_t i = 0; i < csv.columns().size(); ++i) columns.emplace(csv.columns()[i], i);
  Row row(csv, columns);
  for (size_t i = 0; i < csv.rows(); ++i) {
    row.Move(i);
    const double ms = row.Number("latency", 0);
    auto measured = ToRow(table.kind, row);
    if (row.error()) return *row.error();
    if (!measured) {
      table.known_kind = false;
      continue;
    }
    if (ms <= 0) {
      ++table.zero_rows;
      continue;
    }
    measured->ms = ms;
    table.rows.push_back(std::move(*measured));
  }
  return table;
}

}  // namespace assay::platform
