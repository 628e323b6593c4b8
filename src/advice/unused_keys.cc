// One table; whoever begins to use a key takes its line out.
#include "advice/unused_keys.h"

#include <string_view>

#include "advice/batch_bound.h"
#include "serving/deployment.h"

namespace assay {
namespace {

struct Key {
  std::string_view name;
  bool (*given)(const formats::UseCase&);
};

constexpr Key kUnused[] = {
    {"workload.shared_prefix", [](const formats::UseCase& u) { return u.workload.shared_prefix.has_value(); }},
    // An audit sizes the replicas itself; `assay simulate` takes it.
    {"platform.parallel.data", [](const formats::UseCase& u) { return u.platform.parallel.data > 1; }},
    {"engine.policy.cuda_graphs", [](const formats::UseCase& u) { return u.engine.policy.cuda_graphs.has_value(); }},
    {"engine.policy.speculation", [](const formats::UseCase& u) { return u.engine.policy.speculation.has_value(); }},
    {"effort.convert_usd", [](const formats::UseCase& u) { return u.effort.convert_usd.has_value(); }},
    {"effort.pretrain_usd", [](const formats::UseCase& u) { return u.effort.pretrain_usd.has_value(); }},
    {"task.text_path", [](const formats::UseCase& u) { return u.task.text_path.has_value(); }},
    {"task.questions_path", [](const formats::UseCase& u) { return u.task.questions_path.has_value(); }},
    {"task.grader", [](const formats::UseCase& u) { return u.task.grader.has_value(); }},
    {"task.recall_keys", [](const formats::UseCase& u) { return u.task.recall_keys.has_value(); }},
    {"task.recall_distance_tokens", [](const formats::UseCase& u) { return u.task.recall_distance_tokens.has_value(); }},
    {"task.state_tracking", [](const formats::UseCase& u) { return u.task.state_tracking.has_value(); }},
};

}  // namespace

std::vector<std::string> UnusedKeys(const formats::UseCase& usecase) {
  std::vector<std::string> keys;
  for (const formats::Assumption& assumption : usecase.assume) {
    const bool used = usecase.platform.is_this_cpu ? BatchUsesAssumption(assumption.name) : serving::UsesAssumption(assumption.name);
    if (!used) keys.push_back("assume." + assumption.name);
  }
  for (const Key& key : kUnused) {
    if (key.given(usecase)) keys.emplace_back(key.name);
  }
  return keys;
}

}  // namespace assay
