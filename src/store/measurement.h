// Measurement: one metric of one cell, in long form. Everything a probe learns becomes rows of this shape; analysis, claims, advice and
// reports read these rows and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/quantity.h"

namespace assay {

enum class Direction { kHigherIsBetter, kLowerIsBetter, kNeither };
enum class Aggregation { kMedian, kMean, kMinimum, kMaximum, kPercentile, kSum, kNone };

// A registered metric; the store refuses a measurement of an unregistered one (a typo would otherwise be a new fact).
struct Metric {
  std::string name{};  // units last: "decode_time_ms", "kv_bytes_per_token"
  std::string unit{};
  Direction direction = Direction::kNeither;
  Aggregation aggregation = Aggregation::kNone;
  std::string meaning{};  // one sentence for the report and the docs
};

// What was measured: mechanism with parameters, and the implementation that gave it a speed.
struct Subject {
  std::string mechanism{};       // "gqa"
  std::string parameters{};      // "kv_heads=8,head_dim=128", canonical order
  std::string implementation{};  // "assay/avx2", "h100_sxm/vllm/0.24.0"; empty when only arithmetic
  int revision = 0;            // of the mechanism's folder
  std::string kernel_hash{};     // of a kernel that a user brings; ours are known by implementation and revision
};

// The conditions of a cell: name -> value, kept sorted by name.
struct Factor {
  std::string name{};   // "context_tokens"
  std::string value{};  // "4096"
};

struct Measurement {
  std::string run_id{};   // the audit, study or command that produced it
  std::string cell_key{}; // CellKey(subject, factors, machine)
  Subject subject{};
  std::vector<Factor> factors{};
  std::string probe{};    // "cost", "numerics", "serving", ...
  std::string metric{};   // a registered name
  Quantity quantity{};    // value, interval, unit, basis, origin
  int64_t sample_count = 0;
  std::string samples_artifact{};  // hash of the raw samples, empty if none
  std::string command{};  // reproduces this number
  std::string machine{};  // fingerprint; empty for arithmetic
  std::string flags{};    // comma separated: "noisy", "mixed", ...
  uint64_t seed = 0;
  std::string provenance_json{};  // anything else a reader may need, one JSON object
};

// 32 hex digits of subject revision, kernel hash, sorted factors and machine: the identity under which a cell is stored and resumed.
std::string CellKey(const Subject& subject, std::vector<Factor> factors, std::string_view machine);

}  // namespace assay
