// From anchors and what their networks say to Gaussians. Plain structs: this header is included by units compiled for
// different instruction sets.
#pragma once

#include <cstdint>

namespace gsb {

// n anchors with K offsets each; M of the n K offsets live, in order.
struct AnchorOffsets {
  int64_t anchors;            // n
  int64_t per_anchor;         // K
  const float* positions;     // [n, 3]
  const float* offsets;       // [n, K, 3]
  const float* scales;        // [n, 6]: of offsets, of Gaussians
  const float* raw_opacities; // [n, K], before tanh
  const float* raw_shapes;    // [n, K, 7]: scales before sigmoid, quaternion
  const float* raw_colors;    // [n, K, 3], before sigmoid
  const float* masks;         // [n, K] or null
  int threads;
};

struct AnchorGaussians {
  const int64_t* starts;  // [n + 1]: the Gaussians of each anchor
  int64_t* rows;          // [M]: anchor times K plus offset
  float* means;           // [M, 3]
  float* scales;          // [M, 3]
  float* quats;           // [M, 4]
  float* opacities;       // [M]
  float* colors;          // [M, 3]
};

struct AnchorGradients {
  const float* means;      // [M, 3], as in AnchorGaussians
  const float* scales;
  const float* quats;
  const float* opacities;
  const float* colors;
  float* offsets;          // [n, K, 3], as in AnchorOffsets; all are written
  float* anchor_scales;    // [n, 6]
  float* raw_opacities;
  float* raw_shapes;
  float* raw_colors;
  float* masks;            // or null
};

}  // namespace gsb
