#include "formats/usecase_sections.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "formats/text.h"

namespace assay::formats {
namespace {

constexpr TomlBounds kTokens{.low = 1, .high = 1e8, .unit = "tokens"};
constexpr TomlBounds kMilliseconds{.low = 1e-3, .high = 1e9, .unit = "milliseconds"};
constexpr TomlBounds kUsd{.low = 0, .high = 1e12, .unit = "US dollars"};
constexpr TomlBounds kDays{.low = 0, .high = 1e5, .unit = "working days"};
constexpr TomlBounds kShare{.low = 0, .high = 1, .unit = "a share"};

template <class T>
void Assign(std::optional<T> value, T* target) {
  if (value) *target = std::move(*value);
}

// One log-normal: {median, sigma} | {median, p95} | {mean, median}.
LogNormalPart ReadPart(TomlReader* r) {
  LogNormalPart part;
  r->Require("median", "median = 900 (tokens)");
  Assign(r->Number("median", kTokens), &part.median_tokens);
  const auto sigma = r->Number("sigma", {.low = 0, .high = 10, .unit = "standard deviation of ln(tokens)"});
  const auto p95 = r->Number("p95", kTokens);
  const auto mean = r->Number("mean", kTokens);
  const int given = int{sigma.has_value()} + int{p95.has_value()} + int{mean.has_value()};
  if (given != 1) r->Fail("median", "needs exactly one of sigma, p95 and mean beside it");
  if (sigma) part.sigma = *sigma;
  if (p95) {
    if (*p95 < part.median_tokens)
      r->Fail("p95", fmt::format("is {}; it cannot be below the median {}", *p95, part.median_tokens));
    else
      part.sigma = std::log(*p95 / part.median_tokens) / 1.6448536269514722;  // the normal 95th percentile
  }
  if (mean) {
    if (*mean < part.median_tokens)
      r->Fail("mean", fmt::format("is {}; a log-normal's mean is at least its median {}", *mean, part.median_tokens));
    else
      part.sigma = std::sqrt(2 * std::log(*mean / part.median_tokens));
  }
  return part;
}

// prompt_tokens = 4096, or a table of one log-normal, or of a `mixture` of them; `min` and `max` cut it.
LengthDistribution ReadLengths(TomlReader* section, std::string_view key) {
  const TomlNode* node = section->Take(key);
  if (node == nullptr) return {};
  if (node->kind != TomlNode::Kind::kTable) {
    const auto constant = section->Integer(key, kTokens);
    return constant ? LengthDistribution::Constant(*constant) : LengthDistribution{};
  }
  auto r = section->Table(key);
  LengthDistribution d;
  Assign(r->Integer("min", kTokens), &d.min_tokens);
  Assign(r->Integer("max", kTokens), &d.max_tokens);
  if (d.min_tokens > d.max_tokens) r->Fail("min", fmt::format("is {}, above max {}", d.min_tokens, d.max_tokens));
  if (r->Has("mixture")) {
    auto parts = r->Tables("mixture");
    if (parts.empty() || parts.size() > 16)
      r->Fail("mixture", "needs 1 to 16 parts, as in [{ weight = 1.0, median = 900, sigma = 0.8 }]");
    double sum = 0;
    for (TomlReader& part : parts) {
      part.Require("weight", "weight = 0.5");
      const auto weight = part.Number("weight", {.low = 0, .high = 1, .unit = "a share"});
      d.parts.push_back(ReadPart(&part));
      d.parts.back().weight = weight.value_or(0);
      sum += d.parts.back().weight;
      part.Close();
    }
    // Printed weights are rounded; what they miss of 1 is spread over all.
    if (std::fabs(sum - 1) > 0.01)
      r->Fail("mixture", fmt::format("has weights that sum to {:.4f}; they must sum to 1", sum));
    else
      for (LogNormalPart& part : d.parts) part.weight /= sum;
  } else {
    d.parts.push_back(ReadPart(&*r));
  }
  r->Close();
  return d;
}

std::optional<SharedPrefix> ReadSharedPrefix(TomlReader* section) {
  auto r = section->Table("shared_prefix");
  if (!r) return std::nullopt;
  SharedPrefix prefix;
  r->Require("tokens", "tokens = 500");
  Assign(r->Integer("tokens", kTokens), &prefix.tokens);
  Assign(r->Number("share", kShare), &prefix.share);
  Assign(r->Integer("variants", {.low = 1, .high = 1e6, .unit = "a count"}), &prefix.variants);
  r->Close();
  return prefix;
}

// Which keys each kind of arrival needs.
void CheckWorkload(const Workload& w, TomlReader* r) {
  if (w.arrivals == Arrivals::kTrace && !w.trace_path)
    r->Fail("arrivals", "is 'trace', but trace_path is missing; add trace_path = \"file.csv\"");
  if (!w.trace_path) {
    if (w.prompt_tokens.empty()) r->Require("prompt_tokens", "prompt_tokens = { median = 900, p95 = 4000 }");
    if (w.output_tokens.empty()) r->Require("output_tokens", "output_tokens = { median = 130, p95 = 450 }");
    if (w.arrivals == Arrivals::kBatch) r->Require("requests", "requests = 1000 (how many documents)");
  }
  if (w.arrivals == Arrivals::kPoisson) r->Require("requests_per_second", "requests_per_second = 5.0");
  if (w.shared_prefix && !w.prompt_tokens.empty() && w.shared_prefix->tokens > w.prompt_tokens.max_tokens) {
    r->Fail("shared_prefix", fmt::format("has {} tokens, more than the longest prompt ({})", w.shared_prefix->tokens,
                                         w.prompt_tokens.max_tokens));
  }
}

EnginePolicy ReadPolicy(TomlReader* section) {
  EnginePolicy policy;
  auto r = section->Table("policy");
  if (!r) return policy;
  policy.max_batched_tokens = r->Integer("max_batched_tokens", {.low = 1, .high = 1e7, .unit = "tokens a step"});
  policy.max_sequences = r->Integer("max_sequences", {.low = 1, .high = 1e6, .unit = "sequences"});
  policy.chunked_prefill = r->Bool("chunked_prefill");
  policy.prefix_cache = r->Bool("prefix_cache");
  policy.cuda_graphs = r->Bool("cuda_graphs");
  policy.block_tokens = r->Integer("block_tokens", {.low = 1, .high = 65536, .unit = "tokens"});
  if (auto s = r->Table("speculation")) {
    Speculation speculation;
    s->Require("draft_tokens", "draft_tokens = 3");
    Assign(s->Integer("draft_tokens", {.low = 1, .high = 64, .unit = "tokens"}), &speculation.draft_tokens);
    speculation.accepted_share = s->Range("accepted_share", kShare);
    speculation.draft_cost_share =
        s->Range("draft_cost_share", {.low = 0, .high = 10, .unit = "of a step of the target"});
    s->Close();
    policy.speculation = speculation;
  }
  r->Close();
  return policy;
}

}  // namespace

std::string ResolvePath(const std::string& usecase_path, const std::string& path) {
  const std::filesystem::path given(path);
  if (given.is_absolute()) return path;
  return (std::filesystem::path(usecase_path).parent_path() / given).lexically_normal().string();
}

Result<ModelSpec> ReadModelSection(TomlReader* root, const std::string& usecase_path, TomlErrors* errors) {
  auto r = root->Table("model");
  if (!r)
    return BadInput(fmt::format("{}: [model] is missing; add, for example, [model] with preset = \"llama-3.1-8b\"",
                                At(usecase_path, 1)));
  const auto preset = r->String("preset");
  const auto path = r->String("path");
  auto shape = r->Table("shape");
  const auto weight_dtype = r->String("weight_dtype");
  const int given = int{preset.has_value()} + int{path.has_value()} + int{shape.has_value()};
  r->Close();
  if (given != 1) {
    return BadInput(
        fmt::format("{}: model needs exactly one of preset, path (a config.json or GGUF file) and [model.shape]",
                    At(usecase_path, r->line())));
  }
  Result<ModelSpec> spec = ModelSpec{};
  if (shape) {
    spec = ModelSpecFromToml(&*shape);
    shape->Close();
    if (!errors->empty()) return errors->ToStatus().error();
  } else {
    spec = preset ? ModelPreset(*preset) : ReadModelSpec(ResolvePath(usecase_path, *path));
    if (!spec.ok()) return std::move(spec).TakeError().In(fmt::format("{}: model", At(usecase_path, r->line())));
  }
  if (weight_dtype) {
    const auto dtype = DTypeFromName(*weight_dtype);
    if (!dtype) {
      return BadInput(fmt::format("{}: model.weight_dtype is '{}'; it must be a dtype such as bf16, e4m3 or i8",
                                  At(usecase_path, r->line()), Printable(*weight_dtype)));
    }
    spec->weight_bits = BitsOf(*dtype);
    spec->quantised_dtype = spec->weight_bits < 16 ? dtype : std::nullopt;
    if (spec->weight_bits >= 16) spec->weight_dtype = *dtype;
    if (spec->moe) spec->moe->expert_weight_bits = 0;
  }
  return spec;
}

Workload ReadWorkload(TomlReader* root, const std::string& usecase_path) {
  Workload w;
  root->Require("workload",
                "[workload] with a trace_path, or with prompt_tokens, output_tokens and requests_per_second");
  auto r = root->Table("workload");
  if (!r) return w;
  if (const auto path = r->String("trace_path")) {
    w.trace_path = ResolvePath(usecase_path, *path);
    w.arrivals = Arrivals::kTrace;
  }
  constexpr std::string_view kNames[] = {"trace", "poisson", "batch"};
  if (const auto choice = r->Choice("arrivals", kNames)) w.arrivals = static_cast<Arrivals>(*choice);
  w.prompt_tokens = ReadLengths(&*r, "prompt_tokens");
  w.output_tokens = ReadLengths(&*r, "output_tokens");
  w.requests_per_second = r->Number("requests_per_second", {.low = 1e-6, .high = 1e6, .unit = "requests a second"});
  w.requests = r->Integer("requests", {.low = 1, .high = kMostSimulatedRequests, .unit = "requests, all simulated; thousands settle a percentile"});
  w.shared_prefix = ReadSharedPrefix(&*r);
  Assign(r->Number("rate_scale", {.low = 1e-3, .high = 1e3, .unit = "a factor"}), &w.rate_scale);
  Assign(r->String("source"), &w.source);
  CheckWorkload(w, &*r);
  r->Close();
  return w;
}

Platform ReadPlatform(TomlReader* root, const std::string& usecase_path) {
  Platform p;
  root->Require("platform", "[platform] with gpu = \"h100_sxm\", or cpu = \"this\"");
  auto r = root->Table("platform");
  if (!r) return p;
  p.gpu = r->String("gpu");
  const auto cpu = r->String("cpu");
  if (p.gpu.has_value() == cpu.has_value())
    r->Fail("gpu", "or cpu: give exactly one of gpu = \"h100_sxm\" and cpu = \"this\"");
  if (cpu && *cpu != "this")
    r->Fail("cpu", fmt::format("is '{}'; only cpu = \"this\" can be measured", Printable(*cpu)));
  p.is_this_cpu = cpu.has_value();
  if (const auto path = r->String("profile_path")) p.profile_path = ResolvePath(usecase_path, *path);
  if (auto parallel = r->Table("parallel")) {
    constexpr TomlBounds kDegree{.low = 1, .high = 1024, .unit = "devices"};
    Assign(parallel->Integer("tensor", kDegree), &p.parallel.tensor);
    Assign(parallel->Integer("pipeline", kDegree), &p.parallel.pipeline);
    Assign(parallel->Integer("context", kDegree), &p.parallel.context);
    Assign(parallel->Integer("data", kDegree), &p.parallel.data);
    if (p.is_this_cpu && p.parallel.devices() != 1) parallel->Fail("tensor", "and its neighbours must be 1 on a CPU");
    parallel->Close();
  }
  p.usd_per_device_hour = r->Number("usd_per_device_hour", {.low = 0, .high = 1e6, .unit = "US dollars an hour"});
  Assign(r->Number("memory_fraction", {.low = 0.05, .high = 1, .unit = "a share"}), &p.memory_fraction);
  Assign(r->Number("spare_share", {.low = 0, .high = 0.95, .unit = "a share"}), &p.spare_share);
  p.memory_gib = r->Number("memory_gib", {.low = 0.01, .high = 1e6, .unit = "GiB a device"});
  r->Close();
  return p;
}

Engine ReadEngine(TomlReader* root) {
  Engine engine;
  root->Require("engine", "[engine] with name = \"vllm\" and version = \"0.24.0\"");
  auto r = root->Table("engine");
  if (!r) return engine;
  r->Require("name", "name = \"vllm\"");
  r->Require("version", "version = \"0.24.0\": the same mechanism differs by a factor between versions");
  Assign(r->String("name"), &engine.name);
  Assign(r->String("version"), &engine.version);
  engine.policy = ReadPolicy(&*r);
  r->Close();
  return engine;
}

Objective ReadObjective(TomlReader* root) {
  Objective o;
  root->Require("objective", "[objective] with ttft_ms_p95 = 1000");
  auto r = root->Table("objective");
  if (!r) return o;
  o.ttft_ms_p95 = r->Number("ttft_ms_p95", kMilliseconds);
  o.tpot_ms_p95 = r->Number("tpot_ms_p95", kMilliseconds);
  o.e2e_ms_p95 = r->Number("e2e_ms_p95", kMilliseconds);
  o.budget_usd_per_month = r->Number("budget_usd_per_month", kUsd);
  o.deadline_hours = r->Number("deadline_hours", {.low = 1e-6, .high = 1e5, .unit = "hours"});
  o.usd_per_document = r->Number("usd_per_document", kUsd);
  o.quality_loss_max_points =
      r->Number("quality_loss_max_points", {.low = 0, .high = 100, .unit = "points of the task's score"});
  if (r->table().items.empty())
    r->Fail("ttft_ms_p95", "or another objective is missing: without one there is nothing to decide");
  r->Close();
  return o;
}

Effort ReadEffort(TomlReader* root) {
  Effort e;
  auto r = root->Table("effort");
  if (!r) return e;
  e.engineer_usd_per_day = r->Number("engineer_usd_per_day", kUsd);
  e.horizon_months = r->Number("horizon_months", {.low = 0.1, .high = 600, .unit = "months"});
  e.drop_in_days = r->Range("drop_in_days", kDays);
  e.convert_days = r->Range("convert_days", kDays);
  e.pretrain_days = r->Range("pretrain_days", kDays);
  e.convert_usd = r->Range("convert_usd", kUsd);
  e.pretrain_usd = r->Range("pretrain_usd", kUsd);
  r->Close();
  return e;
}

Task ReadTask(TomlReader* root, const std::string& usecase_path) {
  Task task;
  auto r = root->Table("task");
  if (!r) return task;
  Assign(r->String("description"), &task.description);
  if (const auto path = r->String("text_path")) task.text_path = ResolvePath(usecase_path, *path);
  if (const auto path = r->String("questions_path")) task.questions_path = ResolvePath(usecase_path, *path);
  task.grader = r->String("grader");
  task.recall_keys = r->Integer("recall_keys", {.low = 0, .high = 1e9, .unit = "facts a context"});
  task.recall_distance_tokens = r->Integer("recall_distance_tokens", kTokens);
  task.state_tracking = r->Bool("state_tracking");
  r->Close();
  return task;
}

}  // namespace assay::formats
