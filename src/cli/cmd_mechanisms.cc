// `assay mechanisms [ID]`: what a stack may name, read from the descriptors: parameters with ranges, what is kept in memory, what moving takes.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "mechanisms/mechanism.h"

namespace assay::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string_view NameOfState(StateKind state) {
  switch (state) {
    case StateKind::kGrowing: return "growing";
    case StateKind::kWindowed: return "windowed";
    case StateKind::kFixed: return "fixed";
    case StateKind::kSelected: return "selected";
  }
  return "unknown";
}

Json ToJson(const Mechanism& mechanism) {
  Json parameters = Json::array();
  for (const Parameter& parameter : mechanism.parameters)
    parameters.push_back({{"name", parameter.name}, {"default", parameter.default_value}, {"low", parameter.low}, {"high", parameter.high},
                          {"integer", parameter.integer}, {"meaning", parameter.meaning},
                          {"seldom_reported", parameter.reported == Parameter::Reported::kSeldom}});
  Json kernels = Json::array();
  for (const Kernel& kernel : mechanism.kernels) kernels.push_back(kernel.id);
  Json risks = Json::array();
  for (const FeatureRisk& risk : mechanism.risks)
    risks.push_back({{"feature", risk.feature}, {"what", risk.what}, {"date", risk.date}, {"url", risk.url}});
  return {{"id", mechanism.id}, {"revision", mechanism.revision}, {"title", mechanism.title}, {"summary", mechanism.summary},
          {"formula", mechanism.formula}, {"citation", mechanism.citation}, {"state", NameOfState(mechanism.traits.state)},
          {"availability", NameOf(mechanism.availability)}, {"parameters", parameters}, {"kernels", kernels}, {"risks", risks}};
}

void PrintOne(const Mechanism& mechanism) {
  fmt::print("{}: {}\n  {}\n  {}\n  {}\n", mechanism.id, mechanism.title, mechanism.summary, mechanism.formula, mechanism.citation);
  fmt::print("  state: {}; switching takes: {}\n", NameOfState(mechanism.traits.state), NameOf(mechanism.availability));
  for (const Parameter& parameter : mechanism.parameters)
    fmt::print("  {:<22} {} in [{}, {}]: {}\n", parameter.name, parameter.default_value, parameter.low, parameter.high, parameter.meaning);
  for (const FeatureRisk& risk : mechanism.risks) fmt::print("  {} ({}): {} {}\n", risk.feature, risk.date, risk.what, risk.url);
}

int Run(const Common& common, const std::string& id) {
  std::vector<const Mechanism*> shown;
  if (id.empty()) {
    shown.assign(AllMechanisms().begin(), AllMechanisms().end());
  } else {
    const auto found = FindMechanism(id);
    if (!found.ok()) return Fail(found.error());
    shown.push_back(*found);
  }
  if (common.json) {
    Json list = Json::array();
    for (const Mechanism* mechanism : shown) list.push_back(ToJson(*mechanism));
    fmt::print("{}\n", Json{{"schema_version", 1}, {"mechanisms", list}}.dump());
  } else if (!id.empty()) {
    PrintOne(*shown.front());
  } else {
    for (const Mechanism* mechanism : shown) fmt::print("{:<20} {}\n", mechanism->id, mechanism->title);
  }
  return kFine;
}

}  // namespace

void Register_mechanisms(CLI::App& app, const Common& common, int& exit_code) {
  auto id = std::make_shared<std::string>();
  app.add_option("ID", *id, "one mechanism in full; all of them, a line each, where absent");
  app.callback([&common, &exit_code, id] { exit_code = Run(common, *id); });
}

}  // namespace assay::cli
