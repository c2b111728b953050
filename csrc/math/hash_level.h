// One level of a multi-resolution hash grid: what the float side (csrc/cpu/hashgrid.inc) and the integer side
// (csrc/coding/sign_grid.cpp) agree on.
#pragma once

#include <stdint.h>

#include "math/host_device.h"

namespace gsb {

// A table of `rows` vectors for the vertices of a grid with `resolution` vertices along each of its axes.
struct HashLevel {
  int64_t resolution;  // 2 to 2^16
  int64_t axes;        // bit a is set if the grid extends along axis a: 3, 5, 6 or 7
  int64_t first;       // row of the table at which the level begins
  int64_t rows;
};

constexpr uint32_t kHashPrimes[3] = {1u, 2654435761u, 805459861u};

struct HashShape {
  int axes[3];
  int dimensions;
  int64_t cells;     // resolution - 2
  int64_t steps[3];  // rows between neighbors, if every vertex has one
  bool direct;       // every vertex has a row
  int64_t rows;
  uint32_t low_bits;  // rows - 1 if rows is a power of two, else 0
};

GSB_HD HashShape shape_of(const HashLevel& level) {
  HashShape shape = {};
  int64_t vertices = 1;
  for (int axis = 0; axis < 3; ++axis) {
    if (!(level.axes >> axis & 1)) continue;
    shape.axes[shape.dimensions] = axis;
    shape.steps[shape.dimensions++] = vertices;
    vertices *= level.resolution;
  }
  shape.cells = level.resolution - 2;
  shape.direct = vertices <= level.rows;
  shape.rows = level.rows;
  shape.low_bits = (level.rows & (level.rows - 1)) == 0 ? static_cast<uint32_t>(level.rows - 1) : 0;
  return shape;
}

}  // namespace gsb
