// The rasterizer's entry points: checks of sizes and values, then the kernels of the instruction set in use.
#include <cmath>
#include <cstdint>

#include "capi/gsbench.h"
#include "capi/raster_options.h"
#include "capi/status.h"
#include "cpu/dispatch.h"

namespace gsb {
namespace {

int convert(const gsb_raster_options* from, RasterOptions& to) {
  if (const int status = read_options(from, to)) return status;
  if (to.gaussians > INT32_MAX - kChunk) {
    return fail(GSB_INVALID_ARGUMENT, "means: expected at most %d Gaussians, got %lld", INT32_MAX - kChunk,
                (long long)to.gaussians);
  }
  if (to.threads < 1) return fail(GSB_INVALID_ARGUMENT, "threads: expected 1 or more, got %d", to.threads);
  return GSB_OK;
}

int convert(const gsb_raster_options* options, const gsb_raster_buffers* buffers, RasterOptions& to) {
  if (buffers->struct_size != sizeof(gsb_raster_buffers)) {
    return fail(GSB_INTERNAL, "gsb_raster_buffers: expected %zu bytes, got %u", sizeof(gsb_raster_buffers),
                buffers->struct_size);
  }
  return convert(options, to);
}

bool all_finite(const float* values, int count) {
  for (int k = 0; k < count; ++k) {
    if (!std::isfinite(values[k])) return false;
  }
  return true;
}

// Names the first input that a projection refused.
int explain_refusal(const RasterOptions& o, const RasterBuffers& b) {
  for (int64_t i = 0; i < o.gaussians; ++i) {
    const long long row = i;
    if (!all_finite(b.means + 3 * i, 3)) return fail(GSB_INVALID_ARGUMENT, "means: row %lld is not finite", row);
    if (b.covars != nullptr) {
      if (!all_finite(b.covars + 9 * i, 9)) return fail(GSB_INVALID_ARGUMENT, "covars: row %lld is not finite", row);
    } else {
      if (!all_finite(b.quats + 4 * i, 4)) return fail(GSB_INVALID_ARGUMENT, "quats: row %lld is not finite", row);
      if (!all_finite(b.scales + 3 * i, 3)) return fail(GSB_INVALID_ARGUMENT, "scales: row %lld is not finite", row);
      const float* q = b.quats + 4 * i;
      if (!(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3] >= 1e-30f)) {
        return fail(GSB_INVALID_ARGUMENT, "quats: row %lld is zero and cannot be normalized", row);
      }
    }
    if (b.opacities != nullptr && !(b.opacities[i] >= 0.0f && b.opacities[i] <= 1.0f)) {
      return fail(GSB_INVALID_ARGUMENT, "opacities: row %lld is %g, expected a number in [0, 1]", row,
                  double(b.opacities[i]));
    }
  }
  const int64_t floats = o.color_bases == 0 ? 3 : 3 * int64_t(o.color_bases);
  const int64_t rows = b.colors == nullptr ? 0 : o.gaussians * (o.colors_per_camera ? o.cameras : 1);
  for (int64_t i = 0; i < rows; ++i) {
    if (!all_finite(b.colors + floats * i, int(floats))) {
      return fail(GSB_INVALID_ARGUMENT, "colors: row %lld is not finite", (long long)i);
    }
  }
  return fail(GSB_INVALID_ARGUMENT, "colors: a sum of spherical harmonics overflows float32");
}

int check_cameras(const RasterOptions& o, const RasterBuffers& b) {
  for (int c = 0; c < o.cameras; ++c) {
    const float* v = b.viewmats + 16 * c;
    if (!all_finite(v, 16)) return fail(GSB_INVALID_ARGUMENT, "viewmats: camera %d is not finite", c);
    if (v[12] != 0.0f || v[13] != 0.0f || v[14] != 0.0f || v[15] != 1.0f) {
      return fail(GSB_INVALID_ARGUMENT, "viewmats: camera %d: expected 0 0 0 1 in the last row", c);
    }
    const float* k = b.intrinsics + 9 * c;
    if (!all_finite(k, 9) || !(k[0] > 0.0f) || !(k[4] > 0.0f)) {
      return fail(GSB_INVALID_ARGUMENT, "Ks: camera %d: expected finite numbers and positive focal lengths", c);
    }
    if (k[1] != 0.0f || k[3] != 0.0f || k[6] != 0.0f || k[7] != 0.0f || k[8] != 1.0f) {
      return fail(GSB_INVALID_ARGUMENT, "Ks: camera %d: expected fx 0 cx; 0 fy cy; 0 0 1 (skew is not supported)", c);
    }
  }
  return GSB_OK;
}

}  // namespace
}  // namespace gsb

using gsb::RasterOptions;

extern "C" {

int32_t gsb_raster_get_sizes(const gsb_raster_options* options, gsb_raster_sizes* sizes) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, o)) return status;
  if (sizes->struct_size != sizeof(gsb_raster_sizes)) {
    return gsb::fail(GSB_INTERNAL, "gsb_raster_sizes: expected %zu bytes, got %u", sizeof(gsb_raster_sizes),
                     sizes->struct_size);
  }
  sizes->block_mask_bytes = gsb::kernels().block_mask_bytes;
  sizes->chunks = o.chunks();
  sizes->records_per_camera = o.records_per_camera();
  sizes->tiles = o.tiles();
  sizes->counters = gsb::counters_per_thread(o) * o.threads;
  sizes->tile_id_padding = gsb::kernels().lanes;
  sizes->forward_scratch_floats = int64_t(gsb::kTileSize * gsb::kTileSize) * o.channels;
  return GSB_OK;
}

int32_t gsb_raster_project_forward(const gsb_raster_options* options, const gsb_raster_buffers* buffers) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  if (const int status = gsb::check_cameras(o, *buffers)) return status;
  if (!gsb::kernels().project_forward(o, *buffers)) return gsb::explain_refusal(o, *buffers);
  int64_t sum = 0;
  for (int c = 0; c < o.cameras; ++c) {
    const int64_t bound = buffers->pair_bounds[c * (o.chunks() + 1) + o.chunks()];
    if (bound > UINT32_MAX) {
      return gsb::fail(GSB_INVALID_ARGUMENT,
                       "camera %d: %lld pairs of a Gaussian and a tile, more than the supported %u; are the scales "
                       "in scene units, not logarithms?",
                       c, (long long)bound, UINT32_MAX);
    }
    buffers->entry_offsets[c] = sum;
    sum += bound;
  }
  buffers->entry_offsets[o.cameras] = sum;
  return GSB_OK;
}

int32_t gsb_raster_blend_forward(const gsb_raster_options* options, const gsb_raster_buffers* buffers,
                                 int64_t* scratch_floats) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  gsb::kernels().blend_forward(o, *buffers);
  int64_t most = 0;
  for (int64_t i = 0; i < o.tiles() * o.cameras; ++i) most = buffers->tile_hits[i] > most ? buffers->tile_hits[i] : most;
  *scratch_floats = gsb::kernels().backward_scratch_floats(o, most);
  return GSB_OK;
}

int32_t gsb_raster_blend_backward(const gsb_raster_options* options, const gsb_raster_buffers* buffers) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  gsb::kernels().blend_backward(o, *buffers);
  return GSB_OK;
}

int32_t gsb_raster_project_backward(const gsb_raster_options* options, const gsb_raster_buffers* buffers) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  gsb::kernels().project_backward(o, *buffers);
  return GSB_OK;
}

int32_t gsb_raster_fisher(const gsb_raster_options* options, const gsb_raster_buffers* buffers) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  if (buffers->covars != nullptr) return gsb::fail(GSB_INVALID_ARGUMENT, "covars: Fisher needs scales");
  gsb::kernels().fisher(o, *buffers);
  return GSB_OK;
}

int32_t gsb_raster_normals_forward(const gsb_raster_options* options, const gsb_raster_buffers* buffers,
                                   float* normals) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  if (buffers->covars != nullptr) return gsb::fail(GSB_INVALID_ARGUMENT, "covars: normals need scales");
  gsb::kernels().normals_forward(o, *buffers, normals);
  return GSB_OK;
}

int32_t gsb_raster_normals_backward(const gsb_raster_options* options, const gsb_raster_buffers* buffers,
                                    const float* grad_normals) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  if (buffers->covars != nullptr) return gsb::fail(GSB_INVALID_ARGUMENT, "covars: normals need scales");
  gsb::kernels().normals_backward(o, *buffers, grad_normals);
  return GSB_OK;
}

int32_t gsb_raster_visible(const gsb_raster_options* options, const gsb_raster_buffers* buffers, uint8_t* visible) {
  RasterOptions o = {};
  if (const int status = gsb::convert(options, buffers, o)) return status;
  if (o.cameras != 1) return gsb::fail(GSB_INVALID_ARGUMENT, "cameras: expected 1, got %d", o.cameras);
  if (const int status = gsb::check_cameras(o, *buffers)) return status;
  if (!gsb::kernels().visible(o, *buffers, visible)) return gsb::explain_refusal(o, *buffers);
  return GSB_OK;
}

}  // extern "C"
