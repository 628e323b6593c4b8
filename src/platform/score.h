// Scoring a profile on a measured table: error inside coverage, refusals counted, the interval's coverage and width, beside the
// two-parameter roofline on the same rows.
#pragma once

#include <string>
#include <vector>

#include "platform/fit.h"
#include "platform/measured_table.h"
#include "platform/profile.h"

namespace assay::platform {

struct Score {
  std::string profile;
  std::string table;
  int rows = 0;
  int in_coverage = 0;
  int refused = 0;   // no section, or outside the section's coverage
  int zero_rows = 0; // latency 0, a failed measurement: left out of all counts
  bool seen = false; // the profile was fitted on a table of this name: unless these are other rows, the error is not a held-out one
  std::string note;  // why everything was refused, if it was
  ErrorSummary model;
  ErrorSummary roofline;
};

Score ScoreTable(const Profile& profile, const MeasuredTable& table);
// The shipped profile that a table's file name asks for.
Result<Profile> ProfileForTable(const MeasuredTable& table);

}  // namespace assay::platform
