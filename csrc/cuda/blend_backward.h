// Gradient of the blending. The formulas are those of csrc/cpu/blend_backward.inc: with q = color . dL/dpixel + dL/dalpha
// and U the same quantity of everything behind a Gaussian, blended,
//     dL/d(alpha_i) = T_i (q_i - U_i),     U_(i-1) = U_i + alpha_i (q_i - U_i),     U_N = background . dL/dpixel.
// A tile's list is walked from back to front; T_i = T_(i+1) / (1 - alpha_i), from the transmittance that the forward pass
// left. Each pair of a Gaussian and the tile yields one row of sums over pixels, added within a warp as a tree and over the
// tile's eight warps in order; ReduceRows adds the rows of a Gaussian in the order of its tiles.
//     h, h dx, h dy, h dx^2, h dx dy, h dy^2,     per channel  alpha T dL/dpixel,     |gx|, |gy|,     dL/dz
// with h = alpha dL/dalpha. Channels beyond the fourth have passes of their own, sixteen at a time (BlendChannels).
#pragma once

#include "cuda/blend.h"

namespace gsb {
namespace cuda {

constexpr int kMoments = 6;
constexpr int kFewChannels = 4;

// What a walk from back to front needs besides its own sums.
template <int Row>
struct BackwardShared {
  static constexpr int kBatch = kWarp;
  Batch<kBatch> batch;
  uint32_t drawn[kTileWarps];  // bit i: the warp has a partial sum of entry i
  float partial[kTileWarps][kBatch][Row];
};

// Entries that some pixel of the tile drew; the list's others need no look.
template <class B, class At>
GSB_HD uint32_t entries_drawn(B& block, const Buffers& b, At& at, uint32_t count) {
  // A search for the largest number, since what a block can ask is whether a statement holds for any thread.
  uint32_t low = 0, high = count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (block.any([&](int t) { return at(t).pixel >= 0 && b.last_entries[at(t).pixel] > middle; })) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Adds a batch's partial sums over the warps and writes its rows. All rows of the list's end, which nothing drew, are 0.
template <int Row>
GSB_HD void write_rows(const Buffers& b, const BackwardShared<Row>& shared, uint32_t first, int size, int sums, bool add,
                       int t) {
  for (int place = t; place < size * b.row_floats; place += kTilePixels) {
    const int i = place / b.row_floats, k = place % b.row_floats;
    float sum = 0.0f;
    for (int w = 0; w < kTileWarps && k < sums; ++w) {
      if (shared.drawn[w] >> i & 1) sum += shared.partial[w][i][k];
    }
    float& out = b.rows[int64_t(b.tile_entries[first + uint32_t(i)].pair) * b.row_floats + k];
    out = add ? out + sum : sum;
  }
}

// Walks the list from back to front. lane(t, i, number, sums) takes entry i of the batch, number `number` of the list, and
// writes its Sums sums; it returns without effect, with sums of 0, where the pixel did not draw it.
template <int Sums, int Row, class B, class At, class Covers, class Lane>
GSB_HD void walk_back(B& block, const Buffers& b, BackwardShared<Row>& shared, const TileSpan& span, At& at, bool add,
                      const Covers& covers, const Lane& lane) {
  constexpr uint32_t kBatch = BackwardShared<Row>::kBatch;
  const uint32_t drawn = entries_drawn(block, b, at, span.count);
  for (uint32_t batches = (span.count + kBatch - 1) / kBatch; batches > 0; --batches) {
    const uint32_t base = (batches - 1) * kBatch, size = span.count - base < kBatch ? span.count - base : kBatch;
    const bool live = base < drawn;
    if (!live && add) continue;
    block.barrier();
    block.each([&](int t) {
      if (uint32_t(t) < size && live) load_entry(b, shared.batch, t, span.begin + base + uint32_t(t), at(t));
    });
    block.barrier();
    block.each_warp([&](int w) {
      uint32_t word = 0, drawn_word = 0;
      if (live) {
        word = block.ballot(w, [&](int t) {
          const uint32_t i = uint32_t(t % kWarp);
          return i < size &&
                 reaches_block(shared.batch.record[i], shared.batch.row_peak[i], shared.batch.column_peak[i], w);
        });
      }
      while (word != 0) {
        const int i = highest_bit(word);
        word &= ~(uint32_t(1) << i);
        const uint32_t number = base + uint32_t(i) + 1;
        if (!block.any_lane(w, [&](int t) { return covers(t, i, number); })) continue;
        drawn_word |= uint32_t(1) << i;
        block.template sums<Sums>(
            w, [&](int t, float* sums) { lane(t, i, number, sums); },
            [&](int k, float sum) { shared.partial[w][i][k] = sum; });
      }
      block.each_lane(w, [&](int t) {
        if (t % kWarp == 0) shared.drawn[w] = drawn_word;
      });
    });
    block.barrier();
    block.each([&](int t) { write_rows(b, shared, span.begin + base, int(size), Sums, add, t); });
  }
}

// A pixel's state from back to front, for every kind of walk.
struct BackwardPixel {
  float transmittance;  // behind the entries not yet taken
  uint32_t last;
  float exponent;  // of the entry in hand
};

GSB_HD BackwardPixel backward_pixel(const Buffers& b, const TilePixel& at) {
  if (at.pixel < 0) return {1.0f, 0, 0.0f};
  return {b.transmittances[at.pixel], b.last_entries[at.pixel], 0.0f};
}

GSB_HD bool covers_pixel(const TileRecord& r, const TilePixel& at, BackwardPixel& s, uint32_t number) {
  s.exponent = exponent_of(r, float(at.local_x) + 0.5f - r.x, float(at.local_y) + 0.5f - r.y);
  return number <= s.last && s.exponent >= kLog2AlphaMin;
}

// Alpha of the entry in hand; takes the transmittance to what it was in front of it.
GSB_HD float step_back(BackwardPixel& s) {
  const float alpha = min_of(alpha_exp2(s.exponent), kAlphaMax);
  s.transmittance = s.transmittance / (1.0f - alpha);
  return alpha;
}

// Channels: 3 of the records, kFewChannels of features, or 0: any number of features, whose own gradients are left to
// BlendChannels. Full: with absolute sums and the distortion, as far as they are asked for.
template <int Channels, bool Features, bool Full>
struct BlendBackward {
  static constexpr int kThreads = kTilePixels;
  static constexpr int kFirstAbsolute = kMoments + Channels, kDepth = kFirstAbsolute + 2;
  static constexpr int kSums = Full ? kDepth + 1 : kFirstAbsolute;
  static constexpr int kRow = (kSums + 3) / 4 * 4;
  using Shared = BackwardShared<kRow>;
  RasterOptions o;
  Buffers b;

  struct State {
    BackwardPixel pixel;
    float behind, alpha;  // U, dL/dalpha
    float distortion, depth_total, weight_total, weight_behind, depth_behind;
    float gradient[Channels == 0 ? 1 : Channels];  // dL/dpixel
  };

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t tile) const {
    typename B::template Local<TilePixel> at;
    typename B::template Local<State> state;
    const TileSpan span = tile_span(b, tile);
    const float nearest = span.count > 0 ? b.records[b.tile_entries[span.begin].record].depth : 0.0f;
    block.each([&](int t) {
      at(t) = tile_pixel(o, tile, t);
      start(at(t), state(t));
    });
    walk_back<kSums>(
        block, b, shared, span, at, false,
        [&](int t, int i, uint32_t number) {
          return covers_pixel(shared.batch.record[i], at(t), state(t).pixel, number);
        },
        [&](int t, int i, uint32_t number, float* sums) {
          for (int k = 0; k < kSums; ++k) sums[k] = 0.0f;
          if (number > state(t).pixel.last || !(state(t).pixel.exponent >= kLog2AlphaMin)) return;
          sum_up(shared.batch.record[i], shared.batch.id[i], nearest, at(t), state(t), sums);
        });
  }

  GSB_HD void start(const TilePixel& at, State& s) const {
    const int channels = o.drawn_channels();
    s.pixel = backward_pixel(b, at);
    s.behind = s.alpha = s.distortion = s.depth_total = s.weight_total = s.weight_behind = s.depth_behind = 0.0f;
    for (int k = 0; k < Channels; ++k) s.gradient[k] = 0.0f;
    if (at.pixel < 0) return;
    for (int k = 0; k < Channels; ++k) {
      if (k < channels) s.gradient[k] = b.grad_image[channels * at.pixel + k];
    }
    if (b.grad_alpha != nullptr) s.alpha = b.grad_alpha[at.pixel];
    if (b.backgrounds != nullptr) {
      const float* background = b.backgrounds + int64_t(channels) * at.camera;
      for (int k = 0; k < channels; ++k) s.behind = s.behind + b.grad_image[channels * at.pixel + k] * background[k];
    }
    if (Full && b.grad_distortion != nullptr) {
      s.distortion = b.grad_distortion[at.pixel];
      s.depth_total = b.depth_sums[at.pixel];
      s.weight_total = 1.0f - s.pixel.transmittance;
    }
  }

  GSB_HD void sum_up(const TileRecord& r, uint32_t id, float nearest, const TilePixel& at, State& s, float* sums) const {
    const float alpha = step_back(s.pixel), weight = alpha * s.pixel.transmittance;
    float q = s.alpha;
    if constexpr (Features) {
      const float* feature = b.features + slot_of(o, b, id) * o.channels;
      if constexpr (Channels == 0) {
        const float* gradient = b.grad_image + int64_t(o.channels) * at.pixel;
        for (int k = 0; k < o.channels; ++k) q = fma_of(feature[k], gradient[k], q);
      } else {
        GSB_UNROLL
        for (int k = 0; k < Channels; ++k) {
          if (k < o.channels) q = fma_of(feature[k], s.gradient[k], q);
        }
      }
    } else {
      q = fma_of(r.red, s.gradient[0], q);
      q = fma_of(r.green, s.gradient[1], q);
      q = fma_of(r.blue, s.gradient[2], q);
    }
    if constexpr (Full) q = q + distortion_backward(r.depth - nearest, weight, s, sums[kDepth]);
    const float difference = q - s.behind;
    s.behind = fma_of(alpha, difference, s.behind);
    GSB_UNROLL
    for (int k = 0; k < Channels; ++k) sums[kMoments + k] = weight * s.gradient[k];
    const float h = alpha < kAlphaMax ? weight * difference : 0.0f;
    const float dx = float(at.local_x) + 0.5f - r.x, dy = float(at.local_y) + 0.5f - r.y;
    const float hx = h * dx, hy = h * dy;
    sums[0] = h;
    sums[1] = hx;
    sums[2] = hy;
    sums[3] = hx * dx;
    sums[4] = hx * dy;
    sums[5] = hy * dy;
    if constexpr (Full) {
      const float gx = fma_of(2.0f * r.a, hx, r.b * hy), gy = fma_of(2.0f * r.c, hy, r.b * hx);
      sums[kFirstAbsolute] = max_of(gx, -gx);
      sums[kFirstAbsolute + 1] = max_of(gy, -gy);
    }
  }

  // The distortion's part of q, and dL/dz.
  GSB_HD float distortion_backward(float z, float weight, State& s, float& grad_depth) const {
    const float incoming = 2.0f * s.distortion, depth = weight * z;
    const float weight_before = s.weight_total - weight - s.weight_behind;
    const float depth_before = s.depth_total - depth - s.depth_behind;
    const float balance = weight_before - s.weight_behind;
    grad_depth = incoming * weight * balance;
    const float result = incoming * (z * balance - depth_before + s.depth_behind);
    s.weight_behind = s.weight_behind + weight;
    s.depth_behind = s.depth_behind + depth;
    return result;
  }
};

// The gradients of sixteen channels of features, from `first_channel` on.
struct BlendChannels {
  static constexpr int kThreads = kTilePixels, kSums = kRowFloats;
  using Shared = BackwardShared<kRowFloats>;
  RasterOptions o;
  Buffers b;
  int first_channel;

  struct State {
    BackwardPixel pixel;
    float gradient[kRowFloats];
  };

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t tile) const {
    typename B::template Local<TilePixel> at;
    typename B::template Local<State> state;
    const TileSpan span = tile_span(b, tile);
    block.each([&](int t) {
      at(t) = tile_pixel(o, tile, t);
      State& s = state(t);
      s.pixel = backward_pixel(b, at(t));
      for (int k = 0; k < kRowFloats; ++k) {
        const bool there = at(t).pixel >= 0 && first_channel + k < o.channels;
        s.gradient[k] = there ? b.grad_image[o.channels * at(t).pixel + first_channel + k] : 0.0f;
      }
    });
    walk_back<kSums>(
        block, b, shared, span, at, false,
        [&](int t, int i, uint32_t number) {
          return covers_pixel(shared.batch.record[i], at(t), state(t).pixel, number);
        },
        [&](int t, int, uint32_t number, float* sums) {
          State& s = state(t);
          float weight = 0.0f;
          if (number <= s.pixel.last && s.pixel.exponent >= kLog2AlphaMin) {
            const float alpha = step_back(s.pixel);
            weight = alpha * s.pixel.transmittance;
          }
          GSB_UNROLL
          for (int k = 0; k < kRowFloats; ++k) sums[k] = weight * s.gradient[k];
        });
  }
};

// One thread per visible combination, by depth, and place in its row: adds the rows, tile by tile.
struct ReduceRows {
  Buffers b;

  GSB_HD void operator()(int64_t index) const {
    const int64_t j = index / kRowFloats, k = index % kRowFloats;
    if (k >= b.row_floats) return;
    const int64_t begin = b.pair_begins[j], end = begin + b.tile_counts[b.order[j]];
    float sum = 0.0f;
    // Reads do not wait for one another: a Gaussian that covers the screen has tens of thousands of rows.
    constexpr int kAhead = 8;
    int64_t pair = begin;
    for (; pair + kAhead <= end; pair += kAhead) {
      float part[kAhead];
      GSB_UNROLL
      for (int i = 0; i < kAhead; ++i) part[i] = b.rows[(pair + i) * b.row_floats + k];
      GSB_UNROLL
      for (int i = 0; i < kAhead; ++i) sum += part[i];
    }
    for (; pair < end; ++pair) sum += b.rows[pair * b.row_floats + k];
    b.row_sums[j * kRowFloats + k] = sum;
  }
};

// One thread per visible combination: from its sums to the gradients of the per-projection arrays. `colors`: how many
// channels the rows hold.
struct FinishBackward {
  RasterOptions o;
  Buffers b;
  int colors;

  GSB_HD void operator()(int64_t j) const {
    const uint32_t id = b.order[j];
    const int64_t slot = slot_of(o, b, id);
    const ScreenRecord& r = b.records[id];
    const float* sum = b.row_sums + j * kRowFloats;
    // sigma = (A dx^2 + C dy^2) / 2 + B dx dy with d = pixel - mean; a, b, c are -A/2, -B, -C/2 in units of log2(e).
    b.grad_means2d[2 * slot] = -kLn2 * (2.0f * r.a * sum[1] + r.b * sum[2]);
    b.grad_means2d[2 * slot + 1] = -kLn2 * (r.b * sum[1] + 2.0f * r.c * sum[2]);
    b.grad_conics[3 * slot] = -0.5f * sum[3];
    b.grad_conics[3 * slot + 1] = -sum[4];
    b.grad_conics[3 * slot + 2] = -0.5f * sum[5];
    b.grad_slot_opacities[slot] = sum[0] / r.opacity;
    const int channels = o.drawn_channels();
    for (int k = 0; k < colors && k < channels; ++k) b.grad_slot_colors[channels * slot + k] = sum[kMoments + k];
    if (b.grad_means2d_abs != nullptr) {
      b.grad_means2d_abs[2 * slot] = kLn2 * sum[kMoments + colors];
      b.grad_means2d_abs[2 * slot + 1] = kLn2 * sum[kMoments + colors + 1];
    }
    if (b.grad_distortion != nullptr) b.grad_depths[slot] = sum[kMoments + colors + 2];
  }
};

struct FinishChannels {
  RasterOptions o;
  Buffers b;
  int first_channel;

  GSB_HD void operator()(int64_t j) const {
    const int64_t slot = slot_of(o, b, b.order[j]);
    for (int k = 0; k < kRowFloats && first_channel + k < o.channels; ++k) {
      b.grad_slot_colors[o.channels * slot + first_channel + k] = b.row_sums[j * kRowFloats + k];
    }
  }
};

}  // namespace cuda
}  // namespace gsb
