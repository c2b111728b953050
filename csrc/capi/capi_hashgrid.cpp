// The C ABI of the hash grid.
#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/dispatch.h"

namespace gsb {
namespace {

constexpr int64_t kMostResolution = 1 << 16;

int make_grid(const int32_t* points, int64_t count, const int32_t* extent, const int64_t* levels, int64_t level_count,
              const float* table, int64_t rows, int32_t binary, int32_t threads, HashGrid* grid) {
  if (count < 0 || level_count < 0) {
    return fail(GSB_INVALID_ARGUMENT, "counts: expected 0 or more, got %lld points and %lld levels",
                static_cast<long long>(count), static_cast<long long>(level_count));
  }
  for (int axis = 0; axis < 3; ++axis) {
    if (extent[axis] < 1) {
      return fail(GSB_INVALID_ARGUMENT, "extent: expected at least 1 along each axis, got %d", extent[axis]);
    }
  }
  static_assert(sizeof(HashLevel) == 4 * sizeof(int64_t), "a level is a row of four numbers");
  const auto* rows_of_four = reinterpret_cast<const HashLevel*>(levels);
  for (int64_t i = 0; i < level_count; ++i) {
    const HashLevel& level = rows_of_four[i];
    const bool axes = level.axes == 3 || level.axes == 5 || level.axes == 6 || level.axes == 7;
    const bool inside = level.first >= 0 && level.rows >= 1 && level.rows <= rows && level.first <= rows - level.rows;
    if (level.resolution < 2 || level.resolution > kMostResolution || !axes || !inside) {
      return fail(GSB_INVALID_ARGUMENT,
                  "levels: row %lld: expected a resolution of 2 to 65536, axes 3, 5, 6 or 7 and rows within the table's "
                  "%lld, got resolution %lld, axes %lld, rows %lld from %lld",
                  static_cast<long long>(i), static_cast<long long>(rows), static_cast<long long>(level.resolution),
                  static_cast<long long>(level.axes), static_cast<long long>(level.rows),
                  static_cast<long long>(level.first));
    }
  }
  if (threads < 1) return fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);
  grid->points = points;
  for (int axis = 0; axis < 3; ++axis) grid->extent[axis] = extent[axis];
  grid->levels = rows_of_four;
  grid->level_count = level_count;
  grid->table = table;
  grid->count = count;
  grid->binary = binary != 0;
  grid->threads = threads;
  return GSB_OK;
}

}  // namespace
}  // namespace gsb

extern "C" {

int32_t gsb_hashgrid_forward(const int32_t* points, int64_t count, const int32_t* extent, const int64_t* levels,
                             int64_t level_count, const float* table, int64_t rows, int32_t binary, float* features,
                             int64_t* positive, int32_t threads) {
  gsb::HashGrid grid = {};
  const int status =
      gsb::make_grid(points, count, extent, levels, level_count, table, rows, binary, threads, &grid);
  if (status != GSB_OK) return status;
  gsb::kernels().hashgrid_forward(grid, features);
  if (positive != nullptr) *positive = gsb::kernels().hashgrid_positive(grid);
  return status;
}

int32_t gsb_hashgrid_backward(const int32_t* points, int64_t count, const int32_t* extent, const int64_t* levels,
                              int64_t level_count, const float* table, int64_t rows, int32_t binary,
                              const float* grad_features, double grad_signs, float* grad_table,
                              int32_t threads) {
  gsb::HashGrid grid = {};
  const int status =
      gsb::make_grid(points, count, extent, levels, level_count, table, rows, binary, threads, &grid);
  if (status == GSB_OK) gsb::kernels().hashgrid_backward(grid, grad_features, static_cast<float>(grad_signs), grad_table);
  return status;
}

}  // extern "C"
