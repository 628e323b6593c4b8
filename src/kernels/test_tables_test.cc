#include "kernels/test_tables.h"

#include "kernels/dispatch.h"

namespace assay::testing {

std::vector<const KernelTable*> TestTables() {
  std::vector<const KernelTable*> tables;
  for (const Backend backend : AvailableBackends()) tables.push_back(TableFor(backend).value());
  return tables;
}

}  // namespace assay::testing
