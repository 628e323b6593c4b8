// `assay claims list|show|check|freeze|rebut`: headline claims and what their checks say.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "claims/claim.h"
#include "claims/claims_json.h"
#include "claims/rebuttal.h"
#include "claims/usecase_context.h"
#include "claims/verdict.h"
#include "cli/command.h"
#include "fmt/format.h"
#include "store/nearest.h"
#include "store/store.h"

namespace assay::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::string directory;  // --claims-dir; empty: the shipped ones
  std::vector<std::string> ids;
  std::string expect;
  std::string use_case;
  std::string rebuttal;
};

void Print(const Json& json) { fmt::print("{}\n", json.dump(-1, ' ', false, Json::error_handler_t::replace)); }

// The claims asked for, all of them when none is named.
Result<std::vector<Claim>> Select(const Options& options) {
  ASSAY_TRY(std::vector<Claim> claims, options.directory.empty() ? ShippedClaims() : LoadClaims(options.directory));
  if (options.ids.empty()) return claims;
  std::vector<Claim> selected;
  for (const std::string& id : options.ids) {
    const auto at = std::find_if(claims.begin(), claims.end(), [&id](const Claim& claim) { return claim.id == id; });
    if (at == claims.end()) {
      std::vector<std::string_view> known;
      for (const Claim& claim : claims) known.push_back(claim.id);
      const std::string nearest = NearestName(id, known);
      return BadInput(fmt::format("no claim {}{}; `assay claims list` lists them", id,
                                  nearest.empty() ? "" : ", the nearest is " + nearest));
    }
    selected.push_back(*at);
  }
  return selected;
}

int List(const Common& common, const Options& options) {
  const auto claims = Select(options);
  if (!claims.ok()) return Fail(claims.error());
  if (common.json) {
    Json list = Json::array();
    for (const Claim& claim : *claims) list.push_back(ToJson(claim));
    Print({{"schema_version", 1}, {"claims", list}});
    return kFine;
  }
  for (const Claim& claim : *claims)
    fmt::print("{:<9} {:<17} {:<28} {}\n", claim.id, NameOf(claim.claim_class), claim.mechanism, claim.statement);
  return kFine;
}

void PrintVerdict(std::string_view title, const Verdict& verdict) {
  fmt::print("  {:<10} {}\n             {}\n", title, verdict.Label(), verdict.reason);
  if (!verdict.decides_command.empty())
    fmt::print("             decided by: {} ({})\n", verdict.decides_command, verdict.decides_hardware);
}

void PrintClaimVerdict(const Claim& claim, const ClaimVerdict& verdict) {
  fmt::print("{}  {}\n", claim.id, claim.statement);
  PrintVerdict("at origin:", verdict.at_origin);
  if (verdict.negation)
    fmt::print("  negation:  {}{}\n", verdict.negation->Label(),
               verdict.shams > 0 ? fmt::format("; {} sham figures tried, none passes", verdict.shams) : "");
  if (verdict.for_you) PrintVerdict("for you:", *verdict.for_you);
  if (verdict.expired) fmt::print("  expired:   {}\n", claim.baseline_superseded);
}

int Show(const Common& common, const Options& options) {
  const auto claims = Select(options);
  if (!claims.ok()) return Fail(claims.error());
  const Claim& claim = claims->front();
  if (const Status frozen = CheckFrozen(claim); !frozen.ok()) return Fail(frozen.error());
  const auto verdict = CheckClaim(claim, nullptr);
  if (!verdict.ok()) return Fail(verdict.error());
  // A store that is not there yet holds no rebuttal; that is no failure.
  std::vector<Rebuttal> rebuttals;
  if (const auto store = Store::Open({.path = common.db_path, .read_only = true}); store.ok())
    if (auto found = store->Rebuttals(claim.id); found.ok()) rebuttals = *std::move(found);
  if (common.json) {
    Json json = ToJson(claim);
    json["schema_version"] = 1;
    json["check"] = ToJson(*verdict);
    json["rebuttals"] = Json::array();
    for (const Rebuttal& rebuttal : rebuttals)
      json["rebuttals"].push_back({{"id", rebuttal.id}, {"premise", rebuttal.premise}, {"artifact", rebuttal.artifact}});
    Print(json);
    return kFine;
  }
  PrintClaimVerdict(claim, *verdict);
  if (verdict->parts.size() > 1)
    for (const CheckVerdict& part : verdict->parts) fmt::print("    {:<22} {}: {}\n", part.check, part.verdict.Label(), part.verdict.reason);
  fmt::print("  source     {} ({}), {}\n  conditions {}\n  baseline   {}, {}\n", claim.source_title, claim.date, claim.source_url,
             claim.conditions, claim.baseline, claim.baseline_version);
  fmt::print("  unsaid    ");
  for (const Unsaid item : claim.unsaid) fmt::print(" {}", NameOf(item));
  fmt::print("\n             {}\n", claim.unsaid_note);
  for (const Evidence& item : claim.evidence)
    fmt::print("  {:<10} {} ({}, {})\n", item.against ? "against" : "for", item.summary, item.date, item.url);
  for (const Rebuttal& rebuttal : rebuttals) fmt::print("  rebuttal   {} attacks {}\n", rebuttal.id, rebuttal.premise);
  return kFine;
}

int Check(const Common& common, const Options& options) {
  if (!options.expect.empty() && options.ids.empty()) return Fail(BadInput("--expect needs the ids of the claims it is about"));
  const auto claims = Select(options);
  if (!claims.ok()) return Fail(claims.error());
  ClaimContext context;
  if (!options.use_case.empty()) {
    const auto use_case = formats::ReadUseCase(options.use_case);
    if (!use_case.ok()) return Fail(use_case.error());
    auto read = ContextOf(*use_case, common.seed);
    if (!read.ok()) return Fail(read.error());
    context = *std::move(read);
  }
  Json list = Json::array();
  std::string unexpected;
  Json refused = Json::array();
  for (const Claim& claim : *claims) {
    if (const Status frozen = CheckFrozen(claim); !frozen.ok()) {
      refused.push_back({{"id", claim.id}, {"reason", frozen.error().message}});
      fmt::print(stderr, "assay: {}\n", frozen.error().message);
      continue;
    }
    const auto verdict = CheckClaim(claim, options.use_case.empty() ? nullptr : &context);
    if (!verdict.ok()) return Fail(verdict.error());
    if (!options.expect.empty() && NameOf(verdict->at_origin.value) != options.expect)
      unexpected += fmt::format("{}{} is {}, not {}", unexpected.empty() ? "" : "; ", claim.id, NameOf(verdict->at_origin.value),
                                options.expect);
    if (common.json)
      list.push_back(ToJson(*verdict));
    else
      PrintClaimVerdict(claim, *verdict);
  }
  if (common.json) Print({{"schema_version", 1}, {"use_case", options.use_case}, {"claims", list}, {"refused", refused}});
  if (!refused.empty()) return Fail(BadInput(fmt::format("{} of {} claims are not judged", refused.size(), claims->size())));
  return unexpected.empty() ? kFine : Fail(NotHeld(unexpected));
}

int Freeze(const Common& common, const Options& options) {
  if (options.directory.empty()) return Fail(BadInput("freeze rewrites files: say where they are with --claims-dir"));
  const auto claims = Select(options);
  if (!claims.ok()) return Fail(claims.error());
  // A check that has no answer freezes nothing: all are judged before the first file is written.
  for (const Claim& claim : *claims)
    if (const auto verdict = CheckClaim(claim, nullptr); !verdict.ok()) return Fail(verdict.error());
  Json list = Json::array();
  for (const Claim& claim : *claims) {
    const auto changed = assay::Freeze(claim);
    if (!changed.ok()) return Fail(changed.error());
    const std::string hash = FrozenHash(claim);
    list.push_back({{"id", claim.id}, {"frozen", hash}, {"changed", *changed}});
    if (!common.json) fmt::print("{:<9} {} {}\n", claim.id, hash, *changed ? "frozen anew" : "unchanged");
  }
  if (common.json) Print({{"schema_version", 1}, {"claims", list}});
  return kFine;
}

int Rebut(const Common& common, const Options& options) {
  const auto claims = Select(options);
  if (!claims.ok()) return Fail(claims.error());
  auto store = Store::Open({.path = common.db_path});
  if (!store.ok()) return Fail(store.error());
  const auto stored = StoreRebuttal(*store, options.rebuttal, *claims, fmt::format("assay claims rebut {}", options.rebuttal));
  if (!stored.ok()) return Fail(stored.error());
  if (common.json)
    Print({{"schema_version", 1}, {"id", stored->id}, {"claim", stored->claim_id}, {"premise", stored->premise}, {"artifact", stored->artifact}});
  else
    fmt::print("{}: kept beside {}; it attacks {}\n", stored->id, stored->claim_id, stored->premise);
  return kFine;
}

}  // namespace

void Register_claims(CLI::App& app, const Common& common, int& exit_code) {
  app.require_subcommand(1);
  auto options = std::make_shared<Options>();
  app.add_option("--claims-dir", options->directory, "read claims from *.toml of this folder instead of the shipped ones");

  app.add_subcommand("list", "every claim in a line")->callback([&, options] { exit_code = List(common, *options); });

  auto* show = app.add_subcommand("show", "one claim: source, conditions, what it leaves unsaid, evidence for and against, verdict");
  show->add_option("ID", options->ids, "id of the claim")->required()->expected(1);
  show->callback([&, options] { exit_code = Show(common, *options); });

  auto* check = app.add_subcommand("check", "re-derive claims: the verdict at their origin and, with --usecase, for you");
  check->add_option("ID", options->ids, "ids; all when none is given");
  check->add_option("--usecase", options->use_case, "use case (TOML) for the second part of the verdict");
  std::vector<std::string> verdicts;
  for (int i = 0; i < kVerdictCount; ++i) verdicts.emplace_back(NameOf(static_cast<VerdictValue>(i)));
  check->add_option("--expect", options->expect, "exit 1 unless each named claim has this verdict at its origin")->check(CLI::IsMember(verdicts));
  check->callback([&, options] { exit_code = Check(common, *options); });

  app.add_subcommand("freeze", "write into each file of --claims-dir the hash of what its verdict hangs on")
      ->callback([&, options] { exit_code = Freeze(common, *options); });

  auto* rebut = app.add_subcommand("rebut", "keep a replication that attacks a premise of a claim beside it, in the store");
  rebut->add_option("FILE", options->rebuttal, "replication file (TOML; format: claims/README.md)")->required();
  rebut->callback([&, options] { exit_code = Rebut(common, *options); });
}

}  // namespace assay::cli
