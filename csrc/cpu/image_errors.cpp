#include "cpu/image_errors.h"

#include <algorithm>

namespace gsb {
namespace {

constexpr int64_t kChannels = 3;
// Values that are worked on together: whole pixels, and whole vectors of any width.
constexpr int64_t kStep = 48;

// NaN becomes 0: its conversion to an integer would be undefined.
float clamp_to_unit(float value) { return value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f; }

// To the nearest integer, ties to even, for 0 <= value <= 255: above 2^23 a float has no fraction.
int32_t round_to_even(float value) { return static_cast<int32_t>((value + 0x1p23f) - 0x1p23f); }

// The sums of `count` <= kStep values, a multiple of kChannels, added to those of each place in the step.
struct Accumulators {
  int32_t rounded[kStep] = {};  // of kErrorBlockPixels / 16 squares, each at most 255 * 255
  double squares[kStep] = {};
  int32_t not_finite[kStep] = {};

  void add(const float* render, const uint8_t* truth, int64_t count, float* clamped, float* target) {
    for (int64_t i = 0; i < count; ++i) {
      const float value = clamp_to_unit(render[i]), wanted = static_cast<float>(truth[i]) / 255.0f;
      clamped[i] = value;
      target[i] = wanted;
      const int32_t levels = round_to_even(value * 255.0f) - truth[i];
      rounded[i] += levels * levels;
      const double difference = static_cast<double>(value) - static_cast<double>(wanted);
      squares[i] += difference * difference;
      // Infinity minus itself and NaN minus itself are NaN, which differs from 0.
      not_finite[i] += render[i] - render[i] != 0.0f;
    }
  }
};

ErrorSums block_errors(const ImageErrors& task, int64_t block) {
  const int64_t begin = block * kErrorBlockPixels * kChannels;
  const int64_t end = std::min(begin + kErrorBlockPixels * kChannels, task.pixels * kChannels);
  Accumulators sums;
  float clamped[kStep], target[kStep];  // where nobody wants them
  for (int64_t i = begin; i < end; i += kStep) {
    float* const to_clamped = task.clamped == nullptr ? clamped : task.clamped + i;
    float* const to_target = task.target == nullptr ? target : task.target + i;
    if (i + kStep <= end) {
      sums.add(task.render + i, task.truth + i, kStep, to_clamped, to_target);
    } else {
      sums.add(task.render + i, task.truth + i, end - i, to_clamped, to_target);
    }
  }
  ErrorSums result;
  for (int64_t i = 0; i < kStep; ++i) {
    result.rounded += sums.rounded[i];
    result.channels[i % kChannels] += sums.squares[i];
    result.not_finite += sums.not_finite[i];
  }
  return result;
}

}  // namespace

ErrorSums image_errors(const ImageErrors& task, ErrorSums* workspace) {
  const int64_t blocks = task.blocks();
#pragma omp parallel for schedule(static) num_threads(task.threads) if (task.threads > 1)
  for (int64_t block = 0; block < blocks; ++block) workspace[block] = block_errors(task, block);

  ErrorSums total;
  for (int64_t block = 0; block < blocks; ++block) {
    total.rounded += workspace[block].rounded;
    for (int channel = 0; channel < 3; ++channel) total.channels[channel] += workspace[block].channels[channel];
    total.not_finite += workspace[block].not_finite;
  }
  return total;
}

}  // namespace gsb
