#include "mechanisms/mechanism.h"

#include <fmt/format.h>

#include <cmath>

#include "formats/text.h"

namespace assay {
namespace {

std::string ParameterNames(const Mechanism& mechanism) {
  if (mechanism.parameters.empty()) return "it has none";
  std::string names = "it has ";
  for (size_t i = 0; i < mechanism.parameters.size(); ++i) {
    if (i > 0) names += ", ";
    names += mechanism.parameters[i].name;
  }
  return names;
}

Status CheckValue(const Mechanism& mechanism, const Parameter& parameter, double value) {
  // The negated form refuses NaN too.
  if (!(value >= parameter.low && value <= parameter.high)) {
    return BadInput(fmt::format("{}: {} is {:g}; it must be from {:g} to {:g}", mechanism.id, parameter.name, value, parameter.low, parameter.high));
  }
  if (parameter.integer && value != std::floor(value)) {
    return BadInput(fmt::format("{}: {} is {:g}; it must be a whole number", mechanism.id, parameter.name, value));
  }
  return Ok();
}

}  // namespace

ParameterSet ParameterSet::Defaults(const Mechanism& mechanism) {
  ParameterSet set;
  for (const Parameter& parameter : mechanism.parameters) set.values_.push_back({std::string(parameter.name), parameter.default_value});
  return set;
}

Result<ParameterSet> ParameterSet::Make(const Mechanism& mechanism, std::span<const double> positional,
                                        std::span<const ParameterValue> named) {
  ParameterSet set = Defaults(mechanism);
  if (positional.size() > set.values_.size()) {
    return BadInput(fmt::format("{}: {} positional parameters; {}", mechanism.id, positional.size(), ParameterNames(mechanism)));
  }
  for (size_t i = 0; i < positional.size(); ++i) {
    ASSAY_RETURN_IF_ERROR(CheckValue(mechanism, mechanism.parameters[i], positional[i]));
    set.values_[i].value = positional[i];
  }
  std::vector<bool> given(set.values_.size(), false);
  for (const ParameterValue& parameter : named) {
    size_t i = 0;
    while (i < set.values_.size() && set.values_[i].name != parameter.name) ++i;
    if (i == set.values_.size()) {
      return BadInput(fmt::format("{}: no parameter '{}'; {}", mechanism.id, formats::Printable(parameter.name), ParameterNames(mechanism)));
    }
    if (i < positional.size() || given[i]) return BadInput(fmt::format("{}: {} is given twice; keep one", mechanism.id, parameter.name));
    ASSAY_RETURN_IF_ERROR(CheckValue(mechanism, mechanism.parameters[i], parameter.value));
    set.values_[i].value = parameter.value;
    given[i] = true;
  }
  return set;
}

double ParameterSet::operator[](std::string_view name) const {
  for (const ParameterValue& value : values_) {
    if (value.name == name) return value.value;
  }
  ASSAY_CHECK(false, fmt::format("a mechanism asks for a parameter '{}' that it does not declare", name));
}

std::string ParameterSet::Canonical() const {
  std::string text;
  for (const ParameterValue& value : values_) text += fmt::format("{}{}={:g}", text.empty() ? "" : ",", value.name, value.value);
  return text;
}

Result<const Mechanism*> FindMechanism(std::string_view id) {
  std::vector<std::string_view> known;
  for (const Mechanism* mechanism : AllMechanisms()) {
    if (mechanism->id == id) return mechanism;
    known.push_back(mechanism->id);
  }
  return BadInput(fmt::format("no mechanism '{}'{}", formats::Printable(id), formats::DidYouMean(id, known)));
}

}  // namespace assay
