#include "kernels/test_tables.h"

#include "kernels/dispatch.h"

#ifdef ASSAY_HAS_EMULATION
namespace assay::avx512_emulated {
extern const KernelTable kTable;
}
#endif

namespace assay::testing {

std::vector<const KernelTable*> TestTables() {
  std::vector<const KernelTable*> tables;
  for (const Backend backend : AvailableBackends()) tables.push_back(TableFor(backend).value());
#ifdef ASSAY_HAS_EMULATION
  tables.push_back(&avx512_emulated::kTable);
#endif
  return tables;
}

}  // namespace assay::testing
