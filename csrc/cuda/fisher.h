// Fisher information of position and scale; csrc/cpu/fisher.inc has the mathematics. Squares of derivatives add over
// channels, so that four channels are taken at a time, each pass adding to the moments of the one before.
#pragma once

#include "cuda/blend_backward.h"
#include "cuda/project.h"

namespace gsb {
namespace cuda {

constexpr int kFisherMoments = 15;
constexpr int kMonomials = 6;  // 1, dx, dy, dx^2, dx dy, dy^2

// Number of the moment sum of s^2 dx^i dy^j.
GSB_HD constexpr int moment_of(int i, int j) { return (i + j) * (i + j + 1) / 2 + j; }

template <bool Features>
struct BlendFisher {
  static constexpr int kThreads = kTilePixels, kSums = kFisherMoments;
  static constexpr int kChannels = Features ? kFewChannels : 3;
  using Shared = BackwardShared<kRowFloats>;
  RasterOptions o;
  Buffers b;
  int first_channel;

  struct State {
    BackwardPixel pixel;
    float behind[kChannels];
  };

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t tile) const {
    typename B::template Local<TilePixel> at;
    typename B::template Local<State> state;
    const TileSpan span = tile_span(b, tile);
    const int channels = o.drawn_channels();
    block.each([&](int t) {
      at(t) = tile_pixel(o, tile, t);
      State& s = state(t);
      s.pixel = backward_pixel(b, at(t));
      for (int k = 0; k < kChannels; ++k) {
        const bool there = b.backgrounds != nullptr && first_channel + k < channels;
        s.behind[k] = there ? b.backgrounds[int64_t(channels) * at(t).camera + first_channel + k] : 0.0f;
      }
    });
    walk_back<kSums>(
        block, b, shared, span, at, first_channel > 0,
        [&](int t, int i, uint32_t number) {
          return covers_pixel(shared.batch.record[i], at(t), state(t).pixel, number);
        },
        [&](int t, int i, uint32_t number, float* sums) {
          for (int k = 0; k < kSums; ++k) sums[k] = 0.0f;
          if (number > state(t).pixel.last || !(state(t).pixel.exponent >= kLog2AlphaMin)) return;
          sum_up(shared.batch.record[i], shared.batch.id[i], at(t), state(t), sums);
        });
  }

  GSB_HD void sum_up(const TileRecord& r, uint32_t id, const TilePixel& at, State& s, float* sums) const {
    const float alpha = step_back(s.pixel), weight = alpha * s.pixel.transmittance;
    const float rgb[3] = {r.red, r.green, r.blue};
    const float* feature = Features ? b.features + slot_of(o, b, id) * o.channels + first_channel : rgb;
    const int count = o.drawn_channels() - first_channel;
    float square = 0.0f;
    GSB_UNROLL
    for (int k = 0; k < kChannels; ++k) {
      if (k >= count) continue;
      const float difference = feature[k] - s.behind[k];
      s.behind[k] = fma_of(alpha, difference, s.behind[k]);
      const float derivative = weight * difference;
      square = fma_of(derivative, derivative, square);
    }
    if (!(alpha < kAlphaMax)) square = 0.0f;
    const float dx = float(at.local_x) + 0.5f - r.x, dy = float(at.local_y) + 0.5f - r.y;
    float x_power = square;
    GSB_UNROLL
    for (int i = 0; i <= 4; ++i) {
      float term = x_power;
      GSB_UNROLL
      for (int j = 0; i + j <= 4; ++j) {
        sums[moment_of(i, j)] = term;
        term = term * dy;
      }
      x_power = x_power * dx;
    }
  }
};

// One thread per visible combination: from its moments to the 21 values.
struct FinishFisher {
  RasterOptions o;
  Buffers b;

  GSB_HD void operator()(int64_t j) const {
    const int power_x[kMonomials] = {0, 1, 0, 2, 1, 0}, power_y[kMonomials] = {0, 0, 1, 0, 1, 2};
    const uint32_t id = b.order[j];
    const int64_t g = id % o.gaussians, slot = slot_of(o, b, id);
    const PinholeCamera& camera = camera_of(b, id / o.gaussians);
    const float mean[3] = {b.means[3 * g], b.means[3 * g + 1], b.means[3 * g + 2]};
    Axes<float> axes;
    load_shape(b, g, axes);
    float of[6][kMonomials];
    polynomials(camera, mean, axes, of);
    const float* moments = b.row_sums + j * kRowFloats;
    int entry = 0;
    for (int row = 0; row < 6; ++row) {
      for (int column = row; column < 6; ++column, ++entry) {
        float value = 0.0f;
        for (int m = 0; m < kMonomials; ++m) {
          for (int n = 0; n < kMonomials; ++n) {
            const float moment = moments[moment_of(power_x[m] + power_x[n], power_y[m] + power_y[n])];
            value = fma_of(of[row][m] * of[column][n], moment, value);
          }
        }
        b.fisher[kFisherFloats * slot + entry] = value;
      }
    }
  }

  // J^T f: for each of the six parameters its coefficients by monomial.
  GSB_HD void polynomials(const PinholeCamera& camera, const float mean[3], const Axes<float>& axes,
                          float of[6][kMonomials]) const {
    Projection<float> p;
    project(camera, o.eps2d, mean, axes, o.near_plane, p);
    float jacobian[6][6];  // of u, v, conic xx, xy, yy, antialiasing factor
    for (int row = 0; row < (o.antialiased ? 6 : 5); ++row) {
      const ScreenGradient<float> screen = {row == 0 ? 1.0f : 0.0f, row == 1 ? 1.0f : 0.0f, 0.0f,
                                            row == 2 ? 1.0f : 0.0f, row == 3 ? 1.0f : 0.0f, row == 4 ? 1.0f : 0.0f,
                                            row == 5 ? 1.0f : 0.0f};
      float grad_mean[3], grad_scaled[3][3], grad_scale[3];
      Quaternion<float> grad_quat;
      project_backward(camera, p, o.eps2d, mean, axes, screen, row == 5, grad_mean, grad_scaled,
                       static_cast<CameraGradient<float>*>(nullptr));
      make_axes_backward(axes, grad_scaled, grad_scale, grad_quat);
      for (int k = 0; k < 3; ++k) {
        jacobian[row][k] = grad_mean[k];
        jacobian[row][3 + k] = grad_scale[k];
      }
    }
    const float A = p.conic_xx, B = p.conic_xy, C = p.conic_yy;
    for (int k = 0; k < 6; ++k) {
      const float u = jacobian[0][k], v = jacobian[1][k];
      // d(log opacity) = d(factor) / factor.
      of[k][0] = o.antialiased ? -(jacobian[5][k] / antialiasing_factor(p)) : 0.0f;
      of[k][1] = -(A * u + B * v);
      of[k][2] = -(B * u + C * v);
      of[k][3] = 0.5f * jacobian[2][k];
      of[k][4] = jacobian[3][k];
      of[k][5] = 0.5f * jacobian[4][k];
    }
  }
};

}  // namespace cuda
}  // namespace gsb
