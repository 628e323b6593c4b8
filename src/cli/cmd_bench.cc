// `assay bench`: our kernels beside this machine's ceiling, and beside other projects' with --peers. The table on stdout, progress on stderr.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "cli/command.h"
#include "fmt/format.h"
#include "formats/text.h"
#include "probes/bench/bench.h"
#include "report/bench_report.h"
#include "study/runner.h"

namespace assay::cli {
namespace {

struct Options {
  BenchOptions bench;
  bool peers = false;
  std::string html;
  std::string peers_at = ASSAY_PEERS_DIR;
};

}  // namespace

void Register_bench(CLI::App& app, const Common& common, int& exit_code) {
  auto options = std::make_shared<Options>();
  BenchOptions& bench = options->bench;
  app.add_option("--filter", bench.filter, "only rows with this text in their name");
  app.add_option("--threads", bench.threads, "0: every processor this process may use")->capture_default_str();
  app.add_option("--rounds", bench.rounds, "interleaved rounds of kernel, peers and ceiling a row")->capture_default_str();
  app.add_option("--html", options->html, "also write a page with the tables and rooflines to this file");
  app.add_flag("--peers", options->peers, "also time PyTorch and ONNX Runtime on the same inputs, in the same rounds");
  app.add_option("--peers-at", options->peers_at, "virtual environment that has them; default: the one that ./dev setup --peers makes");
  app.add_option("--peer-timeout", bench.peer_timeout_s, "seconds that a peer may take for one answer")->capture_default_str()->check(CLI::PositiveNumber);
  app.callback([options, &common, &exit_code] {
    const StopOnSignal stop_on_signal;
    BenchOptions& run = options->bench;
    run.seed = common.seed;
    run.stop = [] { return StopRequested(); };
    if (options->peers) run.peers_python = options->peers_at + "/bin/python";
    if (!common.quiet) run.progress = [](std::string_view row) { fmt::print(stderr, "{} ...\n", row); };
    const Result<BenchReport> report = RunBench(run);
    if (!report.ok()) {
      exit_code = Fail(report.error());
      return;
    }
    fmt::print("{}", common.json ? BenchJson(*report) + "\n" : BenchTable(*report));
    if (!options->html.empty()) {
      if (const Status written = formats::WriteFile(options->html, BenchHtml(*report)); !written.ok()) {
        exit_code = Fail(EnvironmentError(written.error().message + "; choose another place with --html"));
        return;
      }
    }
    exit_code = report->stopped ? kStoppedExitCode : report->rows.empty() ? kUnfitEnvironment : kFine;
  });
}

}  // namespace assay::cli
