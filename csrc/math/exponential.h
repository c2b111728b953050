// Powers and logarithms to base 2 of single floats; csrc/cpu/simd.h evaluates the same polynomials on vectors, to the
// same bits.
#pragma once

#include "math/alpha.h"
#include "math/scalar.h"

namespace gsb {

// 2^e for e in [-126, 127], relative error 2e-7: a minimax polynomial of degree 5 on [0, 1) by the Remez algorithm.
GSB_HD float exp2_of(float e) {
  const float whole = floor_of(e), f = e - whole;
  float p = fma_of(1.877576651e-03f, f, 8.989340199e-03f);
  p = fma_of(p, f, 5.582631791e-02f);
  p = fma_of(p, f, 2.401536171e-01f);
  p = fma_of(p, f, 6.931530732e-01f);
  p = fma_of(p, f, 9.999999251e-01f);
  return p * float_of((int32_t(whole) + 127) << 23);
}

// log2 of positive normal numbers, error below 2e-7: the exponent, plus a series for the mantissa m in [0.75, 1.5) in
// t = (m - 1) / (m + 1), with log2(m) = 2 log2(e) artanh(t).
GSB_HD float log2_of(float x) {
  const int32_t raw = bits_of(x);
  const int32_t exponent = (raw >> 23) - 127;
  float m = float_of((raw & 0x7fffff) | 0x3f800000);
  float e = float(exponent);
  if (m >= 1.5f) {
    m = m * 0.5f;
    e = e + 1.0f;
  }
  const float t = (m - 1.0f) / (m + 1.0f), t2 = t * t;
  float p = 2.0f / 9.0f;
  p = fma_of(p, t2, 2.0f / 7.0f);
  p = fma_of(p, t2, 2.0f / 5.0f);
  p = fma_of(p, t2, 2.0f / 3.0f);
  p = fma_of(p, t2, 2.0f);
  return fma_of(p * t, kLog2E, e);
}

}  // namespace gsb
