#include "coding/symbols.h"

namespace gsb {

int64_t bad_table_row(const uint32_t* tables, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row) {
    const uint32_t* table = tables + row * columns;
    bool good = table[0] == 0 && table[columns - 1] == kTotal;
    for (int64_t i = 1; i < columns; ++i) good &= table[i] > table[i - 1];
    if (!good) return row;
  }
  return -1;
}

void index_tables(const uint32_t* tables, int64_t rows, int64_t columns, uint16_t* lookup) {
  for (int64_t row = 0; row < rows; ++row) {
    const uint32_t* table = tables + row * columns;
    uint32_t symbol = 0;
    for (uint32_t part = 0; part < 256; ++part) {
      while (table[symbol + 1] <= part << 8) ++symbol;
      lookup[row * 256 + part] = static_cast<uint16_t>(symbol);
    }
  }
}

int64_t put_symbols(RangeEncoder* encoder, const int32_t* symbols, int64_t count, const uint32_t* tables,
                    int64_t columns, const int32_t* rows) {
  RangeEncoder local = *encoder;  // in registers
  int64_t i = 0;
  for (; i < count && local.room(4); ++i) {
    const uint32_t* entry = tables + rows[i] * columns + symbols[i];
    local.put(entry[0], entry[1] - entry[0]);
  }
  *encoder = local;
  return i;
}

int64_t get_symbols(RangeDecoder* decoder, int32_t* symbols, int64_t count, const uint32_t* tables, int64_t columns,
                    const int32_t* rows, const uint16_t* lookup) {
  RangeDecoder local = *decoder;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t slot = local.slot();
    if (slot >= kTotal) return kDamaged;
    const uint32_t* table = tables + rows[i] * columns;
    uint32_t symbol;
    if (lookup != nullptr) {
      symbol = lookup[int64_t{rows[i]} * 256 + (slot >> 8)];
      while (table[symbol + 1] <= slot) ++symbol;
    } else {
      // The last entry that is at most the slot; the last one of all, 2^16, never is.
      const uint32_t* base = table;
      for (int64_t length = columns - 1; length > 1;) {
        const int64_t half = length / 2;
        base += base[half] <= slot ? half : 0;
        length -= half;
      }
      symbol = static_cast<uint32_t>(base - table);
    }
    local.take(table[symbol], table[symbol + 1] - table[symbol]);
    if (local.exhausted()) return kDamaged;
    symbols[i] = static_cast<int32_t>(symbol);
  }
  *decoder = local;
  return count;
}

int64_t put_bits(RangeEncoder* encoder, const uint8_t* bits, const uint16_t* ones, int64_t count) {
  RangeEncoder local = *encoder;
  int64_t i = 0;
  for (; i < count && local.room(4); ++i) {
    const uint32_t zeros = kTotal - ones[i];
    local.put(bits[i] ? zeros : 0, bits[i] ? ones[i] : zeros);
  }
  *encoder = local;
  return i;
}

int64_t get_bits(RangeDecoder* decoder, uint8_t* bits, const uint16_t* ones, int64_t count) {
  RangeDecoder local = *decoder;
  for (int64_t i = 0; i < count; ++i) {
    const int bit = local.take_bit(kTotal - ones[i]);
    if (bit < 0 || local.exhausted()) return kDamaged;
    bits[i] = static_cast<uint8_t>(bit);
  }
  *decoder = local;
  return count;
}

namespace {

// Counts stay small enough for the product below; halving keeps their ratio.
constexpr uint32_t kMostCount = 1u << 24;

struct LearnedBit {
  uint32_t* counts;

  uint32_t zeros() const {
    const uint64_t all = uint64_t{counts[0]} + counts[1];
    const uint64_t share = ((2 * uint64_t{counts[0]} + 1) << kTotalBits) / (2 * all + 2);
    return share < 1 ? 1 : share > kTotal - 1 ? kTotal - 1 : static_cast<uint32_t>(share);
  }

  void learn(bool bit) {
    if (++counts[bit] == kMostCount) {
      counts[0] /= 2;
      counts[1] /= 2;
    }
  }
};

}  // namespace

int64_t put_learned_bits(RangeEncoder* encoder, const uint8_t* bits, const int32_t* contexts, int64_t count,
                         uint32_t* counts) {
  RangeEncoder local = *encoder;
  int64_t i = 0;
  for (; i < count && local.room(4); ++i) {
    LearnedBit model = {counts + 2 * int64_t{contexts[i]}};
    const bool bit = bits[i] != 0;
    const uint32_t zeros = model.zeros();
    local.put(bit ? zeros : 0, bit ? kTotal - zeros : zeros);
    model.learn(bit);
  }
  *encoder = local;
  return i;
}

int64_t get_learned_bits(RangeDecoder* decoder, uint8_t* bits, const int32_t* contexts, int64_t count,
                         uint32_t* counts) {
  RangeDecoder local = *decoder;
  for (int64_t i = 0; i < count; ++i) {
    LearnedBit model = {counts + 2 * int64_t{contexts[i]}};
    const int bit = local.take_bit(model.zeros());
    if (bit < 0 || local.exhausted()) return kDamaged;
    model.learn(bit != 0);
    bits[i] = static_cast<uint8_t>(bit);
  }
  *decoder = local;
  return count;
}

}  // namespace gsb
