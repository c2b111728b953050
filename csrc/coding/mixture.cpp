// Integers that follow one of two Gaussians, by the tables of one: the shares of an integer are the weighted sums of
// both. Scales with tables of their own give the sums from table entries; up to 8 times larger ones by going linearly
// from one entry to the next, which are 2, 4 or 8 integers apart.
#include "coding/symbols.h"

namespace gsb {
namespace {

// A symbol and its escape.
constexpr int64_t kMostBytes = 4 + 4 + kGammaRoom;
// Integers that have shares of their own; if two Gaussians are further apart, the heavier one stands alone.
constexpr int64_t kMostWidth = 1024;
// Larger scales count as this one.
constexpr int32_t kLargestScale = GaussianTables::kOwnScales + 3 * GaussianTables::kPerOctave - 1;

struct Component {
  const int16_t* starts;
  int64_t first, end;  // integers that the row is about
  int shift;

  uint32_t start(int64_t symbol) const { return static_cast<uint16_t>(starts[symbol]) ^ 0x8000u; }

  // The share of integers below `value`, in 2^-16.
  uint32_t below(int64_t value) const {
    if (value <= first) return 0;
    const int64_t at = (value < end ? value : end) - first;
    const int64_t symbol = at >> shift, low = at & ((int64_t{1} << shift) - 1);
    const uint32_t here = start(symbol);
    return low == 0 ? here : here + (((start(symbol + 1) - here) * static_cast<uint32_t>(low)) >> shift);
  }
};

Component component_of(const GaussianTables& tables, int32_t mean, int32_t scale) {
  Component component;
  int64_t center = mean;
  component.shift = 0;
  if (scale > kLargestScale) scale = kLargestScale;
  if (scale >= GaussianTables::kOwnScales) {
    constexpr int kFirst = GaussianTables::kOwnScales - GaussianTables::kPerOctave;
    component.shift = (scale - kFirst) / GaussianTables::kPerOctave;
    scale = kFirst + scale % GaussianTables::kPerOctave;
    const int64_t bin = int64_t{1} << component.shift;
    center = (center - GaussianTables::kFractions / 2 * (bin - 1) + bin / 2) >> component.shift;
  }
  const int32_t size = tables.sizes[scale], stride = (size + 8) & ~7;
  component.starts = tables.starts + tables.offsets[scale] + (center & (GaussianTables::kFractions - 1)) * stride;
  const int64_t first = (center >> GaussianTables::kFractionBits) - (size - 3) / 2;
  component.first = first * (int64_t{1} << component.shift);
  component.end = (first + size - 1) * (int64_t{1} << component.shift);
  return component;
}

struct Mixture {
  Component one, two;
  int64_t first, end;
  uint64_t weight;  // of one, in 2^-16
  uint64_t room;    // what is shared beyond the least share of every integer and of the escape

  // The start of the share of `value`, first <= value <= end; at the end begins the escape's.
  uint32_t start(int64_t value) const {
    const uint64_t sum = weight * one.below(value) + (kTotal - weight) * two.below(value);
    return static_cast<uint32_t>(((sum >> kTotalBits) * room >> kTotalBits) + static_cast<uint64_t>(value - first));
  }
};

Mixture mixture_of(const GaussianTables& tables, const int32_t* means, const uint8_t* scales, uint32_t weight) {
  Mixture m;
  m.one = component_of(tables, means[0], scales[0]);
  m.two = component_of(tables, means[1], scales[1]);
  m.weight = weight;
  m.first = m.one.first < m.two.first ? m.one.first : m.two.first;
  m.end = m.one.end > m.two.end ? m.one.end : m.two.end;
  if (m.end - m.first > kMostWidth) {
    (2 * weight >= kTotal ? m.two : m.one) = 2 * weight >= kTotal ? m.one : m.two;
    m.first = m.one.first;
    m.end = m.one.end;
  }
  m.room = kTotal - 1 - static_cast<uint64_t>(m.end - m.first);
  return m;
}

}  // namespace

int64_t put_mixture(RangeEncoder* encoder, const int32_t* symbols, const int32_t* means, const uint8_t* scales,
                    const uint16_t* weights, int64_t count, const GaussianTables& tables) {
  int64_t i = 0;
  for (; i < count && encoder->room(kMostBytes); ++i) {
    const Mixture m = mixture_of(tables, means + 2 * i, scales + 2 * i, weights[i]);
    const int64_t value = symbols[i];
    if (value >= m.first && value < m.end) {
      const uint32_t start = m.start(value);
      encoder->put(start, m.start(value + 1) - start);
      continue;
    }
    const uint32_t start = m.start(m.end);
    encoder->put(start, kTotal - start);
    const bool above = value >= m.end;
    encoder->put_uniform(above, 1);
    put_gamma(encoder, static_cast<uint64_t>(above ? value - m.end : m.first - 1 - value));
  }
  return i;
}

int64_t get_mixture(RangeDecoder* decoder, int32_t* symbols, const int32_t* means, const uint8_t* scales,
                    const uint16_t* weights, int64_t count, const GaussianTables& tables) {
  RangeDecoder local = *decoder;
  for (int64_t i = 0; i < count; ++i) {
    const Mixture m = mixture_of(tables, means + 2 * i, scales + 2 * i, weights[i]);
    const uint32_t slot = local.slot();
    if (slot >= kTotal) return kDamaged;
    // The last integer (or the escape, at the end) that begins at or before the slot.
    int64_t value = m.first, after = m.end + 1;
    while (after - value > 1) {
      const int64_t middle = value + (after - value) / 2;
      (m.start(middle) <= slot ? value : after) = middle;
    }
    const uint32_t start = m.start(value);
    if (value < m.end) {
      local.take(start, m.start(value + 1) - start);
    } else {
      local.take(start, kTotal - start);
      uint32_t above;
      uint64_t distance;
      if (!local.take_uniform(1, &above) || !get_gamma(&local, &distance)) return kDamaged;
      const int64_t far = static_cast<int64_t>(distance);
      value = above ? m.end + far : m.first - 1 - far;
    }
    if (local.exhausted() || value != static_cast<int32_t>(value)) return kDamaged;
    symbols[i] = static_cast<int32_t>(value);
  }
  *decoder = local;
  return count;
}

}  // namespace gsb
