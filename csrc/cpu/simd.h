// Vectors of GSB_LANES floats for the instruction set of this unit: 4 (any architecture), 8 (AVX2) or 16 (AVX-512).
// Lanes behaves like a float in the formulas of csrc/math; comparisons give a Mask, used with select and keep.
//
// Included once, inside no namespace, by isa_unit.inc. Nothing here may become an out-of-line symbol that another unit
// could pick up, hence the namespace GSB_ISA and always_inline throughout.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if GSB_LANES > 4
#include <immintrin.h>
#endif

#include "math/alpha.h"

#define GSB_INLINE inline __attribute__((always_inline))

namespace gsb {
namespace GSB_ISA {

constexpr int kLanes = GSB_LANES;

typedef float FloatVector __attribute__((vector_size(4 * GSB_LANES), may_alias));
typedef int32_t IntVector __attribute__((vector_size(4 * GSB_LANES), may_alias));
typedef float UnalignedVector __attribute__((vector_size(4 * GSB_LANES), aligned(4), may_alias));

// A yes or no for each lane.
struct Mask {
#if GSB_LANES == 16
  __mmask16 m;
#else
  IntVector m;  // all bits set or none
#endif
};

#if GSB_LANES == 16
GSB_INLINE Mask operator&(Mask a, Mask b) { return {__mmask16(a.m & b.m)}; }
GSB_INLINE Mask operator|(Mask a, Mask b) { return {__mmask16(a.m | b.m)}; }
GSB_INLINE unsigned bits(Mask a) { return a.m; }
GSB_INLINE bool any(Mask a) { return a.m != 0; }
#else
GSB_INLINE Mask operator&(Mask a, Mask b) { return {a.m & b.m}; }
GSB_INLINE Mask operator|(Mask a, Mask b) { return {a.m | b.m}; }
#if GSB_LANES == 8
GSB_INLINE unsigned bits(Mask a) { return unsigned(_mm256_movemask_ps((__m256)a.m)); }
GSB_INLINE bool any(Mask a) { return !_mm256_testz_si256((__m256i)a.m, (__m256i)a.m); }
#else
GSB_INLINE unsigned bits(Mask a) {
  const IntVector bit = {1, 2, 4, 8};
  const IntVector set = a.m & bit;
  return unsigned(set[0] | set[1] | set[2] | set[3]);
}
GSB_INLINE bool any(Mask a) { return bits(a) != 0; }
#endif
#endif
GSB_INLINE bool none(Mask a) { return !any(a); }

struct Lanes {
  FloatVector v;

  Lanes() = default;
  GSB_INLINE Lanes(FloatVector vector) : v(vector) {}
  GSB_INLINE explicit Lanes(float value) : v(value - FloatVector{}) {}  // x - 0 is x: a broadcast, also of -0

  static GSB_INLINE Lanes load(const float* p) { return *reinterpret_cast<const FloatVector*>(p); }
  static GSB_INLINE Lanes load_unaligned(const float* p) {
    return FloatVector(*reinterpret_cast<const UnalignedVector*>(p));
  }
  GSB_INLINE void store(float* p) const { *reinterpret_cast<FloatVector*>(p) = v; }
  GSB_INLINE void store_unaligned(float* p) const { *reinterpret_cast<UnalignedVector*>(p) = v; }
};

GSB_INLINE Lanes operator+(Lanes a, Lanes b) { return a.v + b.v; }
GSB_INLINE Lanes operator-(Lanes a, Lanes b) { return a.v - b.v; }
GSB_INLINE Lanes operator*(Lanes a, Lanes b) { return a.v * b.v; }
GSB_INLINE Lanes operator/(Lanes a, Lanes b) { return a.v / b.v; }
GSB_INLINE Lanes operator-(Lanes a) { return -a.v; }

#if GSB_LANES == 16

GSB_INLINE Mask operator<(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
GSB_INLINE Mask operator>(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ)}; }
GSB_INLINE Mask operator>=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ)}; }
GSB_INLINE Mask operator<=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
GSB_INLINE Mask operator!=(Lanes a, Lanes b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_NEQ_UQ)}; }
// a where the mask is set, b elsewhere.
GSB_INLINE Lanes select(Mask m, Lanes a, Lanes b) { return FloatVector(_mm512_mask_mov_ps(b.v, m.m, a.v)); }
// a where the mask is set, 0 elsewhere.
GSB_INLINE Lanes keep(Mask m, Lanes a) { return FloatVector(_mm512_maskz_mov_ps(m.m, a.v)); }
GSB_INLINE Lanes min_of(Lanes a, Lanes b) { return FloatVector(_mm512_min_ps(a.v, b.v)); }
GSB_INLINE Lanes max_of(Lanes a, Lanes b) { return FloatVector(_mm512_max_ps(a.v, b.v)); }
GSB_INLINE Lanes sqrt_of(Lanes a) { return FloatVector(_mm512_sqrt_ps(a.v)); }
GSB_INLINE Lanes floor_of(Lanes a) { return FloatVector(_mm512_roundscale_ps(a.v, 0x09)); }
GSB_INLINE Lanes ceil_of(Lanes a) { return FloatVector(_mm512_roundscale_ps(a.v, 0x0a)); }
// a * b + c and c - a * b, rounded once.
GSB_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return FloatVector(_mm512_fmadd_ps(a.v, b.v, c.v)); }
GSB_INLINE Lanes fnma(Lanes a, Lanes b, Lanes c) { return FloatVector(_mm512_fnmadd_ps(a.v, b.v, c.v)); }
GSB_INLINE IntVector to_int(Lanes a) { return (IntVector)_mm512_cvttps_epi32(a.v); }
GSB_INLINE Lanes gather(const float* base, const int32_t* index) {
  return FloatVector(_mm512_i32gather_ps(_mm512_loadu_si512(index), base, 4));
}
GSB_INLINE void stream(float* p, Lanes a) { _mm512_stream_ps(p, a.v); }

// 2^e for e >= -126, relative error 2e-7.
GSB_INLINE Lanes fraction_of(Lanes e) { return FloatVector(_mm512_reduce_ps(e.v, 0x09)); }
GSB_INLINE Lanes scale_by_power(Lanes p, Lanes e) { return FloatVector(_mm512_scalef_ps(p.v, e.v)); }

#elif GSB_LANES == 8

GSB_INLINE Mask operator<(Lanes a, Lanes b) { return {(IntVector)_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
GSB_INLINE Mask operator>(Lanes a, Lanes b) { return {(IntVector)_mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ)}; }
GSB_INLINE Mask operator>=(Lanes a, Lanes b) { return {(IntVector)_mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ)}; }
GSB_INLINE Mask operator<=(Lanes a, Lanes b) { return {(IntVector)_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
GSB_INLINE Mask operator!=(Lanes a, Lanes b) { return {(IntVector)_mm256_cmp_ps(a.v, b.v, _CMP_NEQ_UQ)}; }
GSB_INLINE Lanes select(Mask m, Lanes a, Lanes b) { return FloatVector(_mm256_blendv_ps(b.v, a.v, (__m256)m.m)); }
GSB_INLINE Lanes keep(Mask m, Lanes a) { return FloatVector(_mm256_and_ps(a.v, (__m256)m.m)); }
GSB_INLINE Lanes min_of(Lanes a, Lanes b) { return FloatVector(_mm256_min_ps(a.v, b.v)); }
GSB_INLINE Lanes max_of(Lanes a, Lanes b) { return FloatVector(_mm256_max_ps(a.v, b.v)); }
GSB_INLINE Lanes sqrt_of(Lanes a) { return FloatVector(_mm256_sqrt_ps(a.v)); }
GSB_INLINE Lanes floor_of(Lanes a) { return FloatVector(_mm256_floor_ps(a.v)); }
GSB_INLINE Lanes ceil_of(Lanes a) { return FloatVector(_mm256_ceil_ps(a.v)); }
GSB_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return FloatVector(_mm256_fmadd_ps(a.v, b.v, c.v)); }
GSB_INLINE Lanes fnma(Lanes a, Lanes b, Lanes c) { return FloatVector(_mm256_fnmadd_ps(a.v, b.v, c.v)); }
GSB_INLINE IntVector to_int(Lanes a) { return (IntVector)_mm256_cvttps_epi32(a.v); }
GSB_INLINE Lanes gather(const float* base, const int32_t* index) {
  return FloatVector(_mm256_i32gather_ps(base, _mm256_loadu_si256((const __m256i*)index), 4));
}
GSB_INLINE void stream(float* p, Lanes a) { _mm256_stream_ps(p, a.v); }

#else

GSB_INLINE Mask operator<(Lanes a, Lanes b) { return {a.v < b.v}; }
GSB_INLINE Mask operator>(Lanes a, Lanes b) { return {a.v > b.v}; }
GSB_INLINE Mask operator>=(Lanes a, Lanes b) { return {a.v >= b.v}; }
GSB_INLINE Mask operator<=(Lanes a, Lanes b) { return {a.v <= b.v}; }
GSB_INLINE Mask operator!=(Lanes a, Lanes b) { return {a.v != b.v}; }
GSB_INLINE Lanes select(Mask m, Lanes a, Lanes b) {
  return FloatVector(((IntVector)a.v & m.m) | ((IntVector)b.v & ~m.m));
}
GSB_INLINE Lanes keep(Mask m, Lanes a) { return FloatVector((IntVector)a.v & m.m); }
GSB_INLINE Lanes min_of(Lanes a, Lanes b) { return select(a < b, a, b); }
GSB_INLINE Lanes max_of(Lanes a, Lanes b) { return select(a > b, a, b); }
GSB_INLINE Lanes sqrt_of(Lanes a) {
  for (int i = 0; i < kLanes; ++i) a.v[i] = __builtin_sqrtf(a.v[i]);
  return a;
}
GSB_INLINE Lanes floor_of(Lanes a) {
  for (int i = 0; i < kLanes; ++i) a.v[i] = __builtin_floorf(a.v[i]);
  return a;
}
GSB_INLINE Lanes ceil_of(Lanes a) {
  for (int i = 0; i < kLanes; ++i) a.v[i] = __builtin_ceilf(a.v[i]);
  return a;
}
// This unit is compiled without contraction: a product and a sum, rounded twice, on every architecture.
GSB_INLINE Lanes fma(Lanes a, Lanes b, Lanes c) { return a.v * b.v + c.v; }
GSB_INLINE Lanes fnma(Lanes a, Lanes b, Lanes c) { return c.v - a.v * b.v; }
GSB_INLINE IntVector to_int(Lanes a) { return __builtin_convertvector(a.v, IntVector); }
GSB_INLINE Lanes gather(const float* base, const int32_t* index) {
  Lanes result;
  for (int i = 0; i < kLanes; ++i) result.v[i] = base[index[i]];
  return result;
}
GSB_INLINE void stream(float* p, Lanes a) { a.store(p); }

#endif

#if GSB_LANES < 16
GSB_INLINE Lanes fraction_of(Lanes e) { return e - floor_of(e); }
GSB_INLINE Lanes scale_by_power(Lanes p, Lanes e) {
  const IntVector exponent = to_int(floor_of(max_of(e, Lanes(-126.0f)))) + 127;
  return p * Lanes((FloatVector)(exponent << 23));
}
#endif

#if GSB_LANES == 16
// Rows become columns.
GSB_INLINE void transpose(Lanes rows[16]) {
  __m512 pairs[16], fours[16], eights[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {
    fours[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
    fours[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xEE);
    fours[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
    fours[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    eights[i] = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0x88);
    eights[i + 4] = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0xDD);
    eights[i + 8] = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0x88);
    eights[i + 12] = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0xDD);
  }
  for (int i = 0; i < 4; ++i) {
    rows[i] = FloatVector(_mm512_shuffle_f32x4(eights[i], eights[i + 8], 0x88));
    rows[i + 4] = FloatVector(_mm512_shuffle_f32x4(eights[i + 4], eights[i + 12], 0x88));
    rows[i + 8] = FloatVector(_mm512_shuffle_f32x4(eights[i], eights[i + 8], 0xDD));
    rows[i + 12] = FloatVector(_mm512_shuffle_f32x4(eights[i + 4], eights[i + 12], 0xDD));
  }
}
#endif

GSB_INLINE IntVector lane_numbers() {
#if GSB_LANES == 16
  return IntVector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif GSB_LANES == 8
  return IntVector{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return IntVector{0, 1, 2, 3};
#endif
}

// The sum and the largest of the lanes, in an order of the instruction set's own.
GSB_INLINE float sum_of(Lanes a) {
#if GSB_LANES == 16
  return _mm512_reduce_add_ps(a.v);
#else
  float lanes[kLanes];
  a.store_unaligned(lanes);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  }
  return lanes[0];
#endif
}
GSB_INLINE float largest_of(Lanes a) {
#if GSB_LANES == 16
  return _mm512_reduce_max_ps(a.v);
#else
  float lanes[kLanes];
  a.store_unaligned(lanes);
  for (int l = 1; l < kLanes; ++l) lanes[0] = lanes[l] > lanes[0] ? lanes[l] : lanes[0];
  return lanes[0];
#endif
}

// Writes the consecutive numbers first, first + 1, ... ; p need not be aligned.
GSB_INLINE void store_sequence(uint32_t* p, uint32_t first) {
  typedef int32_t Unaligned __attribute__((vector_size(4 * GSB_LANES), aligned(4), may_alias));
  *reinterpret_cast<Unaligned*>(p) = lane_numbers() + int32_t(first);
}

// True where the value is neither NaN nor infinite.
GSB_INLINE Mask is_finite(Lanes a) {
  const Lanes zero(0.0f);
  return (a - a >= zero) & (a - a <= zero);
}

// Streaming stores pass the cache and are seen by other threads only after a fence.
GSB_INLINE void finish_streaming() {
#if GSB_LANES > 4
  _mm_sfence();
#endif
}

// 2^f on [0, 1): minimax polynomial of degree 5 (relative error 1.6e-7), by the Remez algorithm.
constexpr float kExp2[6] = {9.999999251e-01f, 6.931530732e-01f, 2.401536171e-01f,
                            5.582631791e-02f, 8.989340199e-03f, 1.877576651e-03f};

// 2^e of several vectors in lockstep, which hides the latency of the chain. Meant for e in [-126, 0]; below that the
// result is some small number, never NaN.
template <int Count>
GSB_INLINE void exp2_of(const Lanes* e, Lanes* result) {
  Lanes f[Count], p[Count];
  for (int j = 0; j < Count; ++j) f[j] = fraction_of(e[j]);
  for (int j = 0; j < Count; ++j) p[j] = fma(Lanes(kExp2[5]), f[j], Lanes(kExp2[4]));
  for (int k = 3; k >= 0; --k) {
    for (int j = 0; j < Count; ++j) p[j] = fma(p[j], f[j], Lanes(kExp2[k]));
  }
  for (int j = 0; j < Count; ++j) result[j] = scale_by_power(p[j], e[j]);
}

// log2 of positive normal numbers, error below 2e-7: the exponent, plus a series for the mantissa m in [0.75, 1.5) in
// t = (m - 1) / (m + 1), with log2(m) = 2 log2(e) artanh(t).
GSB_INLINE Lanes log2_of(Lanes x) {
  const IntVector raw = (IntVector)x.v;
  IntVector exponent = (raw >> 23) - 127;
  Lanes m((FloatVector)((raw & 0x7fffff) | 0x3f800000));
  const Mask high = m >= Lanes(1.5f);
  m = select(high, m * Lanes(0.5f), m);
  Lanes e(__builtin_convertvector(exponent, FloatVector));
  e = select(high, e + Lanes(1.0f), e);
  const Lanes t = (m - Lanes(1.0f)) / (m + Lanes(1.0f)), t2 = t * t;
  Lanes p(2.0f / 9.0f);
  p = fma(p, t2, Lanes(2.0f / 7.0f));
  p = fma(p, t2, Lanes(2.0f / 5.0f));
  p = fma(p, t2, Lanes(2.0f / 3.0f));
  p = fma(p, t2, Lanes(2.0f));
  return fma(p * t, Lanes(kLog2E), e);
}

// Loads `field` of kLanes consecutive or scattered rows: base[row * stride + field].
GSB_INLINE Lanes gather_field(const float* base, const int32_t* rows, int stride, int field) {
  alignas(64) int32_t index[kLanes];
  for (int i = 0; i < kLanes; ++i) index[i] = rows[i] * stride + field;
  return gather(base, index);
}

}  // namespace GSB_ISA
}  // namespace gsb
