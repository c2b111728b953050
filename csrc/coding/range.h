// The range coder (Martin 1979; carry propagation as in Schindler's): a message is a number in [0, 1) written in base
// 256. Coding a symbol narrows the interval [low, low + range) to the symbol's share of it.
//
// The interval has 64 bits and is widened by whole 32-bit words, so range >= 2^32 before every symbol: rounding the
// shares down to multiples of range / 2^16 costs at most 2^-16 of an interval, which cannot be measured. One
// multiplication encodes a symbol, one division decodes it. Unlike an asymmetric numeral system it yields symbols in
// the order in which they were put, so that nothing is held back while contexts are computed.
//
// The end is the shortest string of bytes whose number, continued with zeros, lies in the last interval. It is unique,
// so a decoder can tell whether a stream ends as its encoder ended it.
#pragma once

#include <cstdint>
#include <cstring>

namespace gsb {

constexpr int kTotalBits = 16;
constexpr uint32_t kTotal = 1u << kTotalBits;
constexpr uint64_t kLeastRange = uint64_t{1} << 32;
constexpr uint64_t kFullRange = ~uint64_t{0};

inline uint32_t load_big32(const uint8_t* from) {
  uint32_t word;
  std::memcpy(&word, from, 4);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  word = __builtin_bswap32(word);
#endif
  return word;
}

inline void store_big32(uint8_t* to, uint32_t word) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  word = __builtin_bswap32(word);
#endif
  std::memcpy(to, &word, 4);
}

// How many leading bytes of `low` + something less than `range` name a number in the interval on their own; the number
// itself (modulo 2^64) goes to *value.
inline int shortest_end(uint64_t low, uint64_t range, uint64_t* value) {
  for (int bytes = 0; bytes < 8; ++bytes) {
    const uint64_t rest = ~uint64_t{0} >> (8 * bytes);
    const uint64_t rounded = (low + rest) & ~rest;
    if (rounded - low < range) {
      *value = rounded;
      return bytes;
    }
  }
  *value = low;
  return 8;
}

struct RangeEncoder {
  uint64_t low = 0;
  uint64_t range = kFullRange;
  uint8_t* out = nullptr;
  int64_t size = 0;      // bytes written
  int64_t capacity = 0;  // of out; every put needs 4 bytes of room

  bool room(int64_t bytes) const { return capacity - size >= bytes; }

  // Codes the share [start, start + frequency) of 2^16; frequency is at least 1.
  inline __attribute__((always_inline)) void put(uint32_t start, uint32_t frequency) {
    const uint64_t unit = range >> kTotalBits;
    const uint64_t step = unit * start;
    low += step;
    if (low < step) carry();
    range = unit * frequency;
    if (range < kLeastRange) {
      store_big32(out + size, static_cast<uint32_t>(low >> 32));
      size += 4;
      low <<= 32;
      range <<= 32;
    }
  }

  // The low `count` <= 16 bits of `bits`, each value as likely as any other.
  inline void put_uniform(uint32_t bits, int count) { put(bits << (kTotalBits - count), kTotal >> count); }

  // Needs room for 8 bytes.
  void finish() {
    uint64_t value;
    const int bytes = shortest_end(low, range, &value);
    if (value < low) carry();
    for (int i = 0; i < bytes; ++i) out[size++] = static_cast<uint8_t>(value >> (56 - 8 * i));
  }

  // Adds one to what is written. It stays below 1, so the walk ends inside.
  void carry() {
    for (int64_t i = size - 1; i >= 0; --i) {
      if (++out[i] != 0) return;
    }
  }
};

struct RangeDecoder {
  uint64_t offset = 0;  // of the stream's number from the interval's lower end
  uint64_t range = kFullRange;
  const uint8_t* data = nullptr;
  int64_t size = 0;
  int64_t position = 0;  // of the first of the eight bytes that the interval is about

  uint32_t word_at(int64_t at) const {
    if (size - at >= 4) return load_big32(data + at);
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) word = word << 8 | (at + i < size ? data[at + i] : 0u);
    return word;
  }

  uint64_t window() const { return uint64_t{word_at(position)} << 32 | word_at(position + 4); }

  void open() { offset = window(); }

  // Where in 2^16 the next symbol lies; 2^16 or more: no encoder wrote this.
  inline __attribute__((always_inline)) uint32_t slot() const {
    const uint64_t found = offset / (range >> kTotalBits);
    return found < kTotal ? static_cast<uint32_t>(found) : kTotal;
  }

  // Takes the symbol whose share holds the slot.
  inline __attribute__((always_inline)) void take(uint32_t start, uint32_t frequency) {
    const uint64_t unit = range >> kTotalBits;
    offset -= unit * start;
    range = unit * frequency;
    if (range < kLeastRange) {
      offset = offset << 32 | word_at(position + 8);
      range <<= 32;
      position += 4;
    }
  }

  // A bit whose zero has the share [0, zeros): no division. -1: damaged.
  inline __attribute__((always_inline)) int take_bit(uint32_t zeros) {
    const uint64_t unit = range >> kTotalBits;
    if (offset >= unit << kTotalBits) return -1;
    const bool bit = offset >= unit * zeros;
    take(bit ? zeros : 0, bit ? kTotal - zeros : zeros);
    return bit;
  }

  // False: damaged.
  inline bool take_uniform(int count, uint32_t* bits) {
    const uint32_t found = slot();
    if (found >= kTotal) return false;
    *bits = found >> (kTotalBits - count);
    take(*bits << (kTotalBits - count), kTotal >> count);
    return true;
  }

  // What was taken reaches beyond the end of the stream. To be asked now and then; nothing is read beyond the end.
  bool exhausted() const { return position > size; }

  // The stream ends here as an encoder ends it.
  bool at_end() const {
    if (exhausted()) return false;
    const uint64_t low = window() - offset;
    uint64_t value;
    const int bytes = shortest_end(low, range, &value);
    return size == position + bytes && offset == value - low;
  }
};

}  // namespace gsb
