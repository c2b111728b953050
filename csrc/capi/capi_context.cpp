// The C ABI of octrees, and of what integer contexts are made of: dense layers and grids of signs.
#include <cstring>
#include <new>
#include <vector>

#include "capi/gsbench.h"
#include "capi/status.h"
#include "coding/octree.h"
#include "coding/sign_grid.h"
#include "cpu/dispatch.h"

namespace gsb {
namespace {

int make_grid(const int32_t* points, int64_t count, const int32_t* extent, const int64_t* levels, int64_t level_count,
              int64_t rows, int32_t threads, SignGrid* grid) {
  for (int axis = 0; axis < 3; ++axis) {
    if (extent[axis] < 1) {
      return fail(GSB_INVALID_ARGUMENT, "extent: expected at least 1 along each axis, got %d", extent[axis]);
    }
    grid->extent[axis] = extent[axis];
  }
  static_assert(sizeof(SignLevel) == 4 * sizeof(int64_t), "a level is a row of four numbers");
  grid->levels = reinterpret_cast<const SignLevel*>(levels);
  for (int64_t i = 0; i < level_count; ++i) {
    const SignLevel& level = grid->levels[i];
    const bool axes = level.axes == 3 || level.axes == 5 || level.axes == 6 || level.axes == 7;
    const bool inside = level.first >= 0 && level.rows >= 1 && level.rows <= rows && level.first <= rows - level.rows;
    if (level.resolution < 2 || level.resolution > 1 << 16 || !axes || !inside) {
      return fail(GSB_INVALID_ARGUMENT,
                  "levels: row %lld: expected a resolution of 2 to 65536, axes 3, 5, 6 or 7 and rows within %lld, got "
                  "resolution %lld, axes %lld, rows %lld from %lld",
                  static_cast<long long>(i), static_cast<long long>(rows), static_cast<long long>(level.resolution),
                  static_cast<long long>(level.axes), static_cast<long long>(level.rows),
                  static_cast<long long>(level.first));
    }
  }
  if (threads < 1) return fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);
  grid->points = points;
  grid->count = count;
  grid->level_count = level_count;
  grid->threads = threads;
  return GSB_OK;
}

int check_octree(int64_t count, int32_t depth) {
  if (depth < 1 || depth > kMostDepth) {
    return fail(GSB_INVALID_ARGUMENT, "depth: expected 1 to %d, got %d", kMostDepth, depth);
  }
  if (count < 0) return fail(GSB_INVALID_ARGUMENT, "points: %lld of them", static_cast<long long>(count));
  return GSB_OK;
}

int check_points(const int32_t* points, int64_t count, int32_t depth) {
  const int status = check_octree(count, depth);
  if (status != GSB_OK) return status;
  for (int64_t i = 0; i < 3 * count; ++i) {
    if (points[i] < 0 || points[i] >> depth != 0) {
      return fail(GSB_INVALID_ARGUMENT, "points: expected 0 to 2^%d - 1, got %d in row %lld", depth, points[i],
                  static_cast<long long>(i / 3));
    }
  }
  return GSB_OK;
}

int give(const std::vector<uint8_t>& bytes, uint8_t* out, int64_t capacity, int64_t* size) {
  *size = static_cast<int64_t>(bytes.size());
  if (*size <= capacity) std::memcpy(out, bytes.data(), bytes.size());
  return GSB_OK;
}

int out_of_memory() { return fail(GSB_INTERNAL, "out of memory"); }

}  // namespace
}  // namespace gsb

extern "C" {

int32_t gsb_sign_grid_features(const int32_t* points, int64_t count, const int32_t* extent, const int64_t* levels,
                               int64_t level_count, const uint8_t* signs, int64_t rows, int32_t fraction_bits,
                               int16_t* features, int32_t threads) {
  gsb::SignGrid grid = {};
  const int status = gsb::make_grid(points, count, extent, levels, level_count, rows, threads, &grid);
  if (status != GSB_OK) return status;
  if (fraction_bits < 0 || fraction_bits > 14) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "fraction_bits: expected 0 to 14, got %d", fraction_bits);
  }
  gsb::look_up_signs(grid, signs, fraction_bits, features);
  return GSB_OK;
}

int32_t gsb_sign_grid_touched(const int32_t* points, int64_t count, const int32_t* extent, const int64_t* levels,
                              int64_t level_count, uint8_t* touched, int64_t rows, int32_t threads) {
  gsb::SignGrid grid = {};
  const int status = gsb::make_grid(points, count, extent, levels, level_count, rows, threads, &grid);
  if (status != GSB_OK) return status;
  gsb::touch_rows(grid, touched);
  return GSB_OK;
}

int32_t gsb_dense_run(const gsb_dense_layer* from) {
  if (from->struct_size != sizeof(gsb_dense_layer)) {
    return gsb::fail(GSB_INTERNAL, "gsb_dense_layer: expected %zu bytes, got %u", sizeof(gsb_dense_layer),
                     from->struct_size);
  }
  gsb::DenseLayer layer = {};
  layer.inputs = from->inputs;
  layer.weights = from->weights;
  layer.bias = from->bias;
  layer.shift = from->shift;
  layer.count = from->count;
  layer.stride = from->stride;
  layer.outputs = from->outputs;
  layer.padded = from->padded;
  layer.activation = from->activation;
  layer.leak = from->leak;
  layer.limit = from->limit;
  layer.hidden = from->hidden;
  layer.hidden_stride = from->hidden_stride;
  layer.last = from->last;
  layer.threads = from->threads;
  if (layer.stride % 2 != 0 || layer.padded % gsb::kDenseColumns != 0 || layer.padded < layer.outputs ||
      (layer.hidden != nullptr && layer.hidden_stride < layer.outputs)) {
    return gsb::fail(GSB_INTERNAL, "gsb_dense_layer: sizes that do not fit each other");
  }
  if (layer.threads < 1) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", layer.threads);
  }
  gsb::kernels().dense(layer);
  return GSB_OK;
}

int32_t gsb_octree_encode(const int32_t* points, int64_t count, int32_t depth, int64_t* order, uint8_t* out,
                          int64_t capacity, int64_t* size) try {
  const int status = gsb::check_points(points, count, depth);
  if (status != GSB_OK) return status;
  return gsb::give(gsb::encode_octree(points, count, depth, order), out, capacity, size);
} catch (const std::bad_alloc&) {
  return gsb::out_of_memory();
}

int32_t gsb_octree_codes(const int32_t* points, int64_t count, int32_t depth, uint8_t* out, int64_t capacity,
                         int64_t* size) try {
  const int status = gsb::check_points(points, count, depth);
  if (status != GSB_OK) return status;
  return gsb::give(gsb::octree_codes(points, count, depth), out, capacity, size);
} catch (const std::bad_alloc&) {
  return gsb::out_of_memory();
}

int32_t gsb_octree_decode(const uint8_t* data, int64_t size, int64_t count, int32_t depth, int32_t* points) try {
  const int status = gsb::check_octree(count, depth);
  if (status != GSB_OK) return status;
  if (gsb::decode_octree(data, size, count, depth, points)) return GSB_OK;
  return gsb::fail(GSB_DAMAGED, "the octree is damaged, or does not hold %lld points", static_cast<long long>(count));
} catch (const std::bad_alloc&) {
  return gsb::out_of_memory();
}

}  // extern "C"
