// Binning: for each tile its Gaussians from front to back.
//
// The visible combinations are sorted by depth, which is a sort of few; their pairs with tiles are listed in that order and
// sorted by tile, which takes as many bits as the number of a tile has. Both sorts are stable, so that within a tile depths
// ascend, and ties are in the order of indices.
#pragma once

#include "cuda/project.h"

namespace gsb {
namespace cuda {

// One thread per combination: lists the visible ones.
struct ListVisible {
  RasterOptions o;
  Buffers b;

  GSB_HD void operator()(int64_t id) const {
    if (!is_visible(o, b, id)) return;
    const uint32_t rank = b.ranks[id];
    // Positive floats order like their bits.
    b.depth_keys[rank] = uint32_t(bits_of(b.records[id].depth));
    b.order[rank] = uint32_t(id);
  }
};

// One thread per visible combination, by depth.
struct CountPairs {
  Buffers b;
  const uint32_t* order;

  GSB_HD void operator()(int64_t j) const { b.pair_begins[j] = b.tile_counts[order[j]]; }
};

struct ListPairs {
  RasterOptions o;
  Buffers b;
  const uint32_t* order;

  GSB_HD void operator()(int64_t j) const {
    const uint32_t id = order[j];
    const uint32_t first_tile = uint32_t(id / o.gaussians * o.tiles());
    uint32_t pair = b.pair_begins[j];
    for_each_tile(o, b.records[id], [&](uint32_t tile) {
      b.tile_keys[pair] = first_tile + tile;
      b.tile_entries[pair] = {id, pair};
      ++pair;
    });
  }
};

// One thread per entry and one more: where the lists of tiles begin.
struct FindTileStarts {
  int64_t tiles, pairs;
  const uint32_t* keys;
  uint32_t* starts;

  GSB_HD void operator()(int64_t i) const {
    const int64_t before = i == 0 ? -1 : int64_t(keys[i - 1]), here = i == pairs ? tiles : int64_t(keys[i]);
    for (int64_t tile = before + 1; tile <= here; ++tile) starts[tile] = uint32_t(i);
  }
};

}  // namespace cuda
}  // namespace gsb
