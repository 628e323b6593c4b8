// The tables of a store and the migrations between versions of them. A version, once released, never changes: add the next one.
#pragma once

#include "core/result.h"
#include "store/sqlite.h"

namespace assay {

constexpr int kSchemaVersion = 1;
constexpr int kApplicationId = 0x41535359;  // "ASSY", so that another program's SQLite file is not taken for a store

// Brings the file to kSchemaVersion, all or nothing. Refuses files that are not stores and stores of a newer Assay.
Status Migrate(sqlite::Database& database);
// The same refusals for a file opened for reading only, plus: an older version must be migrated first.
Status CheckVersion(sqlite::Database& database);

}  // namespace assay
