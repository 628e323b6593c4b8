// The `assay` program: options every verb takes, the list of verbs, and exit codes. Verbs live in cmd_<verb>.cc; the build lists them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "cli/command.h"

namespace assay::cli {
#define ASSAY_VERB(name, help) void Register_##name(CLI::App&, const Common&, int&);
#include "cli/verbs.inc"
#undef ASSAY_VERB
}  // namespace assay::cli

namespace {

// CLI11 only says that a subcommand is required; a typing error deserves the word that was typed and the nearest verb.
void ExplainVerb(const CLI::App& app) {
  const std::vector<std::string> rest = app.remaining();
  const auto typed = std::find_if(rest.begin(), rest.end(), [](const std::string& word) { return !word.empty() && word[0] != '-'; });
  if (typed == rest.end()) {
    std::fprintf(stderr, "assay: %s; `assay --help` lists the verbs and the options\n",
                 rest.empty() ? "no verb given" : ("unknown option " + rest.front()).c_str());
    return;
  }
  const CLI::App* nearest = nullptr;
  size_t common_letters = 1;  // one shared letter is no resemblance
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string& name = verb->get_name();
    const size_t shared = std::mismatch(name.begin(), name.end(), typed->begin(), typed->end()).first - name.begin();
    if (shared > common_letters) nearest = verb, common_letters = shared;
  }
  std::fprintf(stderr, "assay: no verb named '%s'%s; `assay --help` lists them\n", typed->c_str(),
               nearest == nullptr ? "" : (", did you mean '" + nearest->get_name() + "'?").c_str());
}

// Output that never reached its file is a failure, even where every verb was content.
int Finish(int exit_code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return exit_code;
  std::fprintf(stderr, "assay: cannot write to standard output (is the disk full?)\n");
  return exit_code == assay::cli::kFine ? assay::cli::kUnfitEnvironment : exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace assay::cli;
  CLI::App app{"Assay: what attention mechanisms cost, where they break, and which claims about them hold for you.", "assay"};
  app.set_version_flag("--version", "assay " ASSAY_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Common common;
  app.add_flag("--json", common.json, "one JSON object on stdout instead of text");
  app.add_flag("--quiet,-q", common.quiet, "no progress on stderr");
  app.add_option("--db", common.db_path, "path of the store (SQLite); default: assay.db in the user's data directory");
  app.add_option("--seed", common.seed, "root of every random stream")->capture_default_str()->check(CLI::NonNegativeNumber);

  int exit_code = kFine;
#define ASSAY_VERB(name, help) Register_##name(*app.add_subcommand(#name, help), common, exit_code);
#include "cli/verbs.inc"
#undef ASSAY_VERB

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);
      return Finish(kFine);
    }
    const bool verb_at_fault = error.get_name() == "RequiredError" || error.get_name() == "ExtrasError";
    if (verb_at_fault && app.get_subcommands().empty()) {
      ExplainVerb(app);
    } else {
      app.exit(error);
    }
    return kUsage;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "assay: out of memory; use a smaller problem or give the process more\n");
    return kUnfitEnvironment;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "assay: a bug in Assay: %s\nPlease report it with the command that led here.\n", error.what());
    return kBugInAssay;
  }
  return Finish(exit_code);
}
