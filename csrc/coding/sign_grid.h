// A multi-resolution hash grid whose entries are signs, interpolated with integers alone: what a decoder needs of the grid
// of csrc/cpu/hashgrid.inc. Cells and rows are the same; so are the weights, and the sums of signs times weights are
// exact here.
//
// With v a coordinate, E the extent along its axis and R the level's resolution:
//
//     u = floor(v 2^30 / E)                         v clamped to 0..E
//     p = floor(u (R - 2) / 2^14) + 2^15            position in units of 2^-16 cells: half a cell of margin each side
//     vertex = p >> 16,  weight of the next one = (p & 65535) / 65536
//
// A vertex (x, y, z) is in row x + y R + z R^2 of its level if the level has a row for every vertex, and in row
// (x ^ 2654435761 y ^ 805459861 z mod 2^32) mod rows otherwise; on planes only their two axes count, in order.
#pragma once

#include <cstdint>

#include "math/hash_level.h"

namespace gsb {

constexpr int kSignFeatures = 4;

using SignLevel = HashLevel;

struct SignGrid {
  const int32_t* points;  // [count, 3]
  int64_t count;
  int32_t extent[3];  // at least 1
  const SignLevel* levels;
  int64_t level_count;
  int threads;
};

// int16 [count, 4 levels], in 2^-fraction_bits (0 to 14), rounded to the nearest, halves up. `signs`: bit f of a row is set
// if its feature f is +1.
void look_up_signs(const SignGrid& grid, const uint8_t* signs, int fraction_bits, int16_t* features);

// Sets touched[row] to 1 for the rows with a weight above 0 at some point; leaves the others alone.
void touch_rows(const SignGrid& grid, uint8_t* touched);

}  // namespace gsb
