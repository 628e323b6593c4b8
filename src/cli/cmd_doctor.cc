// assay doctor: what this machine can do and whether it is fit to measure. Exit 3 with the remedy if it is not.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "machine/doctor.h"

namespace assay::cli {

void Register_doctor(CLI::App& app, const Common& common, int& exit_code) {
  app.callback([&common, &exit_code] {
    if (!common.quiet && isatty(STDERR_FILENO) != 0)
      std::fprintf(stderr, "measuring ceilings and noise, about two seconds ...\n");
    const Result<machine::DoctorReport> report = machine::RunDoctor({.seed = common.seed});
    if (!report.ok()) {
      exit_code = Fail(report.error());
      return;
    }
    if (common.json) {
      std::printf("%s\n", machine::ToJson(*report).dump(2).c_str());
    } else {
      const char* no_colour = std::getenv("NO_COLOR");
      const bool colour = isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0');
      std::fputs(machine::ToText(*report, colour).c_str(), stdout);
    }
    exit_code = report->fit() ? kFine : kUnfitEnvironment;
  });
}

}  // namespace assay::cli
