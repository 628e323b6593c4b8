// `assay explain ID`: how a number of the last audit came to be, and the command that repeats it.
#include <CLI/CLI.hpp>
#include <memory>

#include "advice/explain.h"
#include "cli/command.h"
#include "fmt/format.h"

namespace assay::cli {

void Register_explain(CLI::App& app, const Common& common, int& exit_code) {
  auto id = std::make_shared<std::string>();
  app.add_option("ID", *id, "a number's id, e.g. B.max_rate_per_second")->required();
  app.callback([&common, &exit_code, id] {
    const auto store = Store::Open({.path = common.db_path, .read_only = true});
    if (!store.ok()) {
      exit_code = Fail(store.error());
      return;
    }
    const auto explanation = Explain(*store, *id);
    if (!explanation.ok()) {
      exit_code = Fail(explanation.error());
      return;
    }
    fmt::print("{}\n", common.json ? ExplanationJson(*explanation) : ExplanationText(*explanation));
  });
}

}  // namespace assay::cli
