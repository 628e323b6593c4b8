// Cell keys: a digest over length-prefixed fields, so that no two different cells spell the same text.
#include "store/measurement.h"

#include <algorithm>

#include "fmt/format.h"
#include "store/sha256.h"

namespace assay {

std::string CellKey(const Subject& subject, std::vector<Factor> factors, std::string_view machine) {
  std::sort(factors.begin(), factors.end(),
            [](const Factor& a, const Factor& b) { return a.name != b.name ? a.name < b.name : a.value < b.value; });
  std::string text = "cell/1\n";
  const auto add = [&text](std::string_view field) { text += fmt::format("{}:{}\n", field.size(), field); };
  add(subject.mechanism);
  add(subject.parameters);
  add(subject.implementation);
  add(fmt::format("{}", subject.revision));
  add(subject.kernel_hash);
  for (const Factor& factor : factors) {
    add(factor.name);
    add(factor.value);
  }
  add(machine);
  return Sha256Hex(text).substr(0, 32);
}

}  // namespace assay
