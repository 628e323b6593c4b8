#include "formats/usecase.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "formats/text.h"
#include "formats/usecase_sections.h"

namespace assay::formats {
namespace {

constexpr size_t kLargestFileBytes = 1 * kMegabyte;
constexpr std::string_view kAvailabilities[] = {"drop_in", "convert", "pretrain"};
constexpr std::string_view kGranularities[] = {"none", "tensor", "head", "token", "token_head", "page", "block"};

KvFormat ReadKvFormat(TomlReader* r) {
  KvFormat kv;
  if (const auto name = r->String("kv_dtype")) {
    if (const auto dtype = DTypeFromName(*name))
      kv.dtype = *dtype;
    else
      r->Fail("kv_dtype",
              fmt::format("is '{}'; it must be a dtype such as bf16, f16, e4m3 (fp8), i8 or i4", Printable(*name)));
  }
  const bool has_scales = BitsOf(kv.dtype) <= 8;
  if (const auto choice = r->Choice("kv_scale", kGranularities))
    kv.scale = static_cast<ScaleGranularity>(*choice);
  else if (has_scales)
    r->Require("kv_scale",
               "kv_scale = \"tensor\" (or head, token, token_head, page, block): quality and bytes depend on it");
  kv.scale_block_elements = r->Integer("kv_scale_block_elements", {.low = 1, .high = 65536, .unit = "elements"});
  if ((kv.scale == ScaleGranularity::kBlock) != kv.scale_block_elements.has_value()) {
    r->Fail("kv_scale_block_elements", "goes with kv_scale = \"block\", and only with it");
  }
  if (const auto name = r->String("kv_scale_dtype")) {
    kv.scale_dtype = DTypeFromName(*name);
    if (!kv.scale_dtype || !IsFloat(*kv.scale_dtype))
      r->Fail("kv_scale_dtype", fmt::format("is '{}'; it must be f32, f16, bf16 or e4m3", Printable(*name)));
  }
  return kv;
}

void ReadStack(TomlReader* r, int64_t layers, Candidate* c) {
  r->Require("stack", "stack = \"gqa\" or stack = \"5*sliding_window(1024)+1*gqa\"");
  const auto text = r->String("stack");
  const auto last = r->String("last");
  if (!text) return;
  auto stack = ParseStack(*text);
  if (!stack.ok()) return r->Fail("stack", stack.error().message);
  c->stack = std::move(*stack);
  if (last) {
    auto call = ParseMechanismCall(*last);
    if (!call.ok()) return r->Fail("last", call.error().message);
    c->stack.last = std::move(*call);
  }
  if (layers < 1) return;  // the model itself is at fault, which is told already
  auto expanded = ExpandStack(c->stack, layers);
  if (!expanded.ok()) return r->Fail("stack", expanded.error().message);
  c->layers = std::move(*expanded);
}

Candidate ReadCandidate(TomlReader* r, const UseCase& u) {
  Candidate c;
  c.line = r->line();
  r->Require("id", "id = \"fp8_cache\"");
  c.id = r->String("id").value_or("");
  const bool id_is_fit = !c.id.empty() && c.id.size() <= 64 && std::all_of(c.id.begin(), c.id.end(), [](char ch) {
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' || ch == '-' ||
           ch == '.';
  });
  if (r->Has("id") && !id_is_fit)
    r->Fail("id", "must be 1 to 64 letters, digits, '_', '-' or '.': files and cells are named after it");
  c.is_baseline = r->Bool("baseline").value_or(false);
  ReadStack(r, u.model.layers, &c);
  c.kv = ReadKvFormat(r);
  if (const auto text = r->String("read")) {
    auto call = ParseMechanismCall(*text);
    if (call.ok())
      c.read = std::move(*call);
    else
      r->Fail("read", call.error().message);
  }
  r->Require(
      "availability",
      "availability = \"drop_in\" (a flag), \"convert\" (conversion and healing) or \"pretrain\" (another checkpoint)");
  if (const auto choice = r->Choice("availability", kAvailabilities))
    c.availability = static_cast<Availability>(*choice);
  c.implementation = {u.engine.name, u.engine.version};
  if (auto implementation = r->Table("implementation")) {
    implementation->Require("engine", "engine = \"trtllm\"");
    implementation->Require("version", "version = \"1.3.0rc20\"");
    c.implementation.engine = implementation->String("engine").value_or("");
    c.implementation.version = implementation->String("version").value_or("");
    implementation->Close();
  }
  c.implementation_is_own = c.implementation != Implementation{u.engine.name, u.engine.version};
  c.switch_days = r->Range("switch_days", {.low = 0, .high = 1e5, .unit = "working days"});
  c.quality_loss_points = r->Range("quality_loss_points", {.low = -1e6, .high = 1e6, .unit = "points of the task's score"});
  c.quality_source = r->String("quality_source");
  if (c.quality_loss_points && !c.quality_source) {
    r->Fail("quality_source", "is needed beside quality_loss_points: how it was measured, or the number has no origin");
  }
  c.note = r->String("note");
  r->Close();
  return c;
}

void ReadCandidates(TomlReader* root, UseCase* u) {
  root->Require("candidates", "[[candidates]] with id, stack and availability");
  auto tables = root->Tables("candidates");
  if (tables.size() > 64) return root->Fail("candidates", "are more than 64; audit them in several files");
  std::set<std::string> ids;
  int baselines = 0;
  for (TomlReader& table : tables) {
    u->candidates.push_back(ReadCandidate(&table, *u));
    const Candidate& c = u->candidates.back();
    baselines += c.is_baseline ? 1 : 0;
    if (!c.id.empty() && !ids.insert(c.id).second)
      table.Fail("id", fmt::format("'{}' is taken by another candidate; choose another", Printable(c.id)));
  }
  if (baselines != 1 && root->Has("candidates")) {
    root->Fail("candidates", fmt::format("have {} with baseline = true; exactly one is what runs today", baselines));
  }
}

void ReadAssumptions(TomlReader* root, UseCase* u) {
  auto r = root->Table("assume");
  if (!r) return;
  for (const AssumptionRow& row : KnownAssumptions()) {
    const TomlNode* node = r->table().Find(row.name);
    if (const auto range = r->Range(row.name, {.low = row.low, .high = row.high, .unit = row.meaning})) {
      u->assume.push_back({std::string(row.name), *range, node->line});
    }
  }
  std::sort(u->assume.begin(), u->assume.end(),
            [](const Assumption& a, const Assumption& b) { return a.line < b.line; });
  std::vector<std::string> names;
  for (const Assumption& assumption : u->assume) names.push_back(assumption.name);
  if (const Status together = CheckAssumedTogether(names); !together.ok()) r->Fail("layer_overhead_us", together.error().message);
  r->Close();
}

// What one section alone cannot see.
void CheckTogether(const UseCase& u, TomlReader* root, TomlErrors* errors) {
  const Workload& w = u.workload;
  if (w.arrivals == Arrivals::kBatch && (u.objective.ttft_ms_p95 || u.objective.tpot_ms_p95)) {
    root->Fail("objective", "asks for latency percentiles of a batch; use deadline_hours or usd_per_document");
  }
  if (w.arrivals != Arrivals::kBatch && u.objective.deadline_hours)
    root->Fail("objective", "has deadline_hours, which needs workload.arrivals = \"batch\"");
  const bool needs_price = u.objective.budget_usd_per_month || u.objective.usd_per_document;
  if (needs_price && !u.platform.usd_per_device_hour)
    root->Fail("objective", "limits money; add platform.usd_per_device_hour");
  if (u.model.layers < 1) return;
  const Parallelism& p = u.platform.parallel;
  if (u.model.query_heads % p.tensor != 0) {
    root->Fail("platform", fmt::format("has parallel.tensor = {}, which does not divide the model's {} query heads",
                                       p.tensor, u.model.query_heads));
  }
  if (p.pipeline > u.model.layers)
    root->Fail("platform",
               fmt::format("has parallel.pipeline = {}, more than the model's {} layers", p.pipeline, u.model.layers));
  for (const Candidate& c : u.candidates) {
    if (c.is_baseline && c.implementation_is_own)
      errors->Add(c.line, "the baseline runs on [engine]; leave out its implementation, or change [engine]");
    if (c.is_baseline && c.availability != Availability::kDropIn)
      errors->Add(c.line, "the baseline is what runs today: availability = \"drop_in\"");
  }
}

}  // namespace

std::string_view NameOf(ScaleGranularity granularity) {
  return kGranularities[static_cast<size_t>(granularity)];
}

const std::vector<AssumptionRow>& KnownAssumptions() {
  static const std::vector<AssumptionRow> kRows = {
      {"host_us_per_step", "host time that the device waits for, a step", 0, 1e6},
      {"host_us_per_request", "host time of admitting a request", 0, 1e8},
      {"layer_overhead_us", "norms, RoPE, activation and launches together, a layer and step", 0, 1e5},
      {"norms_us_per_layer", "normalisation, a layer and step", 0, 1e5},
      {"rope_us_per_layer", "rotary embedding, a layer and step", 0, 1e5},
      {"activation_us_per_layer", "activation of the feed-forward part, a layer and step", 0, 1e5},
      {"sampling_us_per_step", "logits to tokens, a step", 0, 1e6},
      {"sampling_us_per_sequence", "logits to tokens, a sequence and step", 0, 1e5},
      {"prefix_hit_share", "prompt tokens found in the prefix cache", 0, 1},
      {"prompt_length_factor", "prompts become this many times as long", 0.01, 100},
      {"output_length_factor", "answers become this many times as long", 0.01, 100},
      {"rate_factor", "requests come this many times as often", 0.001, 1000},
      {"price_factor", "a device costs this many times as much", 0.01, 100},
      {"speculation_accepted_share", "drafted tokens that are kept", 0, 1},
      {"fp8_quantise_share", "of the launch of a kernel that quantises activations before an fp8 matrix product, what a service pays", 0, 1},
      {"memory_overhead_gib", "device memory that neither weights nor cache use", 0, 1000},
      {"cache_fragmentation_share", "cache memory lost between blocks", 0, 0.9},
      {"kernel_time_factor", "the user's kernels take this many times the table's time", 0.1, 10},
      {"communication_factor", "collectives take this many times the table's time", 0.1, 100},
  };
  return kRows;
}

Status CheckAssumedTogether(std::span<const std::string> names) {
  const auto has = [&](std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (!has("layer_overhead_us")) return Ok();
  for (const char* part : {"norms_us_per_layer", "rope_us_per_layer", "activation_us_per_layer"}) {
    if (has(part)) return BadInput(fmt::format("is norms, RoPE and activation together, and {} is a part of it: give the whole or its parts", part));
  }
  return Ok();
}

const Candidate& UseCase::baseline() const {
  const auto found =
      std::find_if(candidates.begin(), candidates.end(), [](const Candidate& c) { return c.is_baseline; });
  ASSAY_CHECK(found != candidates.end(), "a parsed use case has a baseline");
  return *found;
}

const Candidate* UseCase::Find(std::string_view candidate_id) const {
  const auto found =
      std::find_if(candidates.begin(), candidates.end(), [&](const Candidate& c) { return c.id == candidate_id; });
  return found == candidates.end() ? nullptr : &*found;
}

const Interval* UseCase::Assumed(std::string_view assumption) const {
  const auto found =
      std::find_if(assume.begin(), assume.end(), [&](const Assumption& a) { return a.name == assumption; });
  return found == assume.end() ? nullptr : &found->range;
}

Result<UseCase> ParseUseCase(std::string_view text, const std::string& path) {
  if (text.size() > kLargestFileBytes)
    return BadInput(fmt::format("{}: larger than 1 MB; is it the right file?", path));
  ASSAY_TRY(const TomlNode tree, ParseToml(text, path));
  UseCase u;
  u.path = path;
  u.text = text;
  TomlErrors errors(path);
  TomlReader root(tree, "", &errors);
  u.name = root.String("name").value_or(std::filesystem::path(path).stem().string());
  u.description = root.String("description").value_or("");
  auto model = ReadModelSection(&root, path, &errors);
  u.workload = ReadWorkload(&root, path);
  u.platform = ReadPlatform(&root, path);
  u.engine = ReadEngine(&root);
  u.objective = ReadObjective(&root);
  u.effort = ReadEffort(&root);
  u.task = ReadTask(&root, path);
  if (model.ok()) u.model = std::move(*model);
  ReadCandidates(&root, &u);
  ReadAssumptions(&root, &u);
  if (errors.empty() && model.ok()) CheckTogether(u, &root, &errors);
  root.Close();
  const Status status = errors.ToStatus();
  if (!model.ok()) {
    // The model's own message first; a [model.shape] has put its mistakes among the others already.
    if (status.ok() || status.error().message.find(model.error().message) != std::string::npos)
      return status.ok() ? model.error() : status.error();
    return Error{model.error().kind, model.error().message + "\n" + status.error().message};
  }
  if (!status.ok()) return status.error();
  return u;
}

Result<UseCase> ReadUseCase(const std::string& path) {
  ASSAY_TRY(const std::string text, ReadFile(path, kLargestFileBytes));
  return ParseUseCase(text, path);
}

}  // namespace assay::formats
