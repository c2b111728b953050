// The image loss: L1 and SSIM of an image against a target, with the gradient to the image. cpu/image.inc has the
// mathematics; this is what its callers prepare.
#pragma once

#include <cstdint>

namespace gsb {

constexpr int kImageChannels = 3;

// How an image is cut up. Strips are vertical slices, narrow enough for a strip's rows to stay in the L2 cache; their
// borders depend on the width alone, because sums are taken per row and strip. Bands are horizontal slices and there to
// share the work among threads; no result depends on them.
struct ImagePlan {
  int64_t strips;           // of equal width, to a pixel
  int64_t bands;            // of equal height, to a row
  int64_t row_stride;       // floats from one row of a thread's workspace to the next
  int64_t thread_floats;    // workspace of one thread
  int64_t workspace_bytes;  // of all threads, and the sums per row and strip
};

// `height`, `width` and `threads` are positive. Returns false if the sizes overflow.
bool plan_image_loss(int64_t height, int64_t width, int threads, ImagePlan* plan);

struct ImageLoss {
  const float* image;   // [height, width, 3]
  const float* target;  // [height, width, 3]
  int64_t height, width;
  // The gradient is that of l1_weight * L1 + ssim_weight * SSIM, both means over pixels and channels.
  double l1_weight, ssim_weight;
  float* gradient;  // [height, width, 3], or null: not wanted
  double* means;    // [2]: L1 and SSIM
  void* workspace;
  ImagePlan plan;
  int threads;
};

}  // namespace gsb
