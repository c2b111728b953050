// The Gaussians that anchors stand for; csrc/cpu/anchors.inc has the formulas, and the results are the same bits.
#pragma once

#include "cuda/gsbench_cuda.h"
#include "cuda/launch.h"

namespace gsb {
namespace cuda {

using AnchorBuffers = gsb_anchor_buffers;

// exp(-x) for x >= 0.
GSB_HD float decay(float x) { return exp2_of(-kLog2E * min_of(x, 87.0f)); }

GSB_HD float sigmoid_of(float x) {
  const bool negative = x < 0.0f;
  const float z = decay(negative ? -x : x);
  return (negative ? z : 1.0f) / (1.0f + z);
}

GSB_HD float tanh_of(float x) {
  const bool negative = x < 0.0f;
  const float size = negative ? -x : x, z = decay(size + size);
  const float t = (1.0f - z) / (1.0f + z);
  return negative ? -t : t;
}

GSB_HD float mask_of(const AnchorBuffers& b, int64_t row) { return b.masks == nullptr ? 1.0f : b.masks[row]; }

// One thread per anchor: opacities of its offsets, and how many live.
struct CountLive {
  AnchorBuffers b;
  uint32_t* counts;

  GSB_HD void operator()(int64_t n) const {
    uint32_t live = 0;
    for (int64_t row = n * b.per_anchor; row < (n + 1) * b.per_anchor; ++row) {
      const float opacity = mask_of(b, row) * tanh_of(b.raw_opacities[row]);
      b.dense_opacities[row] = opacity;
      live += opacity > 0.0f;
    }
    counts[n] = live;
  }
};

// One thread per anchor and one more, with the running sums of the counts.
struct StoreStarts {
  AnchorBuffers b;
  const uint32_t* sums;
  GSB_HD void operator()(int64_t n) const { b.starts[n] = sums[n]; }
};

// One thread per offset.
struct ExpandAnchors {
  AnchorBuffers b;

  GSB_HD void operator()(int64_t row) const {
    if (!(b.dense_opacities[row] > 0.0f)) return;
    const int64_t n = row / b.per_anchor;
    int64_t to = b.starts[n];
    for (int64_t before = n * b.per_anchor; before < row; ++before) to += b.dense_opacities[before] > 0.0f;
    const float m = mask_of(b, row);
    b.rows[to] = row;
    b.opacities[to] = b.dense_opacities[row];
    for (int d = 0; d < 3; ++d) {
      b.means[3 * to + d] = b.positions[3 * n + d] + b.offsets[3 * row + d] * b.anchor_scales[6 * n + d];
      b.scales[3 * to + d] = m * b.anchor_scales[6 * n + 3 + d] * sigmoid_of(b.raw_shapes[7 * row + d]);
      b.colors[3 * to + d] = sigmoid_of(b.raw_colors[3 * row + d]);
    }
    for (int d = 0; d < 4; ++d) b.quats[4 * to + d] = b.raw_shapes[7 * row + 3 + d];
  }
};

// One thread per anchor, which takes its offsets in order.
struct AnchorsBackward {
  AnchorBuffers b;

  GSB_HD void operator()(int64_t n) const {
    float of_scales[6] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    int64_t from = b.starts[n];
    const int64_t end = b.starts[n + 1];
    for (int64_t row = n * b.per_anchor; row < (n + 1) * b.per_anchor; ++row) {
      if (from < end && b.rows[from] == row) {
        live_row(n, row, from++, of_scales);
      } else {
        dead_row(row);
      }
    }
    for (int k = 0; k < 6; ++k) b.grad_anchor_scales[6 * n + k] = of_scales[k];
  }

  GSB_HD void dead_row(int64_t row) const {
    for (int k = 0; k < 3; ++k) b.grad_offsets[3 * row + k] = b.grad_raw_colors[3 * row + k] = 0.0f;
    for (int k = 0; k < 7; ++k) b.grad_raw_shapes[7 * row + k] = 0.0f;
    b.grad_raw_opacities[row] = 0.0f;
    if (b.grad_masks != nullptr) b.grad_masks[row] = 0.0f;
  }

  GSB_HD void live_row(int64_t n, int64_t row, int64_t from, float of_scales[6]) const {
    const float t = tanh_of(b.raw_opacities[row]), m = mask_of(b, row), of_opacity = b.grad_opacities[from];
    float of_mask = of_opacity * t;
    b.grad_raw_opacities[row] = of_opacity * m * (1.0f - t * t);
    for (int d = 0; d < 3; ++d) {
      const float of_mean = b.grad_means[3 * from + d];
      b.grad_offsets[3 * row + d] = of_mean * b.anchor_scales[6 * n + d];
      of_scales[d] += of_mean * b.offsets[3 * row + d];

      const float of_scale = b.grad_scales[3 * from + d], size = b.anchor_scales[6 * n + 3 + d];
      const float share = sigmoid_of(b.raw_shapes[7 * row + d]);
      of_mask = of_mask + of_scale * size * share;
      of_scales[3 + d] += of_scale * m * share;
      b.grad_raw_shapes[7 * row + d] = of_scale * m * size * share * (1.0f - share);

      const float color = sigmoid_of(b.raw_colors[3 * row + d]);
      b.grad_raw_colors[3 * row + d] = b.grad_colors[3 * from + d] * color * (1.0f - color);
    }
    for (int d = 0; d < 4; ++d) b.grad_raw_shapes[7 * row + 3 + d] = b.grad_quats[4 * from + d];
    if (b.grad_masks != nullptr) b.grad_masks[row] = of_mask;
  }
};

}  // namespace cuda
}  // namespace gsb
