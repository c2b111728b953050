// The table of kernels that each instruction set provides. Plain structs and pointers only: this header is included by
// units compiled for different instruction sets.
#pragma once

#include <cstdint>

#include "cpu/adam.h"
#include "cpu/image.h"

namespace gsb {

struct KernelTable {
  const char* name;
  void (*image_loss)(const ImageLoss& task);
  void (*adam_step)(const AdamStep& step);
};

extern const KernelTable kernels_baseline;
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;

}  // namespace gsb
