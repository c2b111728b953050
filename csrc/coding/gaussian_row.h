// The row of the Gaussian tables that codes an integer, for host and device. See csrc/coding/gaussian.cpp.
#pragma once

#include <stdint.h>

#include "math/host_device.h"

namespace gsb {

struct GaussianRow {
  const int16_t* starts;
  int64_t first;  // the value that symbol 0 stands for
  int32_t size;   // symbols, the escape last
  int shift;      // lowest bits that are coded as they are

  GSB_HD uint32_t start(uint32_t symbol) const { return static_cast<uint16_t>(starts[symbol]) ^ 0x8000u; }
  // 2^16 wraps to 0, and the difference is right again.
  GSB_HD uint32_t frequency(uint32_t symbol) const {
    return static_cast<uint16_t>(starts[symbol + 1] - starts[symbol]);
  }
  GSB_HD uint32_t escape() const { return static_cast<uint32_t>(size - 1); }
};

// `Tables` has starts, offsets and sizes, and the constants of GaussianTables.
template <class Tables>
GSB_HD GaussianRow gaussian_row(const Tables& tables, int32_t mean, int32_t scale) {
  constexpr int kOwnScales = Tables::kOwnScales, kPerOctave = Tables::kPerOctave, kFractions = Tables::kFractions;
  GaussianRow row;
  int64_t center = mean;
  row.shift = 0;
  if (__builtin_expect(scale >= kOwnScales, 0)) {
    constexpr int kFirst = kOwnScales - kPerOctave;
    row.shift = (scale - kFirst) / kPerOctave;
    scale = kFirst + scale % kPerOctave;
    // The mean from the center of the bin [0, 2^shift - 1], in 1/64 of a bin, rounded.
    const int64_t bin = int64_t{1} << row.shift;
    center = (center - kFractions / 2 * (bin - 1) + bin / 2) >> row.shift;
  }
  row.size = tables.sizes[scale];
  const int64_t fraction = center & (kFractions - 1);
  const int32_t stride = (row.size + 8) & ~7;
  row.starts = tables.starts + tables.offsets[scale] + fraction * stride;
  row.first = (center >> Tables::kFractionBits) - (row.size - 3) / 2;
  return row;
}

}  // namespace gsb
