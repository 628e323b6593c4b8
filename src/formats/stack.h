// A stack: which mechanism each layer of a model runs, as users write it: "5*sliding_window(1024)+1*gqa". The pattern
// repeats from the first layer and is cut at the last (docs/glossary.md: stack): over 32 layers that is 27 + 5. This
// folder does not know the mechanisms: ids and arguments are checked by whoever looks them up.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace assay::formats {

struct MechanismArgument {
  std::string name;  // empty: positional
  std::string text;  // as written: "1024", "0.5", "per_head"
  std::optional<double> number;
  friend bool operator==(const MechanismArgument&, const MechanismArgument&) = default;
};

// "mla(512,64)" or "quest(budget_pages=32)". Positional arguments come first.
struct MechanismCall {
  std::string id;
  std::vector<MechanismArgument> arguments;

  // The argument of that name, else the positional one at `position`; nullptr if neither is given.
  [[nodiscard]] const MechanismArgument* Find(std::string_view name, size_t position) const;
  [[nodiscard]] std::string ToString() const;
  friend bool operator==(const MechanismCall&, const MechanismCall&) = default;
};

struct StackTerm {
  int64_t count = 1;
  MechanismCall mechanism;
  friend bool operator==(const StackTerm&, const StackTerm&) = default;
};

struct Stack {
  std::vector<StackTerm> pattern;
  std::optional<MechanismCall> last;  // overrides the last layer

  [[nodiscard]] std::string ToString() const;  // parses back to the same pattern; `last` is not part of it
};

// Messages say at which character the text stops making sense. At most 1,000 bytes, 64 terms, 32 arguments, counts to
// 1,000.
Result<MechanismCall> ParseMechanismCall(std::string_view text);
Result<Stack> ParseStack(std::string_view text);

// One call a layer. Refuses a pattern longer than the model: its last terms would never run.
Result<std::vector<MechanismCall>> ExpandStack(const Stack& stack, int64_t layers);

struct LayerCount {
  MechanismCall mechanism;
  int64_t layers = 0;
};
// How many layers run each call, in order of first appearance.
std::vector<LayerCount> CountLayers(const std::vector<MechanismCall>& layers);

}  // namespace assay::formats
