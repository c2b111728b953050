// What the stages of the CUDA rasterizer share.
#pragma once

#include "cpu/raster_types.h"
#include "cuda/gsbench_cuda.h"
#include "cuda/launch.h"
#include "math/screen.h"
#include "math/sh.h"

namespace gsb {
namespace cuda {

using Buffers = gsb_cuda_raster_buffers;

static_assert(kTileSide == float(kTileSize), "tiles are squares of kTileSize");
static_assert(sizeof(PinholeCamera) <= 32 * sizeof(float), "a camera fits into its row");

constexpr int kTilePixels = kTileSize * kTileSize;
// A warp draws a block of 8 x 4 pixels of its tile.
constexpr int kBlockSide = 8, kBlockRows = 4;
constexpr int kTileWarps = kTilePixels / kWarp;

enum Refusal { kRefusedGaussian = 1, kRefusedCamera = 2, kRefusedColor = 4 };

GSB_HD ScreenLimits limits_of(const RasterOptions& o) {
  return {o.width, o.height, o.near_plane, o.far_plane, o.eps2d, o.radius_clip, o.antialiased};
}

GSB_HD const PinholeCamera& camera_of(const Buffers& b, int64_t camera) {
  return *reinterpret_cast<const PinholeCamera*>(b.cameras + 32 * camera);
}

// The row of the per-projection arrays of combination `id` = camera * G + gaussian.
GSB_HD int64_t slot_of(const RasterOptions& o, const Buffers& b, uint32_t id) { return o.packed ? b.ranks[id] : id; }

// Whether a combination is drawn; an invisible one has the rank of the next visible one.
GSB_HD bool is_visible(const RasterOptions& o, const Buffers& b, int64_t id) {
  const bool last = id + 1 == int64_t(o.cameras) * o.gaussians;
  return (last ? uint32_t(b.visible) : b.ranks[id + 1]) != b.ranks[id];
}

// Where a thread's pixel is.
struct TilePixel {
  int64_t tile;    // over all cameras
  int camera;
  int x0, y0;      // the tile's first pixel
  int local_x, local_y;
  int64_t pixel;   // over all images; -1 outside
};

GSB_HD TilePixel tile_pixel(const RasterOptions& o, int64_t tile, int thread) {
  TilePixel p;
  p.tile = tile;
  const int64_t tiles = o.tiles();
  p.camera = int(tile / tiles);
  const int in_image = int(tile % tiles);
  p.x0 = in_image % o.tiles_x() * kTileSize;
  p.y0 = in_image / o.tiles_x() * kTileSize;
  const int warp = thread / kWarp, lane = thread % kWarp;
  p.local_x = warp % 2 * kBlockSide + lane % kBlockSide;
  p.local_y = warp / 2 * kBlockRows + lane / kBlockSide;
  const int x = p.x0 + p.local_x, y = p.y0 + p.local_y;
  p.pixel = x < o.width && y < o.height ? (int64_t(p.camera) * o.height + y) * o.width + x : -1;
  return p;
}

// What blending needs of a record, relative to the tile.
struct TileRecord {
  float x, y, a, b, c, log2_opacity;
  float red, green, blue;
  float depth;
};

GSB_HD TileRecord tile_record(const ScreenRecord& r, int x0, int y0) {
  return {r.x - float(x0), r.y - float(y0), r.a, r.b, r.c, r.log2_opacity, r.red, r.green, r.blue, r.depth};
}

// Whether a Gaussian can reach a warp's block of pixels. Every kernel asks this with the same numbers.
GSB_HD bool reaches_block(const TileRecord& r, float row_peak, float column_peak, int warp) {
  const float x0 = float(warp % 2 * kBlockSide) + 0.5f - r.x, y0 = float(warp / 2 * kBlockRows) + 0.5f - r.y;
  return reaches(r.a, r.b, r.c, r.log2_opacity, row_peak, column_peak, x0, x0 + float(kBlockSide - 1), y0,
                 y0 + float(kBlockRows - 1));
}

GSB_HD float exponent_of(const TileRecord& r, float dx, float dy) {
  return exponent_at(r.a, r.b, r.c, r.log2_opacity, dx, dy);
}

}  // namespace cuda
}  // namespace gsb
