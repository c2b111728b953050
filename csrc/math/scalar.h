// The few functions that the formulas in csrc/math need besides + - * /, for plain float and double. A vector type that
// wants to use the formulas brings its own overloads (csrc/cpu/simd.h).
#pragma once

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

GSB_HD float select(bool condition, float a, float b) { return condition ? a : b; }
GSB_HD double select(bool condition, double a, double b) { return condition ? a : b; }

}  // namespace gsb
