// The few functions that the formulas in csrc/math need besides + - * /, for plain float and double. A vector type that
// wants to use the formulas brings its own overloads (csrc/cpu/simd.h).
#pragma once

#include <stdint.h>

#include "math/host_device.h"

namespace gsb {

GSB_HD float sqrt_of(float x) { return __builtin_sqrtf(x); }
GSB_HD double sqrt_of(double x) { return __builtin_sqrt(x); }

template <class T>
GSB_HD T min_of(T a, T b) {
  return b < a ? b : a;
}

template <class T>
GSB_HD T max_of(T a, T b) {
  return a < b ? b : a;
}

// a * b + c, rounded once. (Elsewhere nothing is contracted: host and device compute the same bits.)
GSB_HD float fma_of(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
GSB_HD float floor_of(float x) { return __builtin_floorf(x); }
GSB_HD float ceil_of(float x) { return __builtin_ceilf(x); }

// True where the value is neither NaN nor infinite.
GSB_HD bool is_finite(float x) { return x - x == 0.0f; }

GSB_HD int32_t bits_of(float x) {
  int32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  return bits;
}
GSB_HD float float_of(int32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}

GSB_HD float select(bool condition, float a, float b) { return condition ? a : b; }
GSB_HD double select(bool condition, double a, double b) { return condition ? a : b; }

}  // namespace gsb
