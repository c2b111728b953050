// Integers that follow a Gaussian, by tables. A mean is given in 1/64 of the integers' unit, a standard deviation by its
// index: 2^(index / 8 - 5). From 16 on, the lowest bits are coded as they are, and the tables code the others: a
// density that is constant over a bin of at most 1/8 standard deviation costs less than .001 bit.
#include "coding/gaussian_row.h"
#include "coding/symbols.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace gsb {
namespace {

constexpr int kLanes = 8;
// A symbol, its escape and its lowest bits.
constexpr int64_t kMostBytes = 4 + 4 + kGammaRoom + 4;

using Row = GaussianRow;

inline __attribute__((always_inline)) Row row_of(const GaussianTables& tables, int32_t mean, int32_t scale) {
  return gaussian_row(tables, mean, scale);
}

// How many of the first kLanes (or 2 kLanes) entries are at most `wanted`, before the first that is not.
#ifdef __SSE2__
inline __attribute__((always_inline)) __m128i greater(const int16_t* entries, int16_t wanted) {
  return _mm_cmpgt_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(entries)), _mm_set1_epi16(wanted));
}
inline __attribute__((always_inline)) int32_t leading(const int16_t* entries, int16_t wanted) {
  const unsigned found = static_cast<unsigned>(_mm_movemask_epi8(greater(entries, wanted)));
  return __builtin_ctz(found | 1u << 16) / 2;
}
inline __attribute__((always_inline)) int32_t leading_two(const int16_t* entries, int16_t wanted) {
  const __m128i both = _mm_packs_epi16(greater(entries, wanted), greater(entries + kLanes, wanted));
  return __builtin_ctz(static_cast<unsigned>(_mm_movemask_epi8(both)) | 1u << 16);
}
#else
inline int32_t leading(const int16_t* entries, int16_t wanted) {
  int32_t count = 0;
  while (count < kLanes && entries[count] <= wanted) ++count;
  return count;
}
inline int32_t leading_two(const int16_t* entries, int16_t wanted) {
  const int32_t count = leading(entries, wanted);
  return count < kLanes ? count : kLanes + leading(entries + kLanes, wanted);
}
#endif

// The symbol whose share holds the slot: how many starts are at most the slot, less one. Comparisons may run into what
// follows the row; what they find there is cut off.
inline __attribute__((always_inline)) uint32_t find(const Row& row, uint32_t slot) {
  const int16_t wanted = static_cast<int16_t>(slot ^ 0x8000u);
  int32_t count;
  if (row.size <= 2 * kLanes) {
    count = leading_two(row.starts, wanted);
  } else {
    // The last block that begins at or before the slot holds it.
    int32_t block = 0;
    for (int32_t blocks = (row.size + kLanes - 1) / kLanes; blocks > 1;) {
      const int32_t half = blocks / 2;
      block += row.starts[(block + half) * kLanes] <= wanted ? half : 0;
      blocks -= half;
    }
    count = block * kLanes + leading(row.starts + block * kLanes, wanted);
  }
  return static_cast<uint32_t>((count < row.size ? count : row.size) - 1);
}

// A value beyond the row: its side and how far it is from the last value there.
void put_escaped(RangeEncoder* encoder, const Row& row, int64_t value) {
  const int64_t end = row.first + row.size - 1;
  const bool above = value >= end;
  encoder->put_uniform(above, 1);
  put_gamma(encoder, static_cast<uint64_t>(above ? value - end : row.first - 1 - value));
}

bool get_escaped(RangeDecoder* decoder, const Row& row, int64_t* value) {
  uint32_t above;
  uint64_t distance;
  if (!decoder->take_uniform(1, &above) || !get_gamma(decoder, &distance)) return false;
  const int64_t far = static_cast<int64_t>(distance);
  *value = above ? row.first + row.size - 1 + far : row.first - 1 - far;
  return true;
}

}  // namespace

int64_t put_gaussian(RangeEncoder* encoder, const int32_t* symbols, const int32_t* means, const uint8_t* scales,
                     int64_t count, const GaussianTables& tables) {
  RangeEncoder local = *encoder;  // in registers
  int64_t i = 0;
  for (; i < count && local.room(kMostBytes); ++i) {
    const Row row = row_of(tables, means[i], scales[i]);
    const int64_t value = int64_t{symbols[i]} >> row.shift;
    const uint64_t symbol = static_cast<uint64_t>(value - row.first);
    if (__builtin_expect(symbol < row.escape(), 1)) {
      local.put(row.start(static_cast<uint32_t>(symbol)), row.frequency(static_cast<uint32_t>(symbol)));
    } else {
      local.put(row.start(row.escape()), row.frequency(row.escape()));
      RangeEncoder other = local;
      put_escaped(&other, row, value);
      local = other;
    }
    if (row.shift != 0) local.put_uniform(static_cast<uint32_t>(symbols[i]) & ((1u << row.shift) - 1), row.shift);
  }
  *encoder = local;
  return i;
}

int64_t get_gaussian(RangeDecoder* decoder, int32_t* symbols, const int32_t* means, const uint8_t* scales,
                     int64_t count, const GaussianTables& tables) {
  RangeDecoder local = *decoder;
  for (int64_t i = 0; i < count; ++i) {
    const Row row = row_of(tables, means[i], scales[i]);
    const uint32_t slot = local.slot();
    if (slot >= kTotal) return kDamaged;
    const uint32_t symbol = find(row, slot);
    local.take(row.start(symbol), row.frequency(symbol));
    int64_t value = row.first + symbol;
    if (__builtin_expect(symbol == row.escape(), 0)) {
      RangeDecoder other = local;
      if (!get_escaped(&other, row, &value)) return kDamaged;
      local = other;
    }
    if (row.shift != 0) {
      uint32_t low;
      RangeDecoder other = local;
      if (!other.take_uniform(row.shift, &low)) return kDamaged;
      local = other;
      value = value * (int64_t{1} << row.shift) + low;
    }
    if (local.exhausted() || value != static_cast<int32_t>(value)) return kDamaged;
    symbols[i] = static_cast<int32_t>(value);
  }
  *decoder = local;
  return count;
}

}  // namespace gsb
