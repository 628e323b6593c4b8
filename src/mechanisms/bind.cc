// Positional arguments first, then named ones; the mechanism itself checks names and ranges.
#include "mechanisms/bind.h"

#include <vector>

#include <fmt/format.h>

namespace assay {

Result<ParameterSet> Bind(const Mechanism& mechanism, const formats::MechanismCall& call) {
  std::vector<double> positional;
  std::vector<ParameterValue> named;
  for (const formats::MechanismArgument& argument : call.arguments) {
    if (!argument.number) return BadInput(fmt::format("{}: argument '{}' is not a number", call.ToString(), argument.text));
    if (argument.name.empty()) {
      positional.push_back(*argument.number);
    } else {
      named.push_back({argument.name, *argument.number});
    }
  }
  return ParameterSet::Make(mechanism, positional, named);
}

}  // namespace assay
