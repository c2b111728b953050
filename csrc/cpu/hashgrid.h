// A multi-resolution grid of feature vectors, interpolated at integer points. Plain structs: this header is included by
// units compiled for different instruction sets.
#pragma once

#include <cstdint>

#include "math/hash_level.h"

namespace gsb {

constexpr int kHashFeatures = 4;
constexpr int kHashFractionBits = 16;  // of a position within its cell

struct HashGrid {
  const int32_t* points;    // [count, 3]
  int32_t extent[3];        // points are clamped to 0..extent
  const HashLevel* levels;  // [level_count]
  int64_t level_count;
  const float* table;       // [rows, 4]
  int64_t count;
  bool binary;              // +1 where an entry is 0 or more, -1 elsewhere
  int threads;
};

}  // namespace gsb
