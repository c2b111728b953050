// What the stages of the CPU rasterizer pass to each other. Shared by all instruction sets.
#pragma once

#include <stdint.h>

#include "capi/gsbench.h"
#include "math/projection.h"

// A visible Gaussian on the screen: one cache line. The exponent of its alpha at an offset (dx, dy) in pixels is
// log2_opacity + dx (a dx + b dy) + c dy^2, in base 2.
struct alignas(64) gsb_screen_record {
  float x, y;
  float a, b, c;
  float log2_opacity;
  float red, green, blue;
  float row_peak;     // dx of the largest exponent at dy = 1
  float column_peak;  // dy of the largest exponent at dx = 1
  float depth;        // camera z
  float opacity;
  float extent_x, extent_y;  // half the size of the box around {alpha >= 1/255}, in pixels
  int32_t gaussian;
};
static_assert(sizeof(gsb_screen_record) == 64, "a record is one cache line");

// The pairs (Gaussian, tile) of a record.
struct gsb_pair_range {
  uint32_t begin, count;
};

// An entry of a tile's depth-sorted list.
struct gsb_tile_entry {
  uint32_t record, pair;
};

namespace gsb {

using ScreenRecord = gsb_screen_record;
using PairRange = gsb_pair_range;
using TileEntry = gsb_tile_entry;
using RasterBuffers = gsb_raster_buffers;

constexpr int kTileSize = 16;
// Gaussians are projected in chunks of this many; each chunk's visible ones lie together in the record buffer.
constexpr int kChunk = 2048;

// Gradient row of a pair: sums over the tile's pixels, in an order of the instruction set's own.
constexpr int kRowFloats = 16;
// Statistics of a pair: hits, sum of weights, sum of transmittances, largest weight, dominant.
constexpr int kStatisticFloats = 8;
constexpr int kFisherFloats = 21;

struct RasterOptions {
  int64_t gaussians;
  int32_t cameras;
  int32_t width, height;
  int32_t color_bases;  // coefficients per channel in memory; 0: colors are given directly
  int32_t sh_degree;
  bool colors_per_camera;
  int32_t channels;  // of features; 0: the projection's colors are drawn
  bool packed, antialiased, separate_cameras;
  int32_t threads;
  float near_plane, far_plane, eps2d, radius_clip;

  GSB_HD int32_t drawn_channels() const { return channels == 0 ? 3 : channels; }

  GSB_HD int64_t chunks() const { return (gaussians + kChunk - 1) / kChunk; }
  GSB_HD int64_t records_per_camera() const { return chunks() * kChunk; }
  GSB_HD int32_t tiles_x() const { return (width + kTileSize - 1) / kTileSize; }
  GSB_HD int32_t tiles_y() const { return (height + kTileSize - 1) / kTileSize; }
  GSB_HD int64_t tiles() const { return int64_t(tiles_x()) * tiles_y(); }
};

// Records are sorted by depth in passes over digits of this many bits.
constexpr int kSortBits = 11, kSortDigits = 1 << kSortBits, kSortPasses = 3;

// Numbers that a thread needs to bin; what they are is ThreadCounters' to say.
GSB_HD int64_t counters_per_thread(const RasterOptions& o) {
  const int64_t buckets = o.tiles() > kSortDigits ? o.tiles() : kSortDigits;
  return (o.tiles() + 1) + kSortPasses * (kSortDigits + 1) + 2 * buckets + (kSortPasses + 1);
}

}  // namespace gsb
