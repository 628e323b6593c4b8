#include "claims/verdict.h"

#include <algorithm>
#include <array>

#include "claims/evaluate.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace assay {
namespace {

constexpr std::array<std::string_view, kVerdictCount> kVerdictNames = {
    "supported", "conditional", "refuted", "misprint", "outside_your_domain", "cannot_tell", "not_testable_here"};

// The claim fares as its worst part: one refuted figure of seven is what a reader must hear first.
int Severity(VerdictValue value) {
  switch (value) {
    case VerdictValue::kRefuted: return 6;
    case VerdictValue::kMisprint: return 5;
    case VerdictValue::kCannotTell: return 4;
    case VerdictValue::kConditional: return 3;
    case VerdictValue::kNotTestableHere: return 2;
    case VerdictValue::kOutsideYourDomain: return 1;
    case VerdictValue::kSupported: return 0;
  }
  return 7;
}

Verdict NotTestable(const Claim& claim, std::string reason) {
  Verdict verdict;
  verdict.value = VerdictValue::kNotTestableHere;
  verdict.basis = Basis::kRefused;
  verdict.reason = std::move(reason);
  verdict.decides_command = claim.decided_by_command;
  verdict.decides_hardware = claim.decided_by_hardware;
  return verdict;
}

Verdict FromDecision(const Claim& claim, const ClaimCheck& check, Decision decision) {
  const Basis basis = check.kind == ClaimCheck::Kind::kDifference ? Basis::kCited : Basis::kArithmetic;
  if (claim.about == ClaimSubject::kSpeed && check.kind == ClaimCheck::Kind::kFormula) {
    Verdict verdict = NotTestable(claim, decision.reason + "; counted, not timed: it says nothing about the speed-up");
    verdict.arithmetic = decision.value;
    verdict.derived_low = decision.low;
    verdict.derived_high = decision.high;
    return verdict;
  }
  Verdict verdict;
  verdict.value = decision.value;
  verdict.basis = basis;
  verdict.reason = std::move(decision.reason);
  verdict.crossovers = std::move(decision.crossovers);
  verdict.samples_needed = decision.samples_needed;
  verdict.derived_low = decision.low;
  verdict.derived_high = decision.high;
  return verdict;
}

Verdict FromQuantity(const Claim& claim, const ClaimCheck& check, const ClaimContext* context, bool negated) {
  const auto at = context == nullptr ? std::map<std::string, Quantity>::const_iterator() : context->quantities.find(check.quantity);
  if (context == nullptr || at == context->quantities.end())
    return NotTestable(claim, fmt::format("{} takes a measurement that is not here", check.metric));
  const Quantity& quantity = at->second;
  if (quantity.refused()) return NotTestable(claim, fmt::format("{}: {}", check.metric, quantity.origin));
  Decision decision = Compare(check, quantity.low, quantity.high, {.negated = negated, .allow_misprint = false});
  Verdict verdict = FromDecision(claim, check, std::move(decision));
  verdict.basis = quantity.basis;
  verdict.reason += fmt::format(" ({}: {})", NameOf(quantity.basis), quantity.origin);
  // A bound, an assumption or a simulation driven by assumptions cannot carry a verdict on a figure that was measured.
  if (quantity.basis != Basis::kMeasured && quantity.basis != Basis::kInterpolated && quantity.basis != Basis::kArithmetic) {
    verdict.value = VerdictValue::kCannotTell;
    verdict.reason += "; that basis does not admit a verdict on this figure";
  }
  return verdict;
}

std::string Capitalised(VerdictValue value) {
  std::string text(NameOf(value));
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

// One verdict from the parts: the worst, with what became of the others.
Verdict Combine(const std::vector<CheckVerdict>& parts) {
  const auto worst = std::max_element(parts.begin(), parts.end(), [](const CheckVerdict& a, const CheckVerdict& b) {
    return Severity(a.verdict.value) < Severity(b.verdict.value);
  });
  Verdict combined = worst->verdict;
  if (parts.size() == 1) return combined;
  const auto same = std::count_if(parts.begin(), parts.end(),
                                  [&](const CheckVerdict& part) { return part.verdict.value == worst->verdict.value; });
  combined.reason = static_cast<size_t>(same) == parts.size()
                        ? fmt::format("all {} figures {}; {}", parts.size(), Capitalised(combined.value), combined.reason)
                        : fmt::format("{} of {} figures {}; {}: {}", same, parts.size(), Capitalised(combined.value), worst->check,
                                      combined.reason);
  for (const CheckVerdict& part : parts) {
    if (combined.value == VerdictValue::kSupported) combined.basis = Weaker(combined.basis, part.verdict.basis);
    if (combined.arithmetic && part.verdict.arithmetic && Severity(*part.verdict.arithmetic) > Severity(*combined.arithmetic))
      combined.arithmetic = part.verdict.arithmetic;
  }
  return combined;
}

// Whether some input of the check, scaled, turns a held check into a failed one: a quarter is enough for a figure, a bound with room to
// spare takes more. A check that no input can fail has shown nothing.
Result<std::string> PlantViolation(const ClaimCheck& check, const Variables& given, const std::vector<Plausible>& plausible) {
  const auto fails = [&](const Variables& changed, const std::vector<Plausible>& ranges) -> Result<bool> {
    Result<Decision> decision = Evaluate(check, changed, ranges, {});
    // A defect that makes the formula impossible (a share above 1) is caught as well.
    return !decision.ok() || decision->value != VerdictValue::kSupported;
  };
  for (const double factor : {1.25, 0.8, 2.0, 0.5, 10.0, 0.1}) {
    for (const auto& [name, value] : given) {
      Variables changed = given;
      changed[name] = value * factor;
      ASSAY_TRY(const bool caught, fails(changed, plausible));
      if (caught) return fmt::format("{} x {}", name, factor);
    }
    for (size_t i = 0; i < plausible.size(); ++i) {
      std::vector<Plausible> ranges = plausible;
      ranges[i].low *= factor;
      ranges[i].high *= factor;
      for (double& point : ranges[i].points) point *= factor;
      ASSAY_TRY(const bool caught, fails(given, ranges));
      if (caught) return fmt::format("{} x {}", ranges[i].name, factor);
    }
  }
  return std::string();
}

struct Parts {
  std::vector<CheckVerdict> verdicts;
  std::string planted;
  int shams = 0;
};

// Shams: the figure moved away from the claim's. Half would not do: that is the truth of JAM-01's bad row.
constexpr std::array kShamFactors = {0.7, 1.4, 3.0};

// Why a check that holds shows nothing: no input makes it fail, or it holds for its negation or for a sham as well. Empty: it shows something.
Result<std::string> Hollow(const ClaimCheck& check, const Variables& given, const std::vector<Plausible>& plausible, Parts* parts) {
  ASSAY_TRY(const std::string planted, PlantViolation(check, given, plausible));
  if (planted.empty()) return std::string("no change of its inputs makes this check fail");
  parts->planted += fmt::format("{}{}: {}", parts->planted.empty() ? "" : ", ", check.name, planted);
  ASSAY_TRY(const Decision opposite, Evaluate(check, given, plausible, {.negated = true}));
  if (opposite.value == VerdictValue::kSupported) return std::string("this check supports its own negation");
  // A bound is met by many figures, and zero is moved by no factor.
  if (check.relation != ClaimCheck::Relation::kEqual || check.claimed == 0) return std::string();
  for (const double factor : kShamFactors) {
    ClaimCheck sham = check;
    sham.claimed *= factor;
    ASSAY_TRY(const Decision decision, Evaluate(sham, given, plausible, {}));
    if (decision.value == VerdictValue::kSupported) return fmt::format("its tolerance lets {:.6g} {} pass as well", sham.claimed, check.unit);
    ++parts->shams;
  }
  return std::string();
}

Result<Parts> CheckParts(const Claim& claim, const Variables& given, const std::vector<Plausible>& plausible, const ClaimContext* context,
                         const EvaluateOptions& options) {
  Parts parts;
  for (const ClaimCheck& check : claim.checks) {
    if (check.kind == ClaimCheck::Kind::kQuantity) {
      parts.verdicts.push_back({check.name, FromQuantity(claim, check, context, options.negated)});
      continue;
    }
    Result<Decision> evaluated = Evaluate(check, given, plausible, options);
    if (!evaluated.ok()) return std::move(evaluated).TakeError().In(fmt::format("{}:{}: check {}", claim.path, check.line, check.name));
    Decision decision = *std::move(evaluated);
    if (decision.value == VerdictValue::kSupported && !options.negated) {
      ASSAY_TRY(const std::string hollow, Hollow(check, given, plausible, &parts));
      if (!hollow.empty()) {
        decision.value = VerdictValue::kCannotTell;
        decision.reason += fmt::format("; but {}, so it shows nothing", hollow);
      }
    }
    parts.verdicts.push_back({check.name, FromDecision(claim, check, std::move(decision))});
  }
  return parts;
}

template <class Text>
bool Contains(const std::vector<std::string>& list, const Text& name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

Verdict Outside(std::string reason) {
  Verdict verdict;
  verdict.value = VerdictValue::kOutsideYourDomain;
  verdict.basis = Basis::kArithmetic;
  verdict.reason = std::move(reason);
  return verdict;
}

Verdict Unknown(std::string_view variable) {
  Verdict verdict;
  verdict.value = VerdictValue::kCannotTell;
  verdict.reason = fmt::format("the use case does not say {}", variable);
  return verdict;
}

// Why the use case never enters the claim's conditions, or cannot say; empty when it does enter them.
Result<std::optional<Verdict>> DomainVerdict(const Claim& claim, const ClaimContext& context) {
  const ClaimDomain& domain = claim.domain;
  const bool weighed = domain.mechanisms.empty() || std::any_of(domain.mechanisms.begin(), domain.mechanisms.end(),
                                                                 [&](const std::string& id) { return Contains(context.mechanisms, id); });
  if (!weighed)
    return std::optional(Outside(fmt::format("no candidate uses {}", fmt::join(domain.mechanisms, " or "))));
  if (!domain.gpus.empty() && !Contains(domain.gpus, context.gpu))
    return std::optional(Outside(fmt::format("it is about {}, you run on {}", fmt::join(domain.gpus, " or "),
                                             context.gpu.empty() ? "none of these" : context.gpu)));
  if (!domain.engines.empty() && !Contains(domain.engines, context.engine))
    return std::optional(Outside(fmt::format("it is about {}, you run {}", fmt::join(domain.engines, " or "),
                                             context.engine.empty() ? "none of these" : context.engine)));
  for (const std::string& text : domain.when) {
    ASSAY_TRY(const Formula condition, Formula::Compile(text));
    if (const std::string missing = condition.MissingFrom(context.variables); !missing.empty()) return std::optional(Unknown(missing));
    ASSAY_TRY(const double holds, condition.Evaluate(context.variables));
    if (holds == 0) {
      std::string values;
      for (const std::string& name : condition.names())
        values += fmt::format("{}{} is {:.6g}", values.empty() ? "" : ", ", name, context.variables.find(name)->second);
      return std::optional(Outside(fmt::format("it needs {}; {}", text, values)));
    }
  }
  return std::optional<Verdict>();
}

// The check's variables with the use case's values in place of the claim's own.
struct Bound {
  Variables given;
  std::vector<Plausible> plausible;
  std::string missing;  // a variable of the use case that a binding needs
  std::string spans;    // the bound variable that takes a range
};

Bound Bind(const Claim& claim, const ClaimContext& context) {
  Bound bound{claim.given, claim.plausible, {}, {}};
  for (const ClaimBinding& binding : claim.bindings) {
    std::vector<double> values;
    for (const std::string& name : binding.from) {
      const auto at = context.variables.find(name);
      if (at == context.variables.end()) {
        bound.missing = name;
        return bound;
      }
      values.push_back(at->second);
    }
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    std::erase_if(bound.plausible, [&](const Plausible& range) { return range.name == binding.variable; });
    bound.given.erase(binding.variable);
    if (*low == *high) {
      bound.given[binding.variable] = *low;
    } else {
      bound.plausible.push_back({.name = binding.variable, .low = *low, .high = *high, .points = {}, .log_scale = *low > 0, .why = "the use case"});
      if (bound.spans.empty()) bound.spans = binding.variable;
    }
  }
  return bound;
}

// The context as a claim sees it: with the variables of the candidate that uses its mechanism.
ClaimContext Focused(const Claim& claim, const ClaimContext& everything) {
  ClaimContext context = everything;
  for (const std::string& id : claim.domain.mechanisms)
    if (const auto at = everything.of_mechanism.find(id); at != everything.of_mechanism.end())
      for (const auto& [name, value] : at->second) context.variables[name] = value;
  return context;
}

Result<std::pair<Verdict, std::vector<CheckVerdict>>> ForYou(const Claim& claim, const Verdict& at_origin, const ClaimContext& everything) {
  const ClaimContext context = Focused(claim, everything);
  Result<std::optional<Verdict>> outside = DomainVerdict(claim, context);
  if (!outside.ok()) return std::move(outside).TakeError().In(claim.path);
  if (*outside) return std::pair(**std::move(outside), std::vector<CheckVerdict>());
  const bool measured = std::any_of(claim.checks.begin(), claim.checks.end(), [&](const ClaimCheck& check) {
    return check.kind == ClaimCheck::Kind::kQuantity && context.quantities.contains(check.quantity);
  });
  if (claim.bindings.empty() && !measured) {
    if (claim.carries_over || at_origin.value == VerdictValue::kNotTestableHere) return std::pair(at_origin, std::vector<CheckVerdict>());
    return std::pair(Outside("its figures are about a model of its own; nothing of your use case enters them"), std::vector<CheckVerdict>());
  }
  const Bound bound = Bind(claim, context);
  if (!bound.missing.empty()) return std::pair(Unknown(bound.missing), std::vector<CheckVerdict>());
  Claim yours = claim;
  for (ClaimCheck& check : yours.checks)
    if (!bound.spans.empty()) check.premise = bound.spans;
  ASSAY_TRY(Parts parts, CheckParts(yours, bound.given, bound.plausible, &context, {.allow_misprint = false}));
  Verdict verdict = Combine(parts.verdicts);
  return std::pair(std::move(verdict), std::move(parts.verdicts));
}

// The claim that says the opposite: what lay inside the tolerance lies outside.
Result<Verdict> CheckNegation(const Claim& claim) {
  ASSAY_TRY(Parts parts, CheckParts(claim, claim.given, claim.plausible, nullptr, {.negated = true}));
  // The negation of "all hold" holds as soon as one negated part does: the best part counts, not the worst.
  const auto best = std::min_element(parts.verdicts.begin(), parts.verdicts.end(), [](const CheckVerdict& a, const CheckVerdict& b) {
    return Severity(a.verdict.value) < Severity(b.verdict.value);
  });
  return best->verdict;
}

}  // namespace

std::string_view NameOf(VerdictValue value) { return kVerdictNames[static_cast<size_t>(value)]; }

std::string Verdict::Label() const {
  std::string text = Capitalised(value);
  if (arithmetic) return fmt::format("arithmetic {}, speed-up not testable here", Capitalised(*arithmetic));
  if (value == VerdictValue::kSupported && basis == Basis::kArithmetic) return "supported (counted)";
  if (value == VerdictValue::kSupported && basis == Basis::kCited) return "supported by the cited figures";
  return text;
}

const std::vector<std::string>& ContextVariableNames() {
  static const std::vector<std::string> names = {
      "context_p50_tokens", "context_p95_tokens", "context_p99_tokens", "context_max_tokens", "decode_context_tokens", "prompt_p50_tokens",
      "prompt_p95_tokens", "output_p50_tokens", "output_p95_tokens", "concurrency", "requests_per_second", "layers", "query_heads",
      "kv_heads", "head_dim", "kv_bits", "candidate_kv_bits", "kv_bytes_per_token", "kv_bytes_per_token_layer", "state_bytes_per_layer",
      "linear_layers_per_full", "local_layers_per_global", "weight_bytes", "memory_bytes", "tensor_parallel", "pipeline_parallel", "page_tokens", "window_tokens", "prefix_cache",
      "speculation", "quality_objective", "attention_share_decode"};
  return names;
}

Result<ClaimVerdict> CheckClaim(const Claim& claim, const ClaimContext* context) {
  ClaimVerdict verdict;
  verdict.claim_id = claim.id;
  verdict.expired = !claim.baseline_superseded.empty();
  if (claim.checks.empty()) {
    verdict.at_origin = NotTestable(claim, "the claim's figures come from hardware or training that is not here");
  } else {
    Result<Parts> parts = CheckParts(claim, claim.given, claim.plausible, nullptr, {});
    if (!parts.ok()) return std::move(parts).TakeError();
    verdict.at_origin = Combine(parts->verdicts);
    verdict.parts = std::move(parts->verdicts);
    verdict.planted_violation = std::move(parts->planted);
    verdict.shams = parts->shams;
    ASSAY_TRY(verdict.negation, CheckNegation(claim));
  }
  if (context == nullptr) return verdict;
  auto for_you = ForYou(claim, verdict.at_origin, *context);
  if (!for_you.ok()) return std::move(for_you).TakeError();
  verdict.for_you = std::move(for_you->first);
  verdict.parts_for_you = std::move(for_you->second);
  return verdict;
}

}  // namespace assay
