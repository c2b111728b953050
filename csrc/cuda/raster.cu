// Projection and binning.
#include "cuda/bin.h"
#include "cuda/normals.h"
#include "cuda/project_backward.h"
#include "cuda/sort.h"
#include "cuda/status.h"

namespace gsb {
namespace cuda {
namespace {

int convert(const gsb_raster_options* options, const Buffers* buffers, RasterOptions& to) {
  if (buffers->struct_size != sizeof(Buffers)) {
    return fail(GSB_INTERNAL, "gsb_cuda_raster_buffers: expected %zu bytes, got %u", sizeof(Buffers),
                buffers->struct_size);
  }
  return cuda::convert(options, to);
}

int64_t combinations(const RasterOptions& o) { return o.gaussians * o.cameras; }

Workspace workspace_of(const Buffers& b) { return {b.workspace, b.workspace_bytes}; }

}  // namespace
}  // namespace cuda
}  // namespace gsb

using namespace gsb::cuda;  // the ABI below speaks of nothing else
using gsb::RasterOptions;

extern "C" {

int32_t gsb_cuda_raster_project_bytes(const gsb_cuda_queue* queue, const gsb_raster_options* options, int64_t* bytes) {
  RasterOptions o = {};
  if (const int status = gsb::cuda::convert(options, o)) return status;
  Call call(queue);
  *bytes = sum_bytes(call.queue, combinations(o));
  return call.status();
}

int32_t gsb_cuda_raster_project(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                const gsb_cuda_raster_buffers* buffers) {
  RasterOptions o = {};
  if (const int status = convert(options, buffers, o)) return status;
  Call call(queue);
  Queue& q = call.queue;
  const Buffers& b = *buffers;
  fill_zero(q, b.totals, 3 * sizeof(int64_t));
  for_each(q, o.cameras, PrepareCameras{o, b});
  const int64_t count = combinations(o);
  if (b.covars != nullptr) {
    for_each(q, count, ProjectForward<gsb::Covariance<float>>{o, b});
  } else {
    for_each(q, count, ProjectForward<gsb::Axes<float>>{o, b});
  }
  run_blocks(q, (count + CountTotals::kPerBlock - 1) / CountTotals::kPerBlock, CountTotals{count, b});
  exclusive_sum(q, workspace_of(b), b.ranks, count);
  return call.status();
}

int32_t gsb_cuda_raster_pack(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                             const gsb_cuda_raster_buffers* buffers) {
  RasterOptions o = {};
  if (const int status = convert(options, buffers, o)) return status;
  Call call(queue);
  for_each(call.queue, combinations(o), PackSlots{o, *buffers});
  return call.status();
}

int32_t gsb_cuda_raster_bin_bytes(const gsb_cuda_queue* queue, const gsb_raster_options* options, int64_t visible,
                                  int64_t pairs, int64_t* bytes) {
  RasterOptions o = {};
  if (const int status = gsb::cuda::convert(options, o)) return status;
  if (pairs > UINT32_MAX) {
    return gsb::fail(GSB_INVALID_ARGUMENT,
                     "%lld pairs of a Gaussian and a tile, more than the supported %u; are the scales in scene units, not "
                     "logarithms?",
                     static_cast<long long>(pairs), UINT32_MAX);
  }
  Call call(queue);
  const int64_t by_depth = sort_bytes<uint32_t, uint32_t>(call.queue, visible, 31);
  const int64_t by_tile = sort_bytes<uint32_t, gsb_tile_entry>(call.queue, pairs, bits_for(o.tiles() * o.cameras));
  const int64_t sums = sum_bytes(call.queue, visible);
  *bytes = by_depth > by_tile ? by_depth : by_tile;
  *bytes = sums > *bytes ? sums : *bytes;
  return call.status();
}

int32_t gsb_cuda_raster_bin(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                            const gsb_cuda_raster_buffers* buffers, int32_t* order_half, int32_t* entry_half) {
  RasterOptions o = {};
  if (const int status = convert(options, buffers, o)) return status;
  Call call(queue);
  Queue& q = call.queue;
  const Buffers& b = *buffers;
  for_each(q, combinations(o), ListVisible{o, b});
  *order_half = sort_pairs(q, workspace_of(b), b.depth_keys, b.order, b.visible, 31);
  const uint32_t* order = b.order + *order_half * b.visible;
  for_each(q, b.visible, CountPairs{b, order});
  exclusive_sum(q, workspace_of(b), b.pair_begins, b.visible);
  for_each(q, b.visible, ListPairs{o, b, order});
  const int64_t tiles = o.tiles() * o.cameras;
  *entry_half = sort_pairs(q, workspace_of(b), b.tile_keys, b.tile_entries, b.pairs, bits_for(tiles));
  const uint32_t* keys = b.tile_keys + *entry_half * b.pairs;
  for_each(q, tiles + 1, FindTileStarts{b.pairs, keys, b.tile_starts});
  return call.status();
}

int32_t gsb_cuda_raster_project_backward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                         const gsb_cuda_raster_buffers* buffers) {
  RasterOptions o = {};
  if (const int status = convert(options, buffers, o)) return status;
  Call call(queue);
  Queue& q = call.queue;
  const Buffers& b = *buffers;
  const int64_t rows = o.separate_cameras ? combinations(o) : o.gaussians;
  const int64_t chunks = (o.gaussians + kCameraChunk - 1) / kCameraChunk;
  if (b.covars != nullptr) {
    for_each(q, rows, ProjectBackward<gsb::Covariance<float>>{o, b});
  } else {
    for_each(q, rows, ProjectBackward<gsb::Axes<float>>{o, b});
  }
  if (b.grad_viewmats != nullptr) {
    if (b.covars != nullptr) {
      run_blocks(q, chunks * o.cameras, CameraBackward<gsb::Covariance<float>>{o, b, chunks});
    } else {
      run_blocks(q, chunks * o.cameras, CameraBackward<gsb::Axes<float>>{o, b, chunks});
    }
    for_each(q, 16 * int64_t(o.cameras), AddCameraRows{b, chunks});
  }
  return call.status();
}

int32_t gsb_cuda_raster_visible(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                const gsb_cuda_raster_buffers* buffers, uint8_t* visible) {
  RasterOptions o = {};
  if (const int status = convert(options, buffers, o)) return status;
  if (o.cameras != 1) return gsb::fail(GSB_INVALID_ARGUMENT, "cameras: expected 1, got %d", o.cameras);
  Call call(queue);
  fill_zero(call.queue, buffers->totals, 3 * sizeof(int64_t));
  for_each(call.queue, 1, PrepareCameras{o, *buffers});
  for_each(call.queue, o.gaussians, SeenIfOpaque{o, *buffers, visible});
  return call.status();
}

int32_t gsb_cuda_raster_normals_forward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                        const gsb_cuda_raster_buffers* buffers, float* normals) {
  RasterOptions o = {};
  if (const int status = convert(options, buffers, o)) return status;
  if (buffers->covars != nullptr) return gsb::fail(GSB_INVALID_ARGUMENT, "covars: normals need scales");
  Call call(queue);
  for_each(call.queue, combinations(o), NormalsForward{o, *buffers, normals});
  return call.status();
}

int32_t gsb_cuda_raster_normals_backward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                         const gsb_cuda_raster_buffers* buffers, const float* grad_normals) {
  RasterOptions o = {};
  if (const int status = convert(options, buffers, o)) return status;
  if (buffers->covars != nullptr) return gsb::fail(GSB_INVALID_ARGUMENT, "covars: normals need scales");
  Call call(queue);
  for_each(call.queue, o.gaussians, NormalsBackward{o, *buffers, grad_normals});
  return call.status();
}

}  // extern "C"
