// Squared errors of a render against a photograph, for PSNR.
#pragma once

#include <cstdint>

namespace gsb {

// Sums are taken over blocks of so many pixels and then added in order: the same bytes for any number of threads.
constexpr int64_t kErrorBlockPixels = 4096;

struct ImageErrors {
  const float* render;   // [pixels, 3]
  const uint8_t* truth;  // [pixels, 3]
  int64_t pixels;
  float* clamped;  // [pixels, 3], or null: the render clamped to [0, 1]
  float* target;   // [pixels, 3], or null: the photograph divided by 255
  int threads;

  int64_t blocks() const { return (pixels + kErrorBlockPixels - 1) / kErrorBlockPixels; }
};

// Sums over a block of pixels, or over all of them.
struct ErrorSums {
  int64_t rounded = 0;                   // of squares, of the clamped render rounded to 8 bit, in gray levels
  double channels[3] = {0.0, 0.0, 0.0};  // of squares per channel, of the clamped render, in units of white
  int64_t not_finite = 0;                // values of the render that are NaN or infinite
};

// `workspace` has room for task.blocks() sums.
ErrorSums image_errors(const ImageErrors& task, ErrorSums* workspace);

}  // namespace gsb
