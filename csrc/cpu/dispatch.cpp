#include "cpu/dispatch.h"

#include <atomic>
#include <cstring>

namespace gsb {
namespace {

std::atomic<const KernelTable*> in_use{nullptr};

bool supported(const KernelTable& table) {
#ifdef GSB_X86
  if (&table == &kernels_avx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi");
  }
  if (&table == &kernels_avx2) {
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi");
  }
#endif
  return &table == &kernels_baseline;
}

// From best to most general.
const KernelTable* const kTables[] = {
#ifdef GSB_X86
    &kernels_avx512, &kernels_avx2,
#endif
    &kernels_baseline};

}  // namespace

bool select_kernels(const char* name) {
  const bool any = std::strcmp(name, "auto") == 0;
  for (const KernelTable* table : kTables) {
    if ((any || std::strcmp(name, table->name) == 0) && supported(*table)) {
      in_use.store(table, std::memory_order_release);
      return true;
    }
  }
  return false;
}

const KernelTable& kernels() {
  const KernelTable* table = in_use.load(std::memory_order_acquire);
  if (table == nullptr) {
    select_kernels("auto");
    table = in_use.load(std::memory_order_acquire);
  }
  return *table;
}

}  // namespace gsb
