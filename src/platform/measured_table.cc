// Measured kernel tables: from columns to queries. One function a kind of table.
#include "platform/measured_table.h"

#include <array>
#include <cmath>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "formats/text.h"

namespace assay::platform {
namespace {

constexpr size_t kMaxTableBytes = 256 * formats::kMegabyte;

// One CSV row, its columns by name.
class Row {
 public:
  Row(const std::map<std::string, size_t, std::less<>>& columns, const std::vector<std::string_view>& fields, std::string where)
      : columns_(columns), fields_(fields), where_(std::move(where)) {}

  [[nodiscard]] bool Has(std::string_view column) const { return columns_.contains(column); }
  [[nodiscard]] std::string_view Text(std::string_view column) const {
    const auto found = columns_.find(column);
    return found == columns_.end() || found->second >= fields_.size() ? std::string_view() : formats::Trim(fields_[found->second]);
  }
  double Number(std::string_view column, double least) {
    const auto value = formats::ParseDouble(Text(column));
    if (!value || !std::isfinite(*value) || *value < least) {
      if (error_.empty()) {
        error_ = fmt::format("{}: {} is '{}'; it must be a finite number >= {}", where_, column, formats::Printable(Text(column)), least);
      }
      return least;
    }
    return *value;
  }
  DType Type(std::string_view column, DType fallback) {
    if (!Has(column)) return fallback;
    std::string_view name = Text(column);
    if (name == "half") return DType::kF16;
    if (name.starts_with("fp8")) return DType::kE4m3;
    if (const auto dtype = DTypeFromName(name)) return *dtype;
    if (error_.empty()) error_ = fmt::format("{}: {} '{}' is no dtype we know", where_, column, formats::Printable(name));
    return fallback;
  }
  [[nodiscard]] Status status() const { return error_.empty() ? Ok() : Status(BadInput(error_)); }

 private:
  const std::map<std::string, size_t, std::less<>>& columns_;
  const std::vector<std::string_view>& fields_;
  std::string where_;
  std::string error_;
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

// `message_size` counts elements of two bytes. Custom all-reduce is measured inside a CUDA graph and eagerly: two variants.
MeasuredRow Collective(Row& row) {
  MeasuredRow out;
  KernelQuery& q = out.query;
  q.family = Family::kAllReduce;
  if (row.Has("op_name")) q.family = FamilyFromName(row.Text("op_name") == "alltoall" ? "all_to_all" : row.Text("op_name")).value_or(Family::kAllReduce);
  if (row.Has("op_name")) out.variant = "nccl";
  if (row.Has("backend")) out.variant = row.Text("backend").ends_with("eager") ? "eager" : "graph";
  q.gpus = row.Number("num_gpus", 2);
  q.bytes = 2 * row.Number("message_size", 1);
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

std::vector<std::string_view> Split(std::string_view line, char separator) {
  std::vector<std::string_view> fields;
  size_t start = 0;
  for (size_t at = line.find(separator); at != std::string_view::npos; at = line.find(separator, start)) {
    fields.push_back(line.substr(start, at - start));
    start = at + 1;
  }
  fields.push_back(line.substr(start));
  return fields;
}

}  // namespace

Result<MeasuredTable> ParseTableName(std::string_view path) {
  std::string_view stem = path.substr(path.find_last_of('/') + 1);
  if (stem.ends_with(".csv")) stem.remove_suffix(4);
  std::vector<std::string> parts;
  std::string rest(stem);
  for (size_t at = rest.find("__"); at != std::string::npos; at = rest.find("__")) {
    parts.push_back(rest.substr(0, at));
    rest = rest.substr(at + 2);
  }
  parts.push_back(rest);
  // NCCL's tables carry no framework version of their own: system__comm__nccl__VERSION__nccl_perf is five parts too.
  if (parts.size() != 5) {
    return BadInput(fmt::format("{}: the name of a measured table is system__group__framework__version__table.csv, for example "
                                "h100_sxm__gemm__vllm__0.24.0__gemm_perf.csv", formats::Printable(path)));
  }
  MeasuredTable table;
  table.stem = std::string(stem);
  table.gpu = parts[0];
  table.engine = parts[2];
  table.version = parts[3];
  table.kind = parts[4];
  return table;
}

Result<MeasuredTable> ReadMeasuredTable(const std::string& path) {
  ASSAY_TRY(MeasuredTable table, ParseTableName(path));
  ASSAY_TRY(const std::string text, formats::ReadFile(path, kMaxTableBytes));
  formats::Lines lines(text);
  std::string_view line;
  if (!lines.Next(&line)) return BadInput(fmt::format("{}: the table is empty; the first line must name its columns", path));
  std::map<std::string, size_t, std::less<>> columns;
  for (std::string_view name : Split(line, ',')) columns.emplace(formats::Trim(name), columns.size());
  if (!columns.contains("latency")) return BadInput(fmt::format("{}:1: there is no column 'latency' (milliseconds)", path));
  while (lines.Next(&line)) {
    if (formats::Trim(line).empty()) continue;
    const std::vector<std::string_view> fields = Split(line, ',');
    if (fields.size() != columns.size()) {
      return BadInput(fmt::format("{}: {} fields; the header names {}", formats::At(path, lines.number()), fields.size(), columns.size()));
    }
    ++table.row_count;
    Row row(columns, fields, formats::At(path, lines.number()));
    const double ms = row.Number("latency", 0);
    auto measured = ToRow(table.kind, row);
    if (!measured) {
      table.known_kind = false;
      continue;
    }
    ASSAY_RETURN_IF_ERROR(row.status());
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
