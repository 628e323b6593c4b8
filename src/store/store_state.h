// What a Store holds, shared by store.cc and the files beside it (merge, export). Private to this folder.
#pragma once

#include <mutex>

#include "store/sqlite.h"
#include "store/store.h"

namespace assay {

struct Store::State {
  std::unique_ptr<sqlite::Database> database;
  // One connection serves all threads of the process: probes may store from a worker while the runner reads.
  std::recursive_mutex mutex;
};

std::string FactorsJson(std::vector<Factor> factors);  // sorted by name
Result<std::vector<Factor>> FactorsFromJson(std::string_view text);

}  // namespace assay
