// Claims as TOML: reading, the freeze, and the shipped ones. What a file may say is in claims/README.md.
#include <algorithm>
#include <array>
#include <functional>
#include <set>

#include "claims/claim.h"
#include "claims/toml_files.h"
#include "claims/verdict.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "formats/text.h"
#include "formats/toml.h"
#include "store/nearest.h"
#include "store/sha256.h"
#include "store/time.h"

namespace assay {
namespace {

using formats::TomlErrors;
using formats::TomlNode;
using formats::TomlReader;

constexpr std::array<std::string_view, kUnsaidCount> kUnsaidNames = {
    "weak_baseline",  "precision_mismatch", "asymptotic_only",       "expected_not_measured", "settings_merged", "metric_blind",
    "load_dependent", "needs_retraining",   "breaks_other_feature", "not_attention_only",    "unit_or_rounding"};
constexpr std::array<std::string_view, 4> kClassNames = {"arithmetic", "cpu_ratio", "synthetic_quality", "gpu_only"};
constexpr std::array<std::string_view, 6> kSubjectNames = {"bytes", "flops", "tokens", "speed", "quality", "other"};
constexpr std::array<std::string_view, 3> kKindNames = {"formula", "difference", "quantity"};
constexpr std::array<std::string_view, 3> kRelationNames = {"equal", "at_least", "at_most"};
constexpr std::array<std::string_view, 2> kScaleNames = {"linear", "log"};

// "2024", "2024-05" or "2024-05-06": sources are often dated by month only.
bool IsPartialDate(std::string_view text) {
  if (text.size() == 4) return IsDate(std::string(text) + "-01-01");
  if (text.size() == 7) return IsDate(std::string(text) + "-01");
  return IsDate(text);
}

void ReadGiven(TomlReader& root, Claim& claim, TomlErrors& errors) {
  const TomlNode* given = root.Take("given");
  if (given == nullptr) return;
  if (given->kind != TomlNode::Kind::kTable) return root.Fail("given", "given must be a table: [given]");
  for (const TomlNode& item : given->items) {
    if (item.kind == TomlNode::Kind::kInteger || item.kind == TomlNode::Kind::kFloat)
      claim.given[item.key] = item.number;
    else
      errors.Add(item.line, fmt::format("given.{} must be a number", item.key));
  }
}

void ReadPlausible(TomlReader& root, Claim& claim) {
  for (TomlReader& table : root.Tables("plausible")) {
    Plausible range;
    range.name = table.Text("name", "name = \"kv_bits\"");
    range.points = table.Numbers("points", {});
    range.why = table.Text("why", "say where the range comes from");
    range.log_scale = table.Choice("scale", kScaleNames).value_or(0) == 1;
    const auto low = table.Number("low", {});
    const auto high = table.Number("high", {});
    if (range.points.size() > 64) table.Fail("points", "at most 64 points");
    if (!range.points.empty()) {
      std::sort(range.points.begin(), range.points.end());
      range.low = range.points.front();
      range.high = range.points.back();
      if (low || high) table.Fail("points", "give either points or low and high");
    } else if (!low || !high || *low >= *high) {
      table.Fail("low", "low and high must be given, low below high (or a list of points)");
    } else {
      range.low = *low;
      range.high = *high;
    }
    if (range.log_scale && range.low <= 0) table.Fail("low", "a log scale needs low above 0");
    table.Close();
    claim.plausible.push_back(std::move(range));
  }
}

void CompileAt(TomlReader& table, std::string_view key, const std::string& expression) {
  if (expression.empty()) return;
  if (const auto formula = Formula::Compile(expression); !formula.ok()) table.Fail(key, formula.error().message);
}

void ReadChecks(TomlReader& root, Claim& claim) {
  for (TomlReader& table : root.Tables("checks")) {
    ClaimCheck check;
    check.line = table.line();
    check.name = table.Text("name", "name = \"reduction\"");
    check.kind = static_cast<ClaimCheck::Kind>(table.Choice("kind", kKindNames).value_or(0));
    check.metric = table.Text("metric", "what is compared, in words");
    check.unit = table.Text("unit", "unit = \"%\"");
    check.relation = static_cast<ClaimCheck::Relation>(table.Choice("relation", kRelationNames).value_or(0));
    table.Require("claimed", "the figure as printed");
    check.claimed = table.Number("claimed", {}).value_or(0);
    table.Require("tolerance", "half a unit of the figure's last digit, unless the claim says about");
    check.tolerance = table.Number("tolerance", {.low = 0}).value_or(0);
    check.premise = table.String("premise").value_or("");
    switch (check.kind) {
      case ClaimCheck::Kind::kFormula:
        check.formula = table.Text("formula", "formula = \"query_heads / kv_heads\"");
        CompileAt(table, "formula", check.formula);
        break;
      case ClaimCheck::Kind::kDifference:
        check.first = table.Text("first", "a proportion between 0 and 1");
        check.second = table.Text("second", "a proportion between 0 and 1");
        check.trials = table.Text("trials", "how many trials each proportion rests on");
        CompileAt(table, "first", check.first);
        CompileAt(table, "second", check.second);
        CompileAt(table, "trials", check.trials);
        break;
      case ClaimCheck::Kind::kQuantity:
        check.quantity = table.Text("quantity", "the name of the measured figure");
        break;
    }
    table.Close();
    claim.checks.push_back(std::move(check));
  }
  if (claim.checks.size() > 64) root.Fail("checks", "at most 64 checks a claim");
  if (claim.given.size() + claim.plausible.size() > 64) root.Fail("checks", "at most 64 variables a claim");
}

void ReadDomain(TomlReader& root, Claim& claim) {
  root.Require("domain", "[domain] with the mechanisms that a use case must weigh");
  std::optional<TomlReader> table = root.Table("domain");
  if (!table) return;
  claim.domain.mechanisms = table->Strings("mechanisms");
  claim.domain.gpus = table->Strings("gpus");
  claim.domain.engines = table->Strings("engines");
  claim.domain.when = table->Strings("when");
  claim.carries_over = table->Bool("carries_over").value_or(false);
  for (const std::string& condition : claim.domain.when) CompileAt(*table, "when", condition);
  table->Close();
}

void ReadBindings(TomlReader& root, Claim& claim) {
  for (TomlReader& table : root.Tables("bindings")) {
    ClaimBinding binding;
    binding.variable = table.Text("variable", "a variable of the formulas");
    table.Require("from", "variables of the use case");
    binding.from = table.Strings("from");
    for (const std::string& name : binding.from) {
      const auto& known = ContextVariableNames();
      if (std::find(known.begin(), known.end(), name) == known.end())
        table.Fail("from", fmt::format("a use case has no variable {}{}", name, DidYouMean(name, known)));
    }
    table.Close();
    claim.bindings.push_back(std::move(binding));
  }
}

void ReadEvidence(TomlReader& root, Claim& claim) {
  for (TomlReader& table : root.Tables("evidence")) {
    Evidence evidence = TakeEvidence(table);
    if (!IsPartialDate(evidence.date)) table.Fail("date", fmt::format("\"{}\" is no date; write YYYY-MM-DD", evidence.date));
    table.Close();
    claim.evidence.push_back(std::move(evidence));
  }
}

void ReadUnsaid(TomlReader& root, Claim& claim) {
  for (const std::string& name : root.Strings("unsaid")) {
    const auto* at = std::find(kUnsaidNames.begin(), kUnsaidNames.end(), name);
    if (at == kUnsaidNames.end())
      root.Fail("unsaid", fmt::format("\"{}\" is not a known omission{}", name, DidYouMean(name, kUnsaidNames)));
    else
      claim.unsaid.push_back(static_cast<Unsaid>(at - kUnsaidNames.begin()));
  }
}

void ReadSourceAndBaseline(TomlReader& root, Claim& claim) {
  root.Require("source", "[source] with title, url and date");
  if (std::optional<TomlReader> source = root.Table("source")) {
    claim.source_title = source->Text("title", "of the paper or post");
    claim.source_url = source->Text("url", "where the claim can be read");
    claim.date = source->Text("date", "YYYY-MM or YYYY-MM-DD");
    if (!IsPartialDate(claim.date)) source->Fail("date", fmt::format("\"{}\" is no date; write YYYY-MM-DD", claim.date));
    source->Close();
  }
  root.Require("baseline", "[baseline] with name and version");
  if (std::optional<TomlReader> baseline = root.Table("baseline")) {
    claim.baseline = baseline->Text("name", "what the claim compares with");
    claim.baseline_version = baseline->Text("version", "of the baseline; \"unstated\" if the source does not say");
    claim.baseline_superseded = baseline->String("superseded").value_or("");
    baseline->Close();
  }
  if (std::optional<TomlReader> decided = root.Table("decided_by")) {
    claim.decided_by_command = decided->Text("command", "the command that would decide");
    claim.decided_by_hardware = decided->Text("hardware", "what it needs");
    decided->Close();
  }
}

// Every variable of every formula has a value, and every premise and binding names a variable.
void CheckNames(const Claim& claim, TomlReader& root) {
  std::set<std::string, std::less<>> known;
  for (const auto& [name, value] : claim.given) known.insert(name);
  for (const Plausible& range : claim.plausible)
    if (!known.insert(range.name).second) root.Fail("plausible", fmt::format("{} has two values", range.name));
  const auto check_formula = [&](const std::string& expression, const ClaimCheck& check) {
    const auto formula = Formula::Compile(expression);
    if (!formula.ok()) return;  // noted already
    for (const std::string& name : formula->names())
      if (!known.contains(name))
        root.Fail("checks", fmt::format("check {}: {} has no value under [given] or [[plausible]]{}", check.name, name,
                                        DidYouMean(name, known)));
  };
  for (const ClaimCheck& check : claim.checks) {
    for (const std::string* expression : {&check.formula, &check.first, &check.second, &check.trials})
      if (!expression->empty()) check_formula(*expression, check);
    // Evidence of one figure must not stand for a headline that says another.
    if (check.relation == ClaimCheck::Relation::kEqual && check.kind == ClaimCheck::Kind::kFormula &&
        std::find(claim.figures.begin(), claim.figures.end(), check.claimed) == claim.figures.end()) {
      root.Fail("checks", fmt::format("check {}: claimed = {:g} is none of the claim's figures", check.name, check.claimed));
    }
    const auto premise = std::find_if(claim.plausible.begin(), claim.plausible.end(),
                                      [&check](const Plausible& range) { return range.name == check.premise; });
    if (!check.premise.empty() && premise == claim.plausible.end())
      root.Fail("checks", fmt::format("check {}: the premise {} is not one of [[plausible]]", check.name, check.premise));
  }
  for (const ClaimBinding& binding : claim.bindings)
    if (!known.contains(binding.variable))
      root.Fail("bindings", fmt::format("{} is not a variable of this claim", binding.variable));
  for (const std::string& condition : claim.domain.when) {
    const auto formula = Formula::Compile(condition);
    if (!formula.ok()) continue;
    const auto& context = ContextVariableNames();
    for (const std::string& name : formula->names())
      if (std::find(context.begin(), context.end(), name) == context.end())
        root.Fail("domain", fmt::format("a use case has no variable {}{}", name, DidYouMean(name, context)));
  }
}

}  // namespace

std::string_view NameOf(Unsaid unsaid) { return kUnsaidNames[static_cast<size_t>(unsaid)]; }
std::string_view NameOf(ClaimClass claim_class) { return kClassNames[static_cast<size_t>(claim_class)]; }
std::string_view NameOf(ClaimSubject subject) { return kSubjectNames[static_cast<size_t>(subject)]; }

Result<Claim> ParseClaim(std::string_view text, const std::string& path) {
  ASSAY_TRY(const TomlNode node, formats::ParseToml(text, path));
  TomlErrors errors(path);
  TomlReader root(node, "", &errors);
  Claim claim;
  claim.path = path;
  root.Require("schema_version", "schema_version = 1");
  if (root.Integer("schema_version", {.low = 1, .high = 1}); root.Has("id")) claim.id = root.String("id").value_or("");
  if (claim.id.empty()) root.Fail("id", "id is missing: id = \"GQA-02\"");
  claim.mechanism = root.Text("mechanism", "mechanism = \"gqa\"");
  claim.statement = root.Text("statement", "the headline in our own words");
  claim.figures = root.Numbers("figures", {});
  claim.unit = root.Text("unit", "of the figures");
  claim.conditions = root.Text("conditions", "under which the source states it");
  root.Require("class", "one of arithmetic, cpu_ratio, synthetic_quality, gpu_only");
  claim.claim_class = static_cast<ClaimClass>(root.Choice("class", kClassNames).value_or(0));
  root.Require("about", "one of bytes, flops, tokens, speed, quality, other");
  claim.about = static_cast<ClaimSubject>(root.Choice("about", kSubjectNames).value_or(0));
  ReadUnsaid(root, claim);
  claim.unsaid_note = root.Text("unsaid_note", "what the headline leaves out");
  claim.tuning_budget = root.String("tuning_budget").value_or("");
  claim.frozen = root.String("frozen").value_or("");
  ReadSourceAndBaseline(root, claim);
  ReadGiven(root, claim, errors);
  ReadPlausible(root, claim);
  ReadChecks(root, claim);
  ReadDomain(root, claim);
  ReadBindings(root, claim);
  ReadEvidence(root, claim);
  CheckNames(claim, root);
  if (claim.decided_by_command.empty() &&
      (claim.about == ClaimSubject::kSpeed || claim.claim_class == ClaimClass::kGpuOnly || claim.checks.empty()))
    root.Fail("decided_by", "what is not decided by arithmetic needs [decided_by] with command and hardware");
  root.Close();
  ASSAY_RETURN_IF_ERROR(errors.ToStatus());
  return claim;
}

Result<std::vector<Claim>> ShippedClaims() { return ParseEmbedded(EmbeddedClaims(), &ParseClaim); }
Result<std::vector<Claim>> LoadClaims(const std::string& directory) { return ParseFolder(directory, &ParseClaim); }

std::string FrozenHash(const Claim& claim) {
  std::string text = fmt::format("claim/1\n{}\n{}\n{}\n{}\n", claim.id, claim.baseline, claim.baseline_version, claim.tuning_budget);
  for (const auto& [name, value] : claim.given) text += fmt::format("given {} {}\n", name, value);
  for (const Plausible& range : claim.plausible)
    text += fmt::format("plausible {} {} {} {} {}\n", range.name, range.low, range.high, fmt::join(range.points, " "), range.log_scale);
  for (const ClaimCheck& check : claim.checks)
    text += fmt::format("check {} {} {} {} |{}|{}|{}|{}|{}| {} {} {} {}\n", check.name, static_cast<int>(check.kind), check.metric,
                        check.unit, check.formula, check.first, check.second, check.trials, check.quantity,
                        static_cast<int>(check.relation), check.claimed, check.tolerance, check.premise);
  text += fmt::format("domain {}|{}|{}|{}|{}\n", fmt::join(claim.domain.mechanisms, ","), fmt::join(claim.domain.gpus, ","),
                      fmt::join(claim.domain.engines, ","), fmt::join(claim.domain.when, ","), claim.carries_over);
  for (const ClaimBinding& binding : claim.bindings)
    text += fmt::format("binding {} {}\n", binding.variable, fmt::join(binding.from, ","));
  return Sha256Hex(text).substr(0, 16);
}

Status CheckFrozen(const Claim& claim) {
  const std::string hash = FrozenHash(claim);
  if (hash == claim.frozen) return Ok();
  const std::string fault = claim.frozen.empty() ? std::string("was never frozen")
                                                 : fmt::format("hangs on other checks, tolerances, ranges, domain or baseline than were frozen ({} then, {} now)",
                                                               claim.frozen, hash);
  return BadInput(fmt::format("{}: the verdict of {} {}; restore what changed, or, if no result was known when it did, write the new hash with "
                              "`assay claims freeze --claims-dir DIR`", claim.path, claim.id, fault));
}

Result<bool> Freeze(const Claim& claim) {
  const std::string hash = FrozenHash(claim);
  if (hash == claim.frozen) return false;
  ASSAY_TRY(const std::string text, formats::ReadFile(claim.path, kLargestClaimBytes));
  ASSAY_RETURN_IF_ERROR(formats::WriteFile(claim.path, WithFrozenHash(text, hash)));
  return true;
}

std::string WithFrozenHash(std::string_view text, std::string_view hash) {
  const std::string line = fmt::format("frozen = \"{}\"", hash);
  std::string updated;
  bool written = false;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view row = text.substr(at, end - at);
    // Before the first table, where alone a top-level key may stand.
    if (!written && row.starts_with("[")) {
      updated += line + "\n\n";
      written = true;
    }
    if (!written && row.starts_with("frozen")) {
      updated += line;
      written = true;
    } else {
      updated += row;
    }
    if (end < text.size()) updated += '\n';
    at = end + 1;
  }
  return written ? updated : updated + line + "\n";
}

}  // namespace assay
