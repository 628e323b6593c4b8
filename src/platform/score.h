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
  std::string note;  // why everything was refused, if it was
  ErrorSummary model;
  ErrorSummary roofline;
};

Score ScoreTable(const Profile& profile, const MeasuredTable& table);
// The shipped profile that a table's file name asks for.
Result<Profile> ProfileForTable(const MeasuredTable& table);

}  // namespace assay::platform
