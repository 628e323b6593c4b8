// TOML as plain data with line numbers, and a reader that checks what it takes: every file of ours that a user writes
// (use cases, model presets, platform profiles, claims, predictions) is read through it, so that all of them refuse
// unknown keys, wrong types and values out of range in the same words. The TOML library itself stays inside toml.cc.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace assay::formats {

struct TomlNode {
  enum class Kind { kBool, kInteger, kFloat, kString, kDate, kArray, kTable };
  Kind kind = Kind::kTable;
  int64_t line = 0;
  std::string key;              // in the table that holds it; empty in an array
  bool boolean = false;         // kBool
  int64_t integer = 0;          // kInteger
  double number = 0;            // kInteger and kFloat
  std::string text;             // kString; kDate as written in ISO 8601
  std::vector<TomlNode> items;  // kArray: elements; kTable: members in the order of the file

  [[nodiscard]] const TomlNode* Find(std::string_view member) const;  // of a table; nullptr if absent
};

// `path` is for messages. At most 16 MB, 64 levels; the root is a table.
Result<TomlNode> ParseToml(std::string_view text, std::string_view path);

// What is wrong with a file, collected, so that a user mends all of it in one go.
class TomlErrors {
 public:
  explicit TomlErrors(std::string path) : path_(std::move(path)) {}
  void Add(int64_t line, std::string_view message);
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool empty() const { return messages_.empty(); }
  // Ok, or one BadInput with a line for each mistake (the first ten).
  [[nodiscard]] Status ToStatus() const;

 private:
  std::string path_;
  std::vector<std::string> messages_;
};

// Inclusive limits of a number and its unit, for the message: {.low = 0, .high = 1, .unit = "a share"}.
struct TomlBounds {
  double low = -std::numeric_limits<double>::max();
  double high = std::numeric_limits<double>::max();
  std::string_view unit = "";
};

struct Interval {
  double low = 0;
  double high = 0;
};

// Takes typed values out of one table. A getter returns nothing when the key is absent, and also, after noting the
// mistake, when its value is unfit; callers go on and ask TomlErrors at the end. Close() notes every member that no
// getter asked for.
class TomlReader {
 public:
  TomlReader(const TomlNode& table, std::string name, TomlErrors* errors);

  [[nodiscard]] bool Has(std::string_view key) const { return table_->Find(key) != nullptr; }
  [[nodiscard]] int64_t line() const { return table_->line; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const TomlNode& table() const { return *table_; }

  // Notes a mistake if `key` is absent; `remedy` is an example of what to write.
  void Require(std::string_view key, std::string_view remedy);
  // Notes a mistake at the key's line (at the table's if the key is absent).
  void Fail(std::string_view key, std::string_view message);

  std::optional<std::string> String(std::string_view key);
  // A text that must be there and not be empty; "" after noting the mistake.
  std::string Text(std::string_view key, std::string_view remedy);
  std::optional<bool> Bool(std::string_view key);
  std::optional<double> Number(std::string_view key, TomlBounds bounds);
  std::optional<int64_t> Integer(std::string_view key, TomlBounds bounds);
  // [low, high], or one number for a range of one point.
  std::optional<Interval> Range(std::string_view key, TomlBounds bounds);
  // One of the names; the index into `names`.
  std::optional<size_t> Choice(std::string_view key, std::span<const std::string_view> names);
  std::vector<std::string> Strings(std::string_view key);
  std::vector<double> Numbers(std::string_view key, TomlBounds bounds);
  std::optional<TomlReader> Table(std::string_view key);
  std::vector<TomlReader> Tables(std::string_view key);  // [[key]]
  const TomlNode* Take(std::string_view key);            // the raw node, for what the getters above do not cover

  void Close();

 private:
  const TomlNode* Typed(std::string_view key, TomlNode::Kind kind, std::string_view expected);
  const TomlNode* table_;
  std::string name_;  // "workload.prompt_tokens"; empty at the root
  TomlErrors* errors_;
  std::deque<std::string> asked_;
};

}  // namespace assay::formats
