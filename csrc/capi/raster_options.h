// The rasterizer's options as they come from Python, checked as far as the CPU and GPUs agree.
#pragma once

#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/raster_types.h"
#include "math/scalar.h"
#include "math/sh.h"

namespace gsb {

inline int read_options(const gsb_raster_options* from, RasterOptions& to) {
  if (from->struct_size != sizeof(gsb_raster_options)) {
    return fail(GSB_INTERNAL, "gsb_raster_options: expected %zu bytes, got %u", sizeof(gsb_raster_options),
                from->struct_size);
  }
  to.gaussians = from->gaussians;
  to.cameras = from->cameras;
  to.width = from->width;
  to.height = from->height;
  to.color_bases = from->color_bases;
  to.sh_degree = from->sh_degree;
  to.colors_per_camera = from->colors_per_camera != 0;
  to.channels = from->channels;
  to.packed = from->packed != 0;
  to.antialiased = from->antialiased != 0;
  to.separate_cameras = from->separate_cameras != 0;
  to.threads = from->threads;
  to.near_plane = from->near_plane;
  to.far_plane = from->far_plane;
  to.eps2d = from->eps2d;
  to.radius_clip = from->radius_clip;
  if (to.gaussians < 0) return fail(GSB_INVALID_ARGUMENT, "means: %lld Gaussians", (long long)to.gaussians);
  if (to.cameras < 0) return fail(GSB_INVALID_ARGUMENT, "cameras: expected 0 or more, got %d", to.cameras);
  constexpr int32_t kMaxSide = 1 << 20;  // pixel coordinates stay exact in float32 with room for a fraction
  if (to.width < 0 || to.height < 0 || to.width > kMaxSide || to.height > kMaxSide) {
    return fail(GSB_INVALID_ARGUMENT, "width, height: expected 0 to %d pixels, got %d x %d", kMaxSide, to.width,
                to.height);
  }
  if (to.color_bases != 0 && (to.sh_degree < 0 || to.sh_degree > kMaxShDegree ||
                              (to.sh_degree + 1) * (to.sh_degree + 1) > to.color_bases)) {
    return fail(GSB_INVALID_ARGUMENT, "sh_degree: %d does not fit %d coefficients per channel", to.sh_degree,
                to.color_bases);
  }
  if (!(to.near_plane > 0.0f) || !(to.far_plane >= to.near_plane)) {
    return fail(GSB_INVALID_ARGUMENT, "near_plane, far_plane: expected 0 < near <= far, got %g and %g",
                double(to.near_plane), double(to.far_plane));
  }
  if (!(to.eps2d > 0.0f) || !is_finite(to.eps2d)) {
    return fail(GSB_INVALID_ARGUMENT, "eps2d: expected a positive number, got %g", double(to.eps2d));
  }
  if (!(to.radius_clip >= 0.0f)) {
    return fail(GSB_INVALID_ARGUMENT, "radius_clip: expected 0 or more pixels, got %g", double(to.radius_clip));
  }
  constexpr int32_t kMaxChannels = 1 << 12;
  if (to.channels < 0 || to.channels > kMaxChannels) {
    return fail(GSB_INVALID_ARGUMENT, "colors: expected at most %d channels, got %d", kMaxChannels, to.channels);
  }
  return GSB_OK;
}

}  // namespace gsb
