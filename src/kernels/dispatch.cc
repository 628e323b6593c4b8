#include "kernels/dispatch.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>

namespace assay {
namespace {

struct Entry {
  Backend backend;
  const KernelTable* table;
};

#if defined(__x86_64__)
bool HasAvx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
bool HasAvx512() {
  __builtin_cpu_init();
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}
#endif

struct Present {
  std::array<Backend, 3> backends{};
  std::array<const KernelTable*, 3> tables{};
  size_t count = 0;
};

const Present& Backends() {
  static const Present present = [] {
    Present found;
    const auto add = [&found](Backend backend, const KernelTable& table) {
      found.backends[found.count] = backend;
      found.tables[found.count++] = &table;
    };
    add(Backend::kGeneric, generic::kTable);
#if defined(__x86_64__)
    if (HasAvx2()) add(Backend::kAvx2, avx2::kTable);
    if (HasAvx512()) add(Backend::kAvx512, avx512::kTable);
#endif
    return found;
  }();
  return present;
}

}  // namespace

std::string_view NameOf(Backend backend) {
  switch (backend) {
    case Backend::kAuto: return "auto";
    case Backend::kGeneric: return "generic";
    case Backend::kAvx2: return "avx2";
    case Backend::kAvx512: return "avx512";
  }
  ASSAY_CHECK(false, "unknown backend");
}

std::span<const Backend> AvailableBackends() { return {Backends().backends.data(), Backends().count}; }

Result<const KernelTable*> TableFor(Backend backend) {
  const Present& present = Backends();
  std::string_view wanted = NameOf(backend);
  if (backend == Backend::kAuto) {
    const char* forced = std::getenv("ASSAY_BACKEND");
    if (forced == nullptr || *forced == '\0' || std::string_view(forced) == "auto") return present.tables[present.count - 1];
    wanted = forced;
  }
  std::string known;
  for (size_t i = 0; i < present.count; ++i) {
    if (NameOf(present.backends[i]) == wanted) return present.tables[i];
    known += fmt::format("{}{}", i == 0 ? "" : ", ", NameOf(present.backends[i]));
  }
  return Unsupported(fmt::format("SIMD backend '{}' is not available on this CPU; it has: {}", wanted, known));
}

}  // namespace assay
