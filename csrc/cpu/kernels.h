// The table of kernels that each instruction set provides. Plain structs and pointers only: this header is included by
// units compiled for different instruction sets.
#pragma once

#include <cstdint>

namespace gsb {

struct KernelTable {
  const char* name;
};

extern const KernelTable kernels_baseline;
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;

}  // namespace gsb
