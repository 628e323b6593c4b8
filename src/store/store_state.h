// What a Store holds, shared by store.cc and the files beside it (merge, export). Private to this folder.
#pragma once

#include <mutex>
#include <string>
#include <string_view>

#include "store/sqlite.h"
#include "store/store.h"

namespace assay {

// Which runs this process works on: one locked byte a run in the file PATH-runs, beside the store. The kernel drops a lock with its
// process, however that ends, so a run whose lock can be had is nobody's.
class RunLocks {
 public:
  RunLocks() = default;
  RunLocks(const RunLocks&) = delete;
  RunLocks& operator=(const RunLocks&) = delete;
  ~RunLocks();
  // False when another process holds the run. Where no file can be made or locked, nobody is kept out.
  bool Take(const std::string& store_path, std::string_view run_id);
  void Release(std::string_view run_id);

 private:
  int file_ = -1;
};

struct Store::State {
  std::unique_ptr<sqlite::Database> database;
  // One connection serves all threads of the process: probes may store from a worker while the runner reads.
  std::recursive_mutex mutex;
  RunLocks runs;
};

std::string FactorsJson(std::vector<Factor> factors);  // sorted by name
Result<std::vector<Factor>> FactorsFromJson(std::string_view text);

}  // namespace assay
