// The `assay` program: options every verb takes, the list of verbs, and exit codes. Verbs live in cmd_<verb>.cc; the build lists them.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>

#include "cli/command.h"

namespace assay::cli {
#define ASSAY_VERB(name, help) void Register_##name(CLI::App&, const Common&, int&);
#include "cli/verbs.inc"
#undef ASSAY_VERB
}  // namespace assay::cli

int main(int argc, char** argv) {
  using namespace assay::cli;
  CLI::App app{"Assay: what attention mechanisms cost, where they break, and which claims about them hold for you."};
  app.set_version_flag("--version", "assay " ASSAY_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  Common common;
  app.add_flag("--json", common.json, "one JSON object on stdout instead of text");
  app.add_flag("--quiet,-q", common.quiet, "no progress on stderr");
  app.add_option("--db", common.db_path, "path of the store (SQLite); default: assay.db in the user's data directory");
  app.add_option("--seed", common.seed, "root of every random stream")->capture_default_str();

  int exit_code = kFine;
#define ASSAY_VERB(name, help) Register_##name(*app.add_subcommand(#name, help), common, exit_code);
#include "cli/verbs.inc"
#undef ASSAY_VERB

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kFine : kUsage;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "assay: out of memory; use a smaller problem or give the process more\n");
    return kUnfitEnvironment;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "assay: a bug in Assay: %s\nPlease report it with the command that led here.\n", error.what());
    return kBugInAssay;
  }
  return exit_code;
}
