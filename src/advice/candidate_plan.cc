#include "advice/candidate_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "mechanisms/bind.h"
#include "platform/model_steps.h"

namespace assay {
namespace {

LayerShape ShapeOf(const formats::ModelSpec& model) {
  return {.model_dim = model.model_dim, .query_heads = model.query_heads, .kv_heads = model.kv_heads, .head_dim = model.head_dim};
}

Result<CandidatePlan> PlanOne(const formats::UseCase& usecase, const formats::Candidate& candidate, std::string letter) {
  CandidatePlan plan;
  plan.letter = std::move(letter);
  plan.candidate = &candidate;
  for (const formats::LayerCount& count : formats::CountLayers(candidate.layers)) {
    LayerGroup group;
    ASSAY_TRY(group.mechanism, FindMechanism(count.mechanism.id));
    ASSAY_TRY(group.parameters, Bind(*group.mechanism, count.mechanism));
    group.shape = ShapeOf(usecase.model);
    group.layers = count.layers;
    if (candidate.read && group.mechanism->traits.state == StateKind::kGrowing) {
      ASSAY_TRY(group.read_mechanism, FindMechanism(candidate.read->id));
      ASSAY_TRY(group.read_parameters, Bind(*group.read_mechanism, *candidate.read));
      ASSAY_TRY(group.shape, platform::ReadShape(*group.mechanism, group.parameters, group.shape, *candidate.read));
    }
    plan.groups.push_back(std::move(group));
  }
  return plan;
}

// Nothing that is computed here can tell the two apart.
bool SameDesign(const CandidatePlan& a, const CandidatePlan& b) {
  return a.StackText() == b.StackText() && a.candidate->kv == b.candidate->kv &&
         a.candidate->implementation.engine == b.candidate->implementation.engine && a.candidate->implementation.version == b.candidate->implementation.version;
}

std::optional<int64_t> SmallestFrom(int64_t limit, const std::function<bool(int64_t)>& cheaper) {
  if (!cheaper(limit)) return std::nullopt;
  int64_t low = 0, high = limit;  // cheaper(high) holds; not known at or below low
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (cheaper(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace

CostQuery CandidatePlan::QueryFor(const LayerGroup& group, int64_t new_tokens, int64_t context_tokens) const {
  const bool reads = group.read_mechanism != nullptr;
  CostQuery query = platform::CacheQuery(reads ? *group.read_mechanism : *group.mechanism, group.shape, reads ? group.read_parameters : group.parameters,
                                         candidate->kv);
  query.new_tokens = new_tokens;
  query.context_tokens = context_tokens;
  return query;
}

LayerCost CandidatePlan::TotalCost(int64_t new_tokens, int64_t context_tokens) const {
  LayerCost total;
  for (const LayerGroup& group : groups) {
    const Mechanism& mechanism = group.read_mechanism != nullptr ? *group.read_mechanism : *group.mechanism;
    const LayerCost one = mechanism.cost(QueryFor(group, new_tokens, context_tokens));
    const auto layers = static_cast<double>(group.layers);
    total.flops += layers * one.flops;
    total.transcendentals += layers * one.transcendentals;
    total.bytes_read += layers * one.bytes_read;
    total.bytes_written += layers * one.bytes_written;
  }
  return total;
}

LayerCost CandidatePlan::DecodeCost(int64_t context_tokens) const { return TotalCost(1, context_tokens); }
LayerCost CandidatePlan::PrefillCost(int64_t prompt_tokens) const { return TotalCost(prompt_tokens, 0); }

double CandidatePlan::ResidentBytesAt(double tokens) const {
  double bytes = 0;
  for (const LayerGroup& group : groups) {
    const Mechanism& mechanism = group.read_mechanism != nullptr ? *group.read_mechanism : *group.mechanism;
    const CostQuery query = QueryFor(group, 1, 0);
    bytes += static_cast<double>(group.layers) * mechanism.resident(group.shape, query.parameters, query).At(tokens);
  }
  return bytes;
}

double CandidatePlan::StateBytes() const { return ResidentBytesAt(0); }

std::string CandidatePlan::StackText() const {
  std::string text;
  for (const formats::LayerCount& count : formats::CountLayers(candidate->layers)) {
    if (!text.empty()) text += " + ";
    text += fmt::format("{} x {}", count.layers, count.mechanism.ToString());
  }
  if (candidate->read) text += ", reads by " + candidate->read->ToString();
  return text;
}

std::string CandidatePlan::KvText() const {
  std::string text(NameOf(candidate->kv.dtype));
  if (candidate->kv.scale != formats::ScaleGranularity::kNone) text += fmt::format(", scale per {}", formats::NameOf(candidate->kv.scale));
  return text;
}

Result<std::vector<CandidatePlan>> PlanCandidates(const formats::UseCase& usecase) {
  std::vector<const formats::Candidate*> ordered = {&usecase.baseline()};
  for (const formats::Candidate& candidate : usecase.candidates) {
    if (!candidate.is_baseline) ordered.push_back(&candidate);
  }
  if (ordered.size() > 26) return BadInput(fmt::format("{}: at most 26 candidates, {} given", usecase.path, ordered.size()));
  std::vector<CandidatePlan> plans;
  for (const formats::Candidate* candidate : ordered) {
    auto plan = PlanOne(usecase, *candidate, std::string(1, static_cast<char>('A' + plans.size())));
    if (!plan.ok()) return std::move(plan).TakeError().In(fmt::format("{}:{}: candidate '{}'", usecase.path, candidate->line, candidate->id));
    plans.push_back(std::move(plan).value());
    CandidatePlan& added = plans.back();
    const auto same = std::find_if(plans.begin(), plans.end() - 1, [&](const CandidatePlan& earlier) { return SameDesign(earlier, added); });
    if (same != plans.end() - 1) added.same_as = same->letter;
  }
  return plans;
}

std::vector<const FeatureRisk*> RisksOf(const CandidatePlan& plan, const formats::UseCase& usecase) {
  const auto concerns = [&](const FeatureRisk& risk) {
    if (risk.feature == "kv_quantisation") return BitsOf(plan.candidate->kv.dtype) < 16;
    if (risk.feature == "prefix_cache") return usecase.engine.policy.prefix_cache.value_or(true);  // engines have it on unless told otherwise
    if (risk.feature == "speculation") return usecase.engine.policy.speculation.has_value();
    return true;
  };
  std::vector<const FeatureRisk*> risks;
  for (const LayerGroup& group : plan.groups) {
    for (const Mechanism* mechanism : {group.mechanism, group.read_mechanism}) {
      if (mechanism == nullptr) continue;
      for (const FeatureRisk& risk : mechanism->risks) {
        if (concerns(risk) && std::find(risks.begin(), risks.end(), &risk) == risks.end()) risks.push_back(&risk);
      }
    }
  }
  return risks;
}

AuditCandidate Describe(const CandidatePlan& plan, const formats::UseCase& usecase) {
  AuditCandidate out;
  out.letter = plan.letter;
  out.id = plan.candidate->id;
  out.stack = plan.StackText();
  out.kv = plan.KvText();
  out.implementation = fmt::format("{} {} on {}", plan.candidate->implementation.engine, plan.candidate->implementation.version,
                                   usecase.platform.is_this_cpu ? "this CPU" : usecase.platform.gpu.value_or("?"));
  out.availability = NameOf(plan.candidate->availability);
  const auto add = [&](const Mechanism& mechanism, const ParameterSet& parameters) {
    for (const Parameter& parameter : mechanism.parameters) {
      if (parameter.reported != Parameter::Reported::kSeldom) continue;
      out.unreported.push_back(fmt::format("{}.{}={:g}", mechanism.id, parameter.name, parameters[parameter.name]));
    }
  };
  for (const FeatureRisk* risk : RisksOf(plan, usecase)) {
    out.risks.push_back({std::string(risk->feature), std::string(risk->what), std::string(risk->date), std::string(risk->url)});
  }
  for (const LayerGroup& group : plan.groups) {
    add(*group.mechanism, group.parameters);
    if (group.read_mechanism != nullptr) add(*group.read_mechanism, group.read_parameters);
  }
  return out;
}

std::optional<int64_t> BreakEvenMemoryTokens(const CandidatePlan& candidate, const CandidatePlan& baseline, int64_t limit_tokens) {
  return SmallestFrom(limit_tokens, [&](int64_t tokens) {
    return candidate.ResidentBytesAt(static_cast<double>(tokens)) < baseline.ResidentBytesAt(static_cast<double>(tokens));
  });
}

std::optional<int64_t> BreakEvenTrafficTokens(const CandidatePlan& candidate, const CandidatePlan& baseline, int64_t limit_tokens) {
  const auto traffic = [](const CandidatePlan& plan, int64_t tokens) {
    const LayerCost cost = plan.DecodeCost(tokens);
    return cost.bytes_read + cost.bytes_written;
  };
  return SmallestFrom(limit_tokens, [&](int64_t tokens) { return traffic(candidate, tokens) < traffic(baseline, tokens); });
}

}  // namespace assay
