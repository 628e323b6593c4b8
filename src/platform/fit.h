// Fitting a profile from measured tables, and its honest error: 20 % of the rows, chosen by a hash of the row, are held out once for the
// reported error; intervals are conformal, from ten-fold cross-validation on the rows fitted on.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "platform/measured_table.h"
#include "platform/profile.h"

namespace assay::platform {

// One section from rows of one kernel (same family, dtypes, window, variant), with its held-out error.
Section FitSection(std::span<const MeasuredRow> rows, const Gpu& gpu);

struct FitNotes {
  std::vector<std::string> skipped;  // tables or sections that could not be fitted, with the reason
};
// Whose tables they are; a table does not say it.
struct TableOrigin {
  std::string source = "not stated";
  std::string licence = "not stated";
};
// All tables must be of one GPU, engine and version (collective tables of the same GPU are taken in too).
Result<Profile> FitProfile(std::span<const MeasuredTable> tables, const TableOrigin& origin, FitNotes* notes);

// True for the fifth of rows that is held out.
bool IsHeldOut(const MeasuredRow& row);

ErrorSummary Summarise(std::span<const double> predicted_over_measured, std::span<const double> interval_low,
                       std::span<const double> interval_high);

}  // namespace assay::platform
