// The rate of conditional Gaussians. Plain structs: this header is included by units compiled for different instruction
// sets.
#pragma once

#include <cstdint>

namespace gsb {

// [count] each.
struct GaussianBits {
  const float *x, *mean, *scale, *step;
  int64_t count;
  double log_floor;  // of the least mass; minus infinity for none
  int threads;
};

struct GaussianBitsGradients {  // each may be null
  float *x, *mean, *scale, *step;
};

}  // namespace gsb
