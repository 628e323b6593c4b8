// The `assay` program: options every verb takes, the list of verbs, and exit codes. Verbs live in cmd_<verb>.cc; the build lists them.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#include "cli/command.h"
#include "fmt/format.h"
#include "kernels/dispatch.h"
#include "store/nearest.h"

namespace assay::cli {
#define ASSAY_VERB(name, help) void Register_##name(CLI::App&, const Common&, int&);
#include "cli/verbs.inc"
#undef ASSAY_VERB
}  // namespace assay::cli

namespace {

// The verb, or the command of a verb, that was being read when parsing stopped.
const CLI::App& Deepest(const CLI::App& app) {
  const CLI::App* at = &app;
  while (!at->get_subcommands().empty()) at = at->get_subcommands().front();
  return *at;
}

// CLI11 only says that a subcommand is required; a typing error deserves the word that was typed and the nearest known one.
// Words that nobody took are kept by the program, not by the verb (fallthrough).
void ExplainMissingVerb(const CLI::App& app, const CLI::App& at, const std::string& path) {
  const char* what = at.get_parent() == nullptr ? "verb" : "command";
  const std::vector<std::string> rest = app.remaining(true);
  const auto typed = std::find_if(rest.begin(), rest.end(), [](const std::string& word) { return !word.empty() && word[0] != '-'; });
  std::string fault = rest.empty() ? fmt::format("no {} given", what) : fmt::format("unknown option {}", rest.front());
  if (typed != rest.end()) {
    std::vector<std::string> names;
    for (const CLI::App* verb : at.get_subcommands([](const CLI::App*) { return true; })) names.push_back(verb->get_name());
    const std::string nearest = assay::NearestName(*typed, names);
    fault = fmt::format("no {} named '{}'{}", what, *typed, nearest.empty() ? "" : fmt::format(", did you mean '{}'?", nearest));
  }
  fmt::print(stderr, "{}: {}; `{} --help` lists them\n", path, fault, path);
}

int ExplainUsage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& at = Deepest(app);
  std::string path = at.get_name();
  for (const CLI::App* up = at.get_parent(); up != nullptr; up = up->get_parent()) path = up->get_name() + " " + path;
  const bool wants_command = at.get_require_subcommand_min() > 0;
  if (wants_command && (error.get_name() == "RequiredError" || error.get_name() == "ExtrasError")) {
    ExplainMissingVerb(app, at, path);
  } else {
    fmt::print(stderr, "{}: {}; `{} --help` shows the options\n", path, error.what(), path);
  }
  return assay::cli::kUsage;
}

// A seed that wraps around or stops at the largest number would name another stream than the one that was typed.
unsigned long long ParseSeed(const std::string& text) {
  unsigned long long seed = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (code != std::errc{} || end != text.data() + text.size()) {
    throw CLI::ValidationError("--seed", fmt::format("'{}' is no whole number from 0 to {}", text, std::numeric_limits<unsigned long long>::max()));
  }
  return seed;
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
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is then a write that fails, with a message
  CLI::App app{"Assay: what attention mechanisms cost, where they break, and which claims about them hold for you.", "assay"};
  app.set_version_flag("--version", "assay " ASSAY_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Common common;
  app.add_flag("--json", common.json, "one JSON object on stdout instead of text");
  app.add_flag("--quiet,-q", common.quiet, "no progress on stderr");
  app.add_option("--db", common.db_path, "path of the store (SQLite); default: assay.db in the user's data directory")
      ->check([](const std::string& path) { return std::string(path.empty() ? "an empty path; leave --db out for the default store" : ""); }, "");
  app.add_option_function<std::string>("--seed", [&](const std::string& text) { common.seed = ParseSeed(text); }, "root of every random stream")
      ->type_name("UINT")
      ->default_str(std::to_string(common.seed));

  int exit_code = kFine;
#define ASSAY_VERB(name, help) Register_##name(*app.add_subcommand(#name, help), common, exit_code);
#include "cli/verbs.inc"
#undef ASSAY_VERB

  // A backend that nobody can run is refused by every verb: one that happens not to reach a kernel would pass as if it had been forced.
  app.parse_complete_callback([] {
    if (const auto table = assay::TableFor(assay::Backend::kAuto); !table.ok()) {
      throw CLI::ValidationError("ASSAY_BACKEND", table.error().message);
    }
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);
      return Finish(kFine);
    }
    return ExplainUsage(app, error);
  } catch (const std::system_error& error) {
    std::fprintf(stderr, "assay: %s\n", error.what());  // output that has nowhere to go: a full disk, a closed pipe
    return kUnfitEnvironment;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "assay: out of memory; use a smaller problem or give the process more\n");
    return kUnfitEnvironment;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "assay: a bug in Assay: %s\nPlease report it with the command that led here.\n", error.what());
    return kBugInAssay;
  }
  return Finish(exit_code);
}
