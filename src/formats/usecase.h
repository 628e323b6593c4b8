// A use case: what a user wants to know, as plain data. The file is TOML with a unit in every name; docs/usecase.md
// lists every key. std::optional is empty where the user said nothing ("unknown", never zero); every other default is
// stated beside its member.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/availability.h"
#include "core/dtype.h"
#include "core/result.h"
#include "formats/lengths.h"
#include "formats/model_spec.h"
#include "formats/stack.h"
#include "formats/toml.h"

namespace assay::formats {

// More requests than this are not simulated at once: a percentile is settled by thousands.
constexpr int64_t kMostSimulatedRequests = 2'000'000;

// [workload]
enum class Arrivals {
  kTrace,    // as the trace says
  kPoisson,  // independent, at requests_per_second
  kBatch,    // everything is there at time 0
};

struct SharedPrefix {
  int64_t tokens = 0;    // of a prompt, counted in its length
  double share = 1;      // of all requests that begin with one of the prefixes
  int64_t variants = 1;  // how many different prefixes there are, equally likely
};

struct Workload {
  Arrivals arrivals = Arrivals::kPoisson;
  std::optional<std::string>
      trace_path;                    // absolute or relative to the working directory; set: lengths come from the trace
  LengthDistribution prompt_tokens;  // used without a trace
  LengthDistribution output_tokens;
  std::optional<double> requests_per_second;  // needed for poisson
  std::optional<int64_t> requests;            // needed for batch without a trace; else how many to draw, or the first so many of the trace
  std::optional<SharedPrefix> shared_prefix;
  double rate_scale = 1;  // arrivals come this many times as fast
  std::string source;     // where the lengths and the rate come from, for readers of the file
};

// [platform]
struct Parallelism {
  int64_t tensor = 1;
  int64_t pipeline = 1;
  int64_t context = 1;
  int64_t data = 1;  // replicas
  [[nodiscard]] int64_t devices() const { return tensor * pipeline * context * data; }
};

struct Platform {
  std::optional<std::string>
      gpu;                   // "h100_sxm": a name that `assay platform list` knows. Exactly one of gpu and cpu is set
  bool is_this_cpu = false;  // cpu = "this"
  std::optional<std::string> profile_path;  // a platform profile of the user's own, instead of the shipped one
  Parallelism parallel;
  std::optional<double> usd_per_device_hour;  // of one GPU, or of the whole machine for a CPU
  double memory_fraction = 0.9;      // of a device's memory that weights, cache and activations may fill together
  double spare_share = 0;            // capacity kept free for peaks and failures: 0.2 plans for 1.2 times the traffic
  std::optional<double> memory_gib;  // per device, if not the datasheet's
};

// [engine]
struct Speculation {
  int64_t draft_tokens = 0;
  std::optional<Interval> accepted_share;    // chance that a drafted token is kept
  std::optional<Interval> draft_cost_share;  // time of one draft step, of a step of the target
};

struct EnginePolicy {
  std::optional<int64_t> max_batched_tokens;  // a step's token budget
  std::optional<int64_t> max_sequences;
  std::optional<bool> chunked_prefill;
  std::optional<bool> prefix_cache;
  std::optional<bool> cuda_graphs;
  std::optional<int64_t> block_tokens;  // of a page of the cache
  std::optional<Speculation> speculation;
};

struct Engine {
  std::string name;     // "vllm", "sglang", "trtllm", or "assay" for kernels of this machine
  std::string version;  // "0.24.0"
  EnginePolicy policy;
};

// [objective]: at least one
struct Objective {
  std::optional<double> ttft_ms_p95;
  std::optional<double> tpot_ms_p95;
  std::optional<double> e2e_ms_p95;
  std::optional<double> budget_usd_per_month;
  std::optional<double> deadline_hours;           // for a batch: until the last document is done
  std::optional<double> usd_per_document;         // for a batch: at most
  std::optional<double> quality_loss_max_points;  // on the task's own score
};

// [effort]: what a change may cost. Ranges are the user's estimates.
struct Effort {
  std::optional<double> engineer_usd_per_day;
  std::optional<double> horizon_months;
  std::optional<Interval> drop_in_days;
  std::optional<Interval> convert_days;
  std::optional<Interval> pretrain_days;
  std::optional<Interval> convert_usd;   // accelerator time of a conversion and its healing
  std::optional<Interval> pretrain_usd;  // accelerator time of a pretraining
};

// [task]: what the model is used for
struct Task {
  std::string description;
  std::optional<std::string> text_path;           // the user's own text
  std::optional<std::string> questions_path;      // questions with answers
  std::optional<std::string> grader;              // how an answer is judged: "exact", "contains", "program PATH"
  std::optional<int64_t> recall_keys;             // facts of one context that an answer may need
  std::optional<int64_t> recall_distance_tokens;  // how far back they may stand
  std::optional<bool> state_tracking;             // must follow a changing state through the text
};

// [[candidates]]

enum class ScaleGranularity { kNone, kTensor, kHead, kToken, kTokenHead, kPage, kBlock };
std::string_view NameOf(ScaleGranularity granularity);

struct KvFormat {
  DType dtype = DType::kBf16;
  ScaleGranularity scale = ScaleGranularity::kNone;
  std::optional<int64_t> scale_block_elements = {};  // for kBlock
  std::optional<DType> scale_dtype = {};             // absent: f32 where there are scales
  friend bool operator==(const KvFormat&, const KvFormat&) = default;
};

struct Implementation {
  std::string engine;
  std::string version;
  friend bool operator==(const Implementation&, const Implementation&) = default;
};

struct Candidate {
  std::string id;
  bool is_baseline = false;  // what runs today; exactly one
  Stack stack;
  std::vector<MechanismCall> layers;  // the stack over the model's layers, `last` applied
  KvFormat kv;
  std::optional<MechanismCall>
      read;  // what a decode step reads: absent, all that is resident; "quest(budget_tokens=2048)"
  Availability availability = Availability::kDropIn;
  Implementation implementation;        // absent in the file: the engine of [engine]
  bool implementation_is_own = false;   // it differs from [engine]: comparisons with the baseline are `mixed`
  std::optional<Interval> switch_days;  // overrides [effort] for this candidate
  // Points lost on the task against the baseline, measured by the user on this model; absent: nobody measured, which is not zero.
  std::optional<Interval> quality_loss_points;
  std::optional<std::string> quality_source;  // needed with it: how it was measured
  std::optional<std::string> note;
  int64_t line = 0;
};

// [assume]: ranges for what nobody knows, swept, never silently fixed
struct Assumption {
  std::string name;
  Interval range;
  int64_t line = 0;
};

struct AssumptionRow {
  std::string_view name;  // ends in its unit
  std::string_view meaning;
  double low;   // what a file may say at least
  double high;  // and at most
};
// Every assumption a file may make.
const std::vector<AssumptionRow>& KnownAssumptions();
// BadInput where two of the names say the same thing: layer_overhead_us is norms, RoPE and activation together, so one of them beside it would
// count twice.
Status CheckAssumedTogether(std::span<const std::string> names);

struct UseCase {
  std::string name;  // `name = ` at the top, else the file's stem
  std::string description;
  std::string path;
  std::string text;  // the file itself, to store with the results
  ModelSpec model;
  Workload workload;
  Platform platform;
  Engine engine;
  Objective objective;
  Effort effort;
  Task task;
  std::vector<Candidate> candidates;  // in the order of the file
  std::vector<Assumption> assume;

  [[nodiscard]] const Candidate& baseline() const;
  [[nodiscard]] const Candidate* Find(std::string_view candidate_id) const;
  // nullptr: the user assumes nothing; the part that needs it states its own range.
  [[nodiscard]] const Interval* Assumed(std::string_view assumption) const;
};

// Paths in the file are relative to the file's folder. All mistakes are reported together, each with its line.
Result<UseCase> ParseUseCase(std::string_view text, const std::string& path);
Result<UseCase> ReadUseCase(const std::string& path);

}  // namespace assay::formats
