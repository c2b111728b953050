// Hash grids, anchors, and what integer contexts are made of.
#include "cuda/context.h"

#include "cuda/anchors.h"
#include "cuda/bin.h"
#include "cuda/hashgrid.h"
#include "cuda/sort.h"
#include "cuda/status.h"

namespace gsb {
namespace cuda {
namespace {

constexpr int64_t kMostPoints = int64_t(1) << 28;

int check_grid(int64_t count, const int32_t* extent, const HashLevel* levels, int64_t level_count, int64_t rows,
               GridPoints* grid) {
  if (count < 0 || count > kMostPoints || level_count < 0) {
    return fail(GSB_INVALID_ARGUMENT, "points: expected 0 to 2^28 of them, got %lld", static_cast<long long>(count));
  }
  for (int axis = 0; axis < 3; ++axis) {
    if (extent[axis] < 1) {
      return fail(GSB_INVALID_ARGUMENT, "extent: expected at least 1 along each axis, got %d", extent[axis]);
    }
    grid->extent[axis] = extent[axis];
  }
  for (int64_t i = 0; i < level_count; ++i) {
    const HashLevel& level = levels[i];
    const bool axes = level.axes == 3 || level.axes == 5 || level.axes == 6 || level.axes == 7;
    const bool inside = level.first >= 0 && level.rows >= 1 && level.rows <= rows && level.first <= rows - level.rows;
    if (level.resolution < 2 || level.resolution > 1 << 16 || !axes || !inside || level.rows >= UINT32_MAX) {
      return fail(GSB_INVALID_ARGUMENT,
                  "levels: row %lld: expected a resolution of 2 to 65536, axes 3, 5, 6 or 7 and rows within the table's "
                  "%lld, got resolution %lld, axes %lld, rows %lld from %lld",
                  static_cast<long long>(i), static_cast<long long>(rows), static_cast<long long>(level.resolution),
                  static_cast<long long>(level.axes), static_cast<long long>(level.rows),
                  static_cast<long long>(level.first));
    }
  }
  grid->count = count;
  return GSB_OK;
}

const HashLevel* levels_of(const int64_t* levels) { return reinterpret_cast<const HashLevel*>(levels); }

// One thread per point, by a body for the level's number of dimensions.
template <template <int> class Body, class... Arguments>
void for_each_point(Queue& q, const GridPoints& grid, const HashShape& level, Arguments... arguments) {
  if (level.dimensions == 3) {
    for_each(q, grid.count, Body<3>{grid, level, arguments...});
  } else {
    for_each(q, grid.count, Body<2>{grid, level, arguments...});
  }
}

// The memory that the gradient of one level takes.
struct GridScratch {
  uint32_t* rows;     // [2, shares]
  GridShare* shares;  // [2, shares]
  uint32_t* starts;   // [most rows + 1]
  Workspace sort;
};

int64_t lay_out(Queue& q, int64_t count, const HashLevel* levels, int64_t level_count, void* memory,
                GridScratch* scratch) {
  int64_t most_rows = 0;
  for (int64_t i = 0; i < level_count; ++i) most_rows = levels[i].rows > most_rows ? levels[i].rows : most_rows;
  char* at = static_cast<char*>(memory);
  int64_t used = 0;
  const auto take = [&](int64_t bytes) {
    char* part = at + used;
    used += (bytes + 255) / 256 * 256;
    return part;
  };
  const int64_t shares = kMostCorners * count;
  scratch->rows = reinterpret_cast<uint32_t*>(take(8 * shares));
  scratch->shares = reinterpret_cast<GridShare*>(take(2 * shares * int64_t(sizeof(GridShare))));
  scratch->starts = reinterpret_cast<uint32_t*>(take(4 * (most_rows + 1)));
  scratch->sort.bytes = sort_bytes<uint32_t, GridShare>(q, shares, bits_for(most_rows));
  scratch->sort.memory = take(scratch->sort.bytes);
  return used;
}

int check_anchors(const gsb_anchor_buffers* b) {
  if (b->struct_size != sizeof(gsb_anchor_buffers)) {
    return fail(GSB_INTERNAL, "gsb_anchor_buffers: expected %zu bytes, got %u", sizeof(gsb_anchor_buffers),
                b->struct_size);
  }
  if (b->anchors < 0 || b->per_anchor < 1 || b->anchors > INT32_MAX / 7 / b->per_anchor) {
    return fail(GSB_INVALID_ARGUMENT, "anchors: expected fewer than 2^31 / 7 offsets, got %lld anchors with %lld each",
                static_cast<long long>(b->anchors), static_cast<long long>(b->per_anchor));
  }
  return GSB_OK;
}

int64_t counts_bytes(int64_t anchors) { return (4 * (anchors + 1) + 255) / 256 * 256; }

}  // namespace
}  // namespace cuda
}  // namespace gsb

using namespace gsb::cuda;

extern "C" {

int32_t gsb_cuda_hashgrid_forward(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                  const int32_t* extent, const int64_t* levels, int64_t level_count, const float* table,
                                  int64_t rows, int32_t binary, float* features, int64_t* positive) {
  GridPoints grid = {};
  if (const int status = check_grid(count, extent, levels_of(levels), level_count, rows, &grid)) return status;
  grid.points = points;
  Call call(queue);
  Queue& q = call.queue;
  if (positive != nullptr) fill_zero(q, positive, 8);
  for (int64_t i = 0; i < level_count; ++i) {
    const gsb::HashLevel& level = levels_of(levels)[i];
    const float* own = table + level.first * kGridFeatures;
    for_each_point<LookUpGrid>(q, grid, gsb::shape_of(level), own, binary != 0, features + i * kGridFeatures,
                               level_count * kGridFeatures);
    if (positive == nullptr) continue;
    const int64_t numbers = level.rows * kGridFeatures;
    run_blocks(q, (numbers + CountPositive::kPerBlock - 1) / CountPositive::kPerBlock,
               CountPositive{own, numbers, positive});
  }
  return call.status();
}

int32_t gsb_cuda_hashgrid_bytes(const gsb_cuda_queue* queue, int64_t count, const int64_t* levels, int64_t level_count,
                                int64_t* bytes) {
  Call call(queue);
  GridScratch scratch = {};
  *bytes = lay_out(call.queue, count, levels_of(levels), level_count, nullptr, &scratch);
  return call.status();
}

int32_t gsb_cuda_hashgrid_backward(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                   const int32_t* extent, const int64_t* levels, int64_t level_count, const float* table,
                                   int64_t rows, int32_t binary, const float* grad_features,
                                   const float* grad_signs, float* grad_table, void* workspace, int64_t workspace_bytes) {
  GridPoints grid = {};
  if (const int status = check_grid(count, extent, levels_of(levels), level_count, rows, &grid)) return status;
  grid.points = points;
  Call call(queue);
  Queue& q = call.queue;
  GridScratch scratch = {};
  if (lay_out(q, count, levels_of(levels), level_count, workspace, &scratch) > workspace_bytes) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "workspace: %lld bytes are too few", static_cast<long long>(workspace_bytes));
  }
  const int64_t width = level_count * kGridFeatures;
  for (int64_t i = 0; i < level_count; ++i) {
    const gsb::HashLevel& level = levels_of(levels)[i];
    const gsb::HashShape shape = gsb::shape_of(level);
    const int64_t shares = count << shape.dimensions;
    for_each_point<ListShares>(q, grid, shape, scratch.rows, scratch.shares);
    const int half = sort_pairs(q, scratch.sort, scratch.rows, scratch.shares, shares, bits_for(level.rows));
    for_each(q, level.rows + 1, FindTileStarts{shares, scratch.rows + half * shares, scratch.starts});
    for_each(q, level.rows,
             AddShares{scratch.starts, scratch.shares + half * shares, table + level.first * kGridFeatures,
                       grad_features + i * kGridFeatures, width, binary != 0, grad_signs,
                       grad_table + level.first * kGridFeatures});
  }
  return call.status();
}

int32_t gsb_cuda_sign_grid_features(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                    const int32_t* extent, const int64_t* levels, int64_t level_count,
                                    const uint8_t* signs, int64_t rows, int32_t fraction_bits, int16_t* features) {
  GridPoints grid = {};
  if (const int status = check_grid(count, extent, levels_of(levels), level_count, rows, &grid)) return status;
  if (fraction_bits < 0 || fraction_bits > 14) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "fraction_bits: expected 0 to 14, got %d", fraction_bits);
  }
  grid.points = points;
  Call call(queue);
  for (int64_t i = 0; i < level_count; ++i) {
    const gsb::HashLevel& level = levels_of(levels)[i];
    for_each_point<LookUpSigns>(call.queue, grid, gsb::shape_of(level), signs + level.first, fraction_bits,
                                features + i * kGridFeatures, level_count * kGridFeatures);
  }
  return call.status();
}

int32_t gsb_cuda_sign_grid_touched(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                   const int32_t* extent, const int64_t* levels, int64_t level_count, uint8_t* touched,
                                   int64_t rows) {
  GridPoints grid = {};
  if (const int status = check_grid(count, extent, levels_of(levels), level_count, rows, &grid)) return status;
  grid.points = points;
  Call call(queue);
  for (int64_t i = 0; i < level_count; ++i) {
    const gsb::HashLevel& level = levels_of(levels)[i];
    for_each_point<TouchRows>(call.queue, grid, gsb::shape_of(level), touched + level.first);
  }
  return call.status();
}

int32_t gsb_cuda_anchor_bytes(const gsb_cuda_queue* queue, int64_t anchors, int64_t* bytes) {
  Call call(queue);
  *bytes = counts_bytes(anchors) + sum_bytes(call.queue, anchors + 1);
  return call.status();
}

int32_t gsb_cuda_anchor_count(const gsb_cuda_queue* queue, const gsb_anchor_buffers* b, void* workspace,
                              int64_t workspace_bytes) {
  if (const int status = check_anchors(b)) return status;
  Call call(queue);
  Queue& q = call.queue;
  uint32_t* counts = static_cast<uint32_t*>(workspace);
  const int64_t used = counts_bytes(b->anchors);
  fill_zero(q, counts, used);
  for_each(q, b->anchors, CountLive{*b, counts});
  exclusive_sum(q, {static_cast<char*>(workspace) + used, workspace_bytes - used}, counts, b->anchors + 1);
  for_each(q, b->anchors + 1, StoreStarts{*b, counts});
  return call.status();
}

int32_t gsb_cuda_anchor_forward(const gsb_cuda_queue* queue, const gsb_anchor_buffers* b) {
  if (const int status = check_anchors(b)) return status;
  Call call(queue);
  for_each(call.queue, b->anchors * b->per_anchor, ExpandAnchors{*b});
  return call.status();
}

int32_t gsb_cuda_anchor_backward(const gsb_cuda_queue* queue, const gsb_anchor_buffers* b) {
  if (const int status = check_anchors(b)) return status;
  Call call(queue);
  for_each(call.queue, b->anchors, AnchorsBackward{*b});
  return call.status();
}

int32_t gsb_cuda_dense_run(const gsb_cuda_queue* queue, const gsb_dense_layer* from) {
  if (from->struct_size != sizeof(gsb_dense_layer)) {
    return gsb::fail(GSB_INTERNAL, "gsb_dense_layer: expected %zu bytes, got %u", sizeof(gsb_dense_layer),
                     from->struct_size);
  }
  const gsb::DenseLayer layer = {from->inputs,     from->weights, from->bias,  from->shift,  from->count,
                                 from->stride,     from->outputs, from->padded, from->activation, from->leak,
                                 from->limit,      from->hidden,  from->hidden_stride, from->last, 1};
  if (layer.stride % 2 != 0 || layer.padded < layer.outputs ||
      (layer.hidden != nullptr && layer.hidden_stride < layer.outputs)) {
    return gsb::fail(GSB_INTERNAL, "gsb_dense_layer: sizes that do not fit each other");
  }
  const int64_t columns = layer.hidden != nullptr ? layer.hidden_stride : layer.outputs;
  Call call(queue);
  for_each(call.queue, layer.count * columns, RunDense{layer, columns});
  return call.status();
}

int32_t gsb_cuda_gaussian_intervals(const gsb_cuda_queue* queue, const int32_t* symbols, const int32_t* means,
                                    const uint8_t* scales, int64_t count, const gsb_gaussian_tables* tables,
                                    uint32_t* starts, uint32_t* frequencies, int32_t* shifts, int64_t* distances) {
  if (tables->struct_size != sizeof(gsb_gaussian_tables)) {
    return gsb::fail(GSB_INTERNAL, "gsb_gaussian_tables: expected %zu bytes, got %u", sizeof(gsb_gaussian_tables),
                     tables->struct_size);
  }
  Call call(queue);
  for_each(call.queue, count,
           FindIntervals{symbols, means, scales, {tables->starts, tables->offsets, tables->sizes}, starts, frequencies,
                         shifts, distances});
  return call.status();
}

}  // extern "C"
