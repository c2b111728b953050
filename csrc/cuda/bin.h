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

// One thread per tile and one more: where its list begins, in keys that ascend. (A thread per key would have long runs of
// empty tiles to itself.)
struct FindTileStarts {
  int64_t pairs;
  const uint32_t* keys;
  uint32_t* starts;

  GSB_HD void operator()(int64_t tile) const {
    int64_t low = 0, high = pairs;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (int64_t(keys[middle]) < tile) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    starts[tile] = uint32_t(low);
  }
};

}  // namespace cuda
}  // namespace gsb
