// A record's row of the per-projection arrays, on the CPU and on a GPU.
#pragma once

#include "cpu/raster_types.h"
#include "math/alpha.h"

namespace gsb {

GSB_HD int32_t pixel_radius(float extent) {
  const float rounded = ceil_of(extent);
  return rounded < 1e9f ? int32_t(rounded) : 1000000000;
}

// `Buffers` has the per-projection arrays.
template <class Buffers>
GSB_HD void write_slot(const Buffers& b, int64_t slot, const ScreenRecord& r) {
  b.means2d[2 * slot] = r.x;
  b.means2d[2 * slot + 1] = r.y;
  b.depths[slot] = r.depth;
  b.conics[3 * slot] = r.a * (-2.0f * kLn2);
  b.conics[3 * slot + 1] = r.b * -kLn2;
  b.conics[3 * slot + 2] = r.c * (-2.0f * kLn2);
  if (b.slot_colors != nullptr) {
    b.slot_colors[3 * slot] = r.red;
    b.slot_colors[3 * slot + 1] = r.green;
    b.slot_colors[3 * slot + 2] = r.blue;
  }
  b.slot_opacities[slot] = r.opacity;
  b.radii[2 * slot] = pixel_radius(r.extent_x);
  b.radii[2 * slot + 1] = pixel_radius(r.extent_y);
}

}  // namespace gsb
