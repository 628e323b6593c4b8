// Tables with a header line, as measured kernel times and serving points come: CSV with access by column name, numbers
// parsed where they are asked for, and every complaint with file, line and column.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace assay::formats {

struct TableLimits {
  double low = 0;  // values below are refused: what these tables hold is never negative
  double high = 1e18;
};

// At most 256 MB, 1,024 columns, 10 million rows. Fields may be quoted ("a, b", "" for a quote) but not span lines.
// CRLF and a byte-order mark are accepted. A row with another number of fields than the header is refused.
class Table {
 public:
  static Result<Table> Parse(std::string text, const std::string& path);
  static Result<Table> Read(const std::string& path);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] size_t rows() const { return lines_.size(); }
  [[nodiscard]] const std::vector<std::string>& columns() const { return columns_; }
  [[nodiscard]] int64_t line(size_t row) const { return lines_[row]; }

  [[nodiscard]] bool Has(std::string_view column) const;
  // The index of a column; a missing one is answered with the nearest there is.
  [[nodiscard]] Result<size_t> Column(std::string_view name) const;

  [[nodiscard]] std::string_view Text(size_t row, size_t column) const;
  // Finite and within the limits. An empty field is refused.
  [[nodiscard]] Result<double> Number(size_t row, size_t column, TableLimits limits = {}) const;
  [[nodiscard]] Result<int64_t> Integer(size_t row, size_t column, TableLimits limits = {}) const;
  // A whole column at once.
  [[nodiscard]] Result<std::vector<double>> Numbers(std::string_view column, TableLimits limits = {}) const;

 private:
  struct Field {
    uint32_t offset = 0;
    uint32_t size = 0;
  };
  Status SplitLine(std::string_view line, int64_t number, std::vector<Field>* fields);
  [[nodiscard]] std::string Where(size_t row, size_t column) const;

  std::string path_;
  std::string text_;
  std::vector<std::string> columns_;
  std::vector<Field> fields_;  // row-major
  std::vector<int64_t> lines_;
};

// system__family__framework__version__table.csv, as "h100_sxm__attention__vllm__0.24.0__context_attention_perf.csv".
struct TableName {
  std::string system;
  std::string family;
  std::string framework;
  std::string version;
  std::string table;
};
Result<TableName> ParseTableName(std::string_view path);

}  // namespace assay::formats
