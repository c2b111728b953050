// Alpha blending of one tile: a thread per pixel, a warp per block of 8 x 4 pixels.
//
// The tile's list is read in batches into shared memory. Each warp tests which of a batch's Gaussians can reach its block,
// one per lane, and then draws only those. All decisions are those of csrc/cpu/blend.inc, in the same arithmetic.
#pragma once

#include "cuda/raster.h"

namespace gsb {
namespace cuda {

// Entries of a tile's list.
struct TileSpan {
  uint32_t begin, count;
};

GSB_HD TileSpan tile_span(const Buffers& b, int64_t tile) {
  return {b.tile_starts[tile], b.tile_starts[tile + 1] - b.tile_starts[tile]};
}

// A batch of a tile's list in shared memory.
template <int Size>
struct Batch {
  TileRecord record[Size];
  float row_peak[Size], column_peak[Size];
  uint32_t id[Size];
};

template <int Size>
GSB_HD void load_entry(const Buffers& b, Batch<Size>& batch, int i, uint32_t entry, const TilePixel& at) {
  const uint32_t id = b.tile_entries[entry].record;
  const ScreenRecord& r = b.records[id];
  batch.record[i] = tile_record(r, at.x0, at.y0);
  batch.row_peak[i] = r.row_peak;
  batch.column_peak[i] = r.column_peak;
  batch.id[i] = id;
}

// What a thread's pixel has come to.
struct PixelState {
  float transmittance;
  uint32_t last;  // entries up to the last one drawn
  bool done;
};

// The distortion and the median Gaussian of a pixel; depths are relative to the tile's nearest Gaussian, against
// cancellation.
struct SurfaceState {
  float depth_sum, distortion;
  uint32_t median;  // entries up to the median one; 0: none
};

// Channels: the RGB of the records, or up to so many features, from `first_channel` on.
template <int Channels, bool Features, bool Surface>
struct BlendForward {
  static constexpr int kThreads = kTilePixels, kBatch = kTilePixels;
  using Shared = Batch<kBatch>;
  RasterOptions o;
  Buffers b;
  int first_channel;

  struct Colors {
    float of[Channels];
  };

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t tile) const {
    typename B::template Local<TilePixel> at;
    typename B::template Local<PixelState> state;
    typename B::template Local<Colors> colors;
    typename B::template Local<SurfaceState> surface;
    const TileSpan span = tile_span(b, tile);
    float nearest = 0.0f;
    if (Surface && span.count > 0) nearest = b.records[b.tile_entries[span.begin].record].depth;
    block.each([&](int t) {
      at(t) = tile_pixel(o, tile, t);
      const bool drawn = at(t).pixel >= 0 && (b.masks == nullptr || b.masks[at(t).pixel] != 0);
      state(t) = {1.0f, 0, !drawn};
      for (int k = 0; k < Channels; ++k) colors(t).of[k] = 0.0f;
      surface(t) = {0.0f, 0.0f, 0};
    });
    for (uint32_t base = 0; base < span.count; base += kBatch) {
      // The barrier also keeps the last batch until everybody is done with it.
      if (!block.any([&](int t) { return !state(t).done; })) break;
      const uint32_t size = span.count - base < kBatch ? span.count - base : kBatch;
      block.each([&](int t) {
        if (uint32_t(t) < size) load_entry(b, shared, t, span.begin + base + uint32_t(t), at(t));
      });
      block.barrier();
      block.each_warp([&](int w) {
        for (uint32_t group = 0; group < size; group += kWarp) {
          if (!block.any_lane(w, [&](int t) { return !state(t).done; })) break;
          const uint32_t word = block.ballot(w, [&](int t) {
            const uint32_t i = group + uint32_t(t % kWarp);
            return i < size && reaches_block(shared.record[i], shared.row_peak[i], shared.column_peak[i], w);
          });
          block.each_lane(w, [&](int t) {
            for (uint32_t left = word; left != 0 && !state(t).done; left &= left - 1) {
              const int i = int(group) + lowest_bit(left);
              draw(shared.record[i], shared.id[i], base + uint32_t(i) + 1, nearest, at(t), state(t), colors(t), surface(t));
            }
          });
        }
      });
    }
    block.each([&](int t) {
      if (at(t).pixel >= 0) finish(span, at(t), state(t), colors(t), surface(t));
    });
  }

  GSB_HD void draw(const TileRecord& r, uint32_t id, uint32_t number, float nearest, const TilePixel& at,
                   PixelState& s, Colors& colors, SurfaceState& surface) const {
    const float e = exponent_of(r, float(at.local_x) + 0.5f - r.x, float(at.local_y) + 0.5f - r.y);
    if (!(e >= kLog2AlphaMin)) return;
    const float alpha = min_of(alpha_exp2(e), kAlphaMax);
    const float next = fma_of(-alpha, s.transmittance, s.transmittance);
    if (!(next > kTransmittanceMin)) {
      s.done = true;
      return;
    }
    const float weight = alpha * s.transmittance;
    if constexpr (Features) {
      const float* feature = b.features + slot_of(o, b, id) * o.channels + first_channel;
      const int count = o.channels - first_channel;
      GSB_UNROLL
      for (int k = 0; k < Channels; ++k) {
        if (k < count) colors.of[k] = fma_of(weight, feature[k], colors.of[k]);
      }
    } else {
      colors.of[0] = fma_of(weight, r.red, colors.of[0]);
      colors.of[1] = fma_of(weight, r.green, colors.of[1]);
      colors.of[2] = fma_of(weight, r.blue, colors.of[2]);
    }
    if constexpr (Surface) {
      // distortion = 2 sum over i of w_i (z_i A_i - D_i), with A_i and D_i the sums of w and w z before i.
      const float z = r.depth - nearest, before = 1.0f - s.transmittance;
      const float added = weight * (z * before - surface.depth_sum);
      surface.distortion = surface.distortion + (added + added);
      surface.depth_sum = fma_of(weight, z, surface.depth_sum);
      if (s.transmittance > 0.5f) surface.median = number;
    }
    s.transmittance = next;
    s.last = number;
  }

  GSB_HD void finish(const TileSpan& span, const TilePixel& at, const PixelState& s, const Colors& colors,
                     const SurfaceState& surface) const {
    const int channels = o.drawn_channels();
    for (int k = 0; k < Channels && first_channel + k < channels; ++k) {
      const int channel = first_channel + k;
      float value = colors.of[k];
      if (b.backgrounds != nullptr) {
        value = fma_of(s.transmittance, b.backgrounds[int64_t(channels) * at.camera + channel], value);
      }
      b.image[channels * at.pixel + channel] = value;
    }
    if (first_channel > 0) return;
    b.alpha[at.pixel] = 1.0f - s.transmittance;
    b.transmittances[at.pixel] = s.transmittance;
    b.last_entries[at.pixel] = s.last;
    if constexpr (Surface) {
      b.distortion[at.pixel] = surface.distortion;
      b.depth_sums[at.pixel] = surface.depth_sum;
      b.median_slots[at.pixel] =
          surface.median == 0 ? -1 : slot_of(o, b, b.tile_entries[span.begin + surface.median - 1].record);
    }
  }
};

// Statistics: a second walk over what was drawn, which leaves for every pair of a Gaussian and the tile a row of the sum
// of weights, the sum of transmittances and the largest weight. Whole numbers are added where they belong at once.
struct BlendStatistics {
  static constexpr int kThreads = kTilePixels, kBatch = kWarp, kRow = 4;
  struct Shared {
    Batch<kBatch> batch;
    uint32_t drawn[kTileWarps];  // bit i: the warp drew entry i
    float partial[kTileWarps][kBatch][kRow];
  };
  RasterOptions o;
  Buffers b;

  struct State {
    float transmittance, largest;
    uint32_t last, dominant;  // entries, counted from 1
  };

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t tile) const {
    typename B::template Local<TilePixel> at;
    typename B::template Local<State> state;
    const TileSpan span = tile_span(b, tile);
    block.each([&](int t) {
      at(t) = tile_pixel(o, tile, t);
      state(t) = {1.0f, 0.0f, at(t).pixel >= 0 ? b.last_entries[at(t).pixel] : 0, 0};
    });
    for (uint32_t base = 0; base < span.count; base += kBatch) {
      const uint32_t size = span.count - base < kBatch ? span.count - base : kBatch;
      block.barrier();
      block.each([&](int t) {
        if (uint32_t(t) < size) load_entry(b, shared.batch, t, span.begin + base + uint32_t(t), at(t));
      });
      block.barrier();
      block.each_warp([&](int w) { walk(block, shared, w, base, size, at, state); });
      block.barrier();
      block.each([&](int t) { write_rows(shared, span.begin + base, int(size), t); });
    }
    block.each([&](int t) {
      if (state(t).dominant == 0) return;
      const uint32_t id = b.tile_entries[span.begin + state(t).dominant - 1].record;
      add_atomic(b.dominant + slot_of(o, b, id), 1);
    });
  }

  template <class B, class At, class States>
  GSB_HD void walk(B& block, Shared& shared, int w, uint32_t base, uint32_t size, At& at, States& state) const {
    uint32_t word = 0, drawn_word = 0;
    if (block.any_lane(w, [&](int t) { return state(t).last > base; })) {
      word = block.ballot(w, [&](int t) {
        const uint32_t i = uint32_t(t % kWarp);
        return i < size && reaches_block(shared.batch.record[i], shared.batch.row_peak[i], shared.batch.column_peak[i], w);
      });
    }
    typename B::template Local<float> weight;
    typename B::template Local<float> before;
    for (; word != 0; word &= word - 1) {
      const int i = lowest_bit(word);
      const uint32_t number = base + uint32_t(i) + 1;
      const uint32_t drawn = block.ballot(w, [&](int t) {
        const TileRecord& r = shared.batch.record[i];
        State& s = state(t);
        const float e = exponent_of(r, float(at(t).local_x) + 0.5f - r.x, float(at(t).local_y) + 0.5f - r.y);
        weight(t) = before(t) = 0.0f;
        if (number > s.last || !(e >= kLog2AlphaMin)) return false;
        const float alpha = min_of(alpha_exp2(e), kAlphaMax);
        weight(t) = alpha * s.transmittance;
        before(t) = s.transmittance;
        s.transmittance = fma_of(-alpha, s.transmittance, s.transmittance);
        if (weight(t) > s.largest) {
          s.largest = weight(t);
          s.dominant = number;
        }
        return true;
      });
      if (drawn == 0) continue;
      drawn_word |= uint32_t(1) << i;
      const float largest = block.largest(w, [&](int t) { return weight(t); });
      block.template sums<2>(
          w,
          [&](int t, float* out) {
            out[0] = weight(t);
            out[1] = before(t);
          },
          [&](int k, float sum) { shared.partial[w][i][k] = sum; });
      block.each_lane(w, [&](int t) {
        if (t % kWarp != 0) return;
        shared.partial[w][i][2] = largest;
        add_atomic(b.hits + slot_of(o, b, shared.batch.id[i]), count_bits(drawn));
      });
    }
    block.each_lane(w, [&](int t) {
      if (t % kWarp == 0) shared.drawn[w] = drawn_word;
    });
  }

  // Four threads for each entry of the batch.
  GSB_HD void write_rows(const Shared& shared, uint32_t first, int size, int t) const {
    const int i = t / kRow, k = t % kRow;
    if (i >= size) return;
    float value = 0.0f;
    for (int w = 0; w < kTileWarps && k < 3; ++w) {
      if (!(shared.drawn[w] >> i & 1)) continue;
      const float part = shared.partial[w][i][k];
      value = k < 2 ? value + part : max_of(value, part);
    }
    b.rows[int64_t(b.tile_entries[first + uint32_t(i)].pair) * b.row_floats + k] = value;
  }
};

// One thread per visible combination, by depth: adds its rows, tile by tile.
struct ReduceStatistics {
  RasterOptions o;
  Buffers b;

  GSB_HD void operator()(int64_t j) const {
    const uint32_t id = b.order[j];
    const int64_t begin = b.pair_begins[j], end = begin + b.tile_counts[id];
    float weight = 0.0f, transmittance = 0.0f, largest = 0.0f;
    for (int64_t pair = begin; pair < end; ++pair) {
      const float* row = b.rows + pair * b.row_floats;
      weight += row[0];
      transmittance += row[1];
      largest = max_of(largest, row[2]);
    }
    const int64_t slot = slot_of(o, b, id);
    b.weight[slot] = weight;
    b.opacity_transmittance[slot] = b.records[id].opacity * transmittance;
    b.max_weight[slot] = largest;
  }
};

}  // namespace cuda
}  // namespace gsb
