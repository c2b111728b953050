// Where the vertices of a level of a multi-resolution hash grid (Mueller et al. 2022, section 3) have their rows. Training
// and coding look into the same grids; the scheme is described in csrc/cpu/hashgrid.inc.
#pragma once

#include <stdint.h>

#include "math/host_device.h"

namespace gsb {

// Each axis multiplies its coordinate by one of these before they are mixed.
constexpr uint32_t kGridPrimes[3] = {1u, 2654435761u, 805459861u};

struct GridLevel {
  int axes[3];
  int dimensions;
  int64_t cells;     // resolution - 2
  int64_t steps[3];  // rows between neighbors, if every vertex has one
  bool direct;
  int64_t rows;
  uint32_t low_bits;  // rows - 1 if rows is a power of two, else 0
};

// `axes`: bit a is set if the level extends along axis a. The caller bounds the resolution (its cube is below 2^63).
GSB_HD GridLevel make_grid_level(int64_t axes, int64_t resolution, int64_t rows) {
  GridLevel level = {};
  int64_t vertices = 1;
  for (int axis = 0; axis < 3; ++axis) {
    if (!(axes >> axis & 1)) continue;
    level.axes[level.dimensions] = axis;
    level.steps[level.dimensions++] = vertices;
    vertices *= resolution;
  }
  level.cells = resolution - 2;
  level.direct = vertices <= rows;
  level.rows = rows;
  level.low_bits = (rows & (rows - 1)) == 0 ? uint32_t(rows - 1) : 0;
  return level;
}

}  // namespace gsb
