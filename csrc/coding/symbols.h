// Symbols to shares of 2^16: tables that callers bring, conditional Gaussians, bits.
//
// Every coding function works on as many symbols as there is room (or data) for and returns how many those were;
// kDamaged says that the stream cannot come from the encoder.
#pragma once

#include <cstdint>

#include "coding/range.h"

namespace gsb {

constexpr int64_t kDamaged = -1;

// ---- Tables ----

// The first row that is no table (starts at 0, rises strictly, ends at 2^16), or -1.
int64_t bad_table_row(const uint32_t* tables, int64_t rows, int64_t columns);

// For each row and each of 256 equal parts of 2^16, the symbol that the part starts in: [rows, 256].
void index_tables(const uint32_t* tables, int64_t rows, int64_t columns, uint16_t* lookup);

// Symbols and rows are in range.
int64_t put_symbols(RangeEncoder* encoder, const int32_t* symbols, int64_t count, const uint32_t* tables,
                    int64_t columns, const int32_t* rows);

// `lookup` may be null.
int64_t get_symbols(RangeDecoder* decoder, int32_t* symbols, int64_t count, const uint32_t* tables, int64_t columns,
                    const int32_t* rows, const uint16_t* lookup);

// ---- Conditional Gaussians ----

// Rows of int16 starts ^ 0x8000 (so that signed comparisons order them), one per scale and fraction of the mean. A row
// has `size` symbols: first the integers -reach to reach + 1 from the mean's floor, then the escape. It is padded to
// `stride`, a multiple of 8 above `size`, with the end, 2^16, which wraps to 0.
struct GaussianTables {
  static constexpr int kFractionBits = 6;
  static constexpr int kFractions = 1 << kFractionBits;
  static constexpr int kScales = 128;
  static constexpr int kPerOctave = 8;
  static constexpr int kOwnScales = 72;  // scales with rows; larger ones code their lowest bits as they are
  const int16_t* starts;
  const int32_t* offsets;  // [72]: of the scale's first row
  const int32_t* sizes;    // [72]
};

int64_t put_gaussian(RangeEncoder* encoder, const int32_t* symbols, const int32_t* means, const uint8_t* scales,
                     int64_t count, const GaussianTables& tables);
int64_t get_gaussian(RangeDecoder* decoder, int32_t* symbols, const int32_t* means, const uint8_t* scales,
                     int64_t count, const GaussianTables& tables);

// Two Gaussians for each symbol: means and scales are [count, 2]; weights, of the first, in 1 / 2^16, at least 1. Scales
// beyond 128 integers count as that.
int64_t put_mixture(RangeEncoder* encoder, const int32_t* symbols, const int32_t* means, const uint8_t* scales,
                    const uint16_t* weights, int64_t count, const GaussianTables& tables);
int64_t get_mixture(RangeDecoder* decoder, int32_t* symbols, const int32_t* means, const uint8_t* scales,
                    const uint16_t* weights, int64_t count, const GaussianTables& tables);

// ---- Bits ----

// `ones` is the probability of a 1, in 1 / 2^16, never 0.
int64_t put_bits(RangeEncoder* encoder, const uint8_t* bits, const uint16_t* ones, int64_t count);
int64_t get_bits(RangeDecoder* decoder, uint8_t* bits, const uint16_t* ones, int64_t count);

// Bits whose probabilities are learned while coding, per context: (n1 + 1/2) / (n + 1) (Krichevsky and Trofimov 1981).
// `counts` holds zeros and ones per context, [contexts, 2], and is updated. `contexts` are in range.
int64_t put_learned_bits(RangeEncoder* encoder, const uint8_t* bits, const int32_t* contexts, int64_t count,
                         uint32_t* counts);
int64_t get_learned_bits(RangeDecoder* decoder, uint8_t* bits, const int32_t* contexts, int64_t count,
                         uint32_t* counts);

// ---- Numbers ----

// n >= 0 by Elias' gamma code of n + 1: the number of its bits but one in unary, then these bits. At most 2^33.
constexpr int kGammaLimit = 34;
inline void put_gamma(RangeEncoder* encoder, uint64_t n) {
  const int length = 63 - __builtin_clzll(n + 1);
  for (int i = 0; i < length; ++i) encoder->put_uniform(1, 1);
  encoder->put_uniform(0, 1);
  for (int left = length; left > 0;) {
    const int part = left < 16 ? left : 16;
    left -= part;
    encoder->put_uniform(static_cast<uint32_t>((n + 1) >> left) & ((1u << part) - 1), part);
  }
}

inline bool get_gamma(RangeDecoder* decoder, uint64_t* n) {
  int length = 0;
  for (uint32_t bit = 1;; ++length) {
    if (!decoder->take_uniform(1, &bit)) return false;
    if (bit == 0) break;
    if (length == kGammaLimit) return false;
  }
  uint64_t value = 1;
  for (int left = length; left > 0;) {
    const int part = left < 16 ? left : 16;
    left -= part;
    uint32_t bits;
    if (!decoder->take_uniform(part, &bits)) return false;
    value = value << part | bits;
  }
  *n = value - 1;
  return true;
}

// Room that put_gamma may need.
constexpr int64_t kGammaRoom = 4 * (2 * kGammaLimit + 8) / 8 + 16;

}  // namespace gsb
