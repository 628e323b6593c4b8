// A verb of the command line. Each cmd_<verb>.cc parses its options and calls the libraries; main.cc lists the verbs.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace assay {
struct Error;
}

namespace assay::cli {

// Options that every verb takes.
struct Common {
  bool json = false;                  // --json: one JSON object on stdout, nothing else
  bool quiet = false;                 // --quiet: no progress on stderr
  std::string db_path;                // --db: the store; empty for the default
  unsigned long long seed = 20260222; // --seed: the root of every random stream
};

enum ExitCode { kFine = 0, kDoesNotHold = 1, kUsage = 2, kUnfitEnvironment = 3, kBugInAssay = 4 };

// Adds the verb's options to `app`, whose callback stores its exit code in `exit_code`. One such function per cmd_<verb>.cc.
using RegisterVerb = void (*)(CLI::App& app, const Common& common, int& exit_code);

// Prints "assay: <message>" to stderr and gives the exit code of the error's kind; every verb ends its failures with it.
int Fail(const Error& error);

}  // namespace assay::cli
