// L1 and SSIM of an image against a target, and the gradient to the image; csrc/cpu/image.inc has the mathematics. Blurs
// go down the columns and then along the rows in the order of the CPU, so that every pixel's numbers are the same bits.
//
// A block takes 16 x 16 pixels, one channel after the other. The first walk leaves SSIM's derivatives by the blurred
// quantities, the second blurs those.
#pragma once

#include "cuda/launch.h"

namespace gsb {
namespace cuda {

constexpr int kTaps = 11, kRadius = 5;
constexpr int kPatch = 16, kPatchPixels = kPatch * kPatch, kHalo = kPatch + 2 * kRadius;
constexpr float kC1 = 0.01f * 0.01f, kC2 = 0.03f * 0.03f;

// exp(-t^2 / (2 * 1.5^2)) for t = -5..5, normalized to sum 1.
GSB_HD float window_at(int t) {
  constexpr float kWindow[kTaps] = {0.001028380084f, 0.007598758135f, 0.03600077213f, 0.1093606895f,
                                    0.2130055377f,   0.2660117249f,   0.2130055377f,  0.1093606895f,
                                    0.03600077213f,  0.007598758135f, 0.001028380084f};
  return kWindow[t];
}

struct ImageTask {
  const float* image;   // [height, width, 3]
  const float* target;  // "
  int64_t height, width;
  float l1_weight, ssim_weight;  // of the sums over pixels and channels
  float* derivatives;   // [3, height, width, 3]: d_mx, d_e, d_p; null: no gradient is wanted
  double* partial;      // [patches, 2]
  float* gradient;
  double* means;        // [2]

  GSB_HD int64_t patches_x() const { return (width + kPatch - 1) / kPatch; }
  GSB_HD int64_t patches() const { return patches_x() * ((height + kPatch - 1) / kPatch); }
  GSB_HD int64_t values() const { return height * width * 3; }
};

// Where a patch begins.
struct Corner {
  int64_t x, y;
};
GSB_HD Corner corner_of(const ImageTask& task, int64_t patch) {
  return {patch % task.patches_x() * kPatch, patch / task.patches_x() * kPatch};
}

// One number of an image's channel, 0 outside.
GSB_HD float value_at(const ImageTask& task, const float* image, int64_t x, int64_t y, int channel) {
  if (x < 0 || y < 0 || x >= task.width || y >= task.height) return 0.0f;
  return image[(y * task.width + x) * 3 + channel];
}

struct CompareImages {
  static constexpr int kThreads = kPatchPixels;
  struct Shared {
    float x[kHalo][kHalo], y[kHalo][kHalo];
    float down[4][kPatch][kHalo];
    float sums[kThreads / kWarp][2];
  };
  struct Sums {
    float l1, ssim;
  };
  ImageTask task;

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t patch) const {
    typename B::template Local<Sums> sums;
    const Corner corner = corner_of(task, patch);
    block.each([&](int t) { sums(t) = {0.0f, 0.0f}; });
    for (int channel = 0; channel < 3; ++channel) {
      block.barrier();
      block.each([&](int t) {
        for (int place = t; place < kHalo * kHalo; place += kThreads) {
          const int row = place / kHalo, column = place % kHalo;
          const int64_t x = corner.x + column - kRadius, y = corner.y + row - kRadius;
          shared.x[row][column] = value_at(task, task.image, x, y, channel);
          shared.y[row][column] = value_at(task, task.target, x, y, channel);
        }
      });
      block.barrier();
      block.each([&](int t) { blur_down(shared, t); });
      block.barrier();
      block.each([&](int t) { compare(shared, corner, channel, t, sums(t)); });
    }
    block.each_warp([&](int w) {
      block.template sums<2>(
          w,
          [&](int t, float* out) {
            out[0] = sums(t).l1;
            out[1] = sums(t).ssim;
          },
          [&](int k, float sum) { shared.sums[w][k] = sum; });
    });
    block.barrier();
    block.each([&](int t) {
      if (t >= 2) return;
      double sum = 0.0;
      for (int w = 0; w < kThreads / kWarp; ++w) sum += double(shared.sums[w][t]);
      task.partial[2 * patch + t] = sum;
    });
  }

  GSB_HD void blur_down(Shared& shared, int t) const {
    for (int place = t; place < kPatch * kHalo; place += kThreads) {
      const int row = place / kHalo, column = place % kHalo;
      float mx = 0.0f, my = 0.0f, e = 0.0f, p = 0.0f;
      GSB_UNROLL
      for (int k = 0; k < kTaps; ++k) {
        const float x = shared.x[row + k][column], y = shared.y[row + k][column], w = window_at(k);
        mx = fma_of(w, x, mx);
        my = fma_of(w, y, my);
        e = fma_of(w, fma_of(x, x, y * y), e);
        p = fma_of(w, x * y, p);
      }
      shared.down[0][row][column] = mx;
      shared.down[1][row][column] = my;
      shared.down[2][row][column] = e;
      shared.down[3][row][column] = p;
    }
  }

  GSB_HD void compare(const Shared& shared, const Corner& corner, int channel, int t, Sums& sums) const {
    const int row = t / kPatch, column = t % kPatch;
    const int64_t px = corner.x + column, py = corner.y + row;
    if (px >= task.width || py >= task.height) return;
    float blurred[4];
    GSB_UNROLL
    for (int q = 0; q < 4; ++q) {
      blurred[q] = 0.0f;
      GSB_UNROLL
      for (int k = 0; k < kTaps; ++k) blurred[q] = fma_of(window_at(k), shared.down[q][row][column + k], blurred[q]);
    }
    const float mx = blurred[0], my = blurred[1], e = blurred[2], p = blurred[3];
    const float squares = mx * mx + my * my;
    const float a1 = 2.0f * (mx * my) + kC1, a2 = 2.0f * (p - mx * my) + kC2;
    const float b1 = squares + kC1, b2 = (e - squares) + kC2;
    const float inverse = 1.0f / (b1 * b2);
    const float s = a1 * a2 * inverse;
    const float difference = shared.x[row + kRadius][column + kRadius] - shared.y[row + kRadius][column + kRadius];
    sums.l1 += max_of(difference, -difference);
    sums.ssim += s;
    if (task.derivatives == nullptr) return;
    // d_e = -s / b2, d_p = 2 a1 / (b1 b2); mx is also in a2 and b2.
    const int64_t at = (py * task.width + px) * 3 + channel;
    task.derivatives[at] = 2.0f * inverse * (my * (a2 - a1) + mx * s * (b1 - b2));
    task.derivatives[task.values() + at] = -s * inverse * b1;
    task.derivatives[2 * task.values() + at] = 2.0f * inverse * a1;
  }
};

struct DeriveImage {
  static constexpr int kThreads = kPatchPixels;
  struct Shared {
    float of[3][kHalo][kHalo];
    float down[3][kPatch][kHalo];
  };
  ImageTask task;

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t patch) const {
    const Corner corner = corner_of(task, patch);
    for (int channel = 0; channel < 3; ++channel) {
      block.barrier();
      block.each([&](int t) {
        for (int place = t; place < 3 * kHalo * kHalo; place += kThreads) {
          const int q = place / (kHalo * kHalo), row = place / kHalo % kHalo, column = place % kHalo;
          const float* map = task.derivatives + q * task.values();
          shared.of[q][row][column] =
              value_at(task, map, corner.x + column - kRadius, corner.y + row - kRadius, channel);
        }
      });
      block.barrier();
      block.each([&](int t) {
        for (int place = t; place < 3 * kPatch * kHalo; place += kThreads) {
          const int q = place / (kPatch * kHalo), row = place / kHalo % kPatch, column = place % kHalo;
          float sum = 0.0f;
          GSB_UNROLL
          for (int k = 0; k < kTaps; ++k) sum = fma_of(window_at(k), shared.of[q][row + k][column], sum);
          shared.down[q][row][column] = sum;
        }
      });
      block.barrier();
      block.each([&](int t) { combine(shared, corner, channel, t); });
    }
  }

  GSB_HD void combine(const Shared& shared, const Corner& corner, int channel, int t) const {
    const int row = t / kPatch, column = t % kPatch;
    const int64_t px = corner.x + column, py = corner.y + row;
    if (px >= task.width || py >= task.height) return;
    float blurred[3];
    GSB_UNROLL
    for (int q = 0; q < 3; ++q) {
      blurred[q] = 0.0f;
      GSB_UNROLL
      for (int k = 0; k < kTaps; ++k) blurred[q] = fma_of(window_at(k), shared.down[q][row][column + k], blurred[q]);
    }
    const int64_t at = (py * task.width + px) * 3 + channel;
    const float x = task.image[at], y = task.target[at];
    const float ssim = blurred[0] + 2.0f * x * blurred[1] + y * blurred[2];
    // The subgradient of |x - y| at 0 is 0.
    const float l1 = (x > y ? task.l1_weight : 0.0f) - (x < y ? task.l1_weight : 0.0f);
    task.gradient[at] = l1 + task.ssim_weight * ssim;
  }
};

// The means, by one block.
struct AverageImages {
  static constexpr int kThreads = 256;
  struct Shared {
    double sums[kThreads][2];
  };
  ImageTask task;

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t) const {
    block.each([&](int t) {
      shared.sums[t][0] = shared.sums[t][1] = 0.0;
      for (int64_t patch = t; patch < task.patches(); patch += kThreads) {
        for (int k = 0; k < 2; ++k) shared.sums[t][k] += task.partial[2 * patch + k];
      }
    });
    for (int half = kThreads / 2; half > 0; half /= 2) {
      block.barrier();
      block.each([&](int t) {
        for (int k = 0; k < 2 && t < half; ++k) shared.sums[t][k] += shared.sums[t + half][k];
      });
    }
    block.barrier();
    block.each([&](int t) {
      if (t < 2) task.means[t] = shared.sums[0][t] / double(task.values());
    });
  }
};

}  // namespace cuda
}  // namespace gsb
