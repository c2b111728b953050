// Gradient of the projection: from the per-projection arrays to the Gaussians and the cameras.
#pragma once

#include "cuda/project.h"

namespace gsb {
namespace cuda {

// What reaches a Gaussian's mean, opacity and shape through one camera.
struct CameraShare {
  float mean[3], opacity;
  float shape[3][3];
  CameraGradient<float> camera;
};

// dL/dcolor of a record: max(SH + 0.5, 0) passes nothing where the color was clamped.
GSB_HD void unclamped(const Buffers& b, int64_t slot, const ScreenRecord& r, float color[3]) {
  const float* incoming = b.grad_slot_colors + 3 * slot;
  color[0] = r.red > 0.0f ? incoming[0] : 0.0f;
  color[1] = r.green > 0.0f ? incoming[1] : 0.0f;
  color[2] = r.blue > 0.0f ? incoming[2] : 0.0f;
}

// Stores the gradient of a Gaussian's stored colors, or adds to it.
GSB_HD void colors_backward(const RasterOptions& o, const Buffers& b, const PinholeCamera& camera, int64_t slot,
                            const ScreenRecord& r, const float mean[3], bool store, float* grad_colors) {
  if (o.color_bases == 0) {
    const float* incoming = b.grad_slot_colors + 3 * slot;
    for (int k = 0; k < 3; ++k) grad_colors[k] = store ? incoming[k] : grad_colors[k] + incoming[k];
    return;
  }
  float color[3];
  unclamped(b, slot, r, color);
  const int bases = (o.sh_degree + 1) * (o.sh_degree + 1);
  const ViewDirection d = view_direction(camera, mean);
  float basis[kMaxShBases];
  sh_basis(o.sh_degree, d.x, d.y, d.z, basis);
  GSB_UNROLL
  for (int k = 0; k < kMaxShBases; ++k) {
    if (k >= bases) continue;
    for (int c = 0; c < 3; ++c) {
      const float value = color[c] * basis[k];
      grad_colors[3 * k + c] = store ? value : grad_colors[3 * k + c] + value;
    }
  }
  for (int k = 3 * bases; store && k < 3 * o.color_bases; ++k) grad_colors[k] = 0.0f;
}

// What reaches the mean through the view direction.
GSB_HD void direction_backward(const RasterOptions& o, const Buffers& b, const PinholeCamera& camera,
                               int64_t camera_index, int64_t g, int64_t slot, const ScreenRecord& r, const float mean[3],
                               float direction[3]) {
  direction[0] = direction[1] = direction[2] = 0.0f;
  if (b.grad_slot_colors == nullptr || o.color_bases == 0 || o.sh_degree == 0) return;
  float color[3], gradient[3];
  unclamped(b, slot, r, color);
  const ViewDirection d = view_direction(camera, mean);
  const float* sh = colors_of(o, b, camera_index, g);
  sh_direction_gradient(
      o.sh_degree, d.x, d.y, d.z,
      [&](int k) { return color[0] * sh[3 * k] + color[1] * sh[3 * k + 1] + color[2] * sh[3 * k + 2]; }, gradient);
  // Through the normalization of the direction.
  const float along = gradient[0] * d.x + gradient[1] * d.y + gradient[2] * d.z;
  direction[0] = (gradient[0] - along * d.x) * d.inverse_length;
  direction[1] = (gradient[1] - along * d.y) * d.inverse_length;
  direction[2] = (gradient[2] - along * d.z) * d.inverse_length;
}

template <class Shape>
GSB_HD void geometry_backward(const RasterOptions& o, const Buffers& b, const PinholeCamera& camera, int64_t g,
                              int64_t slot, const float mean[3], const Shape& shape, bool with_camera,
                              CameraShare& share) {
  Projection<float> p;
  project(camera, o.eps2d, mean, shape, o.near_plane, p);
  ScreenGradient<float> screen = {b.grad_means2d[2 * slot],    b.grad_means2d[2 * slot + 1],
                                  b.grad_depths == nullptr ? 0.0f : b.grad_depths[slot],
                                  b.grad_conics[3 * slot],     b.grad_conics[3 * slot + 1],
                                  b.grad_conics[3 * slot + 2], 0.0f};
  share.opacity = b.grad_slot_opacities[slot];
  if (o.antialiased) {
    screen.factor = share.opacity * b.opacities[g];
    share.opacity = share.opacity * antialiasing_factor(p);
  }
  project_backward(camera, p, o.eps2d, mean, shape, screen, o.antialiased, share.mean, share.shape,
                   with_camera ? &share.camera : nullptr);
}

GSB_HD void add_shape(const Axes<float>& axes, const float shape[3][3], float total[9]) {
  float grad_scale[3];
  Quaternion<float> q;
  make_axes_backward(axes, shape, grad_scale, q);
  for (int k = 0; k < 3; ++k) total[k] += grad_scale[k];
  total[3] += q.w;
  total[4] += q.x;
  total[5] += q.y;
  total[6] += q.z;
}
GSB_HD void add_shape(const Covariance<float>&, const float shape[3][3], float total[9]) {
  for (int k = 0; k < 9; ++k) total[k] += shape[k / 3][k % 3];
}
GSB_HD void store_shape(const Buffers& b, const Axes<float>&, int64_t row, const float total[9]) {
  for (int k = 0; k < 3; ++k) b.grad_scales[3 * row + k] = total[k];
  for (int k = 0; k < 4; ++k) b.grad_quats[4 * row + k] = total[3 + k];
}
GSB_HD void store_shape(const Buffers& b, const Covariance<float>&, int64_t row, const float total[9]) {
  for (int k = 0; k < 9; ++k) b.grad_covars[9 * row + k] = total[k];
}

// One thread per Gaussian, which takes the cameras in order; with separate_cameras one per combination.
template <class Shape>
struct ProjectBackward {
  RasterOptions o;
  Buffers b;

  GSB_HD void operator()(int64_t row) const {
    const int64_t g = row % o.gaussians;
    const int64_t first = o.separate_cameras ? row / o.gaussians : 0;
    const int64_t end = o.separate_cameras ? first + 1 : o.cameras;
    const float mean[3] = {b.means[3 * g], b.means[3 * g + 1], b.means[3 * g + 2]};
    const int64_t color_floats = o.color_bases == 0 ? 3 : 3 * int64_t(o.color_bases);
    Shape shape;
    load_shape(b, g, shape);
    float of_mean[3] = {0.0f, 0.0f, 0.0f}, of_opacity = 0.0f;
    float of_shape[9] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    bool store = true;  // nothing is in the gradient of the colors yet
    for (int64_t c = first; c < end; ++c) {
      const int64_t id = c * o.gaussians + g;
      // Where the gradient of the colors goes: with colors per camera to the camera's own, else to the common row.
      float* grad_colors = b.grad_colors;
      if (grad_colors != nullptr) grad_colors += color_floats * (o.colors_per_camera ? id : row);
      if (o.colors_per_camera) store = true;
      if (!is_visible(o, b, id)) {
        for (int64_t k = 0; grad_colors != nullptr && o.colors_per_camera && k < color_floats; ++k) grad_colors[k] = 0.0f;
        continue;
      }
      const int64_t slot = slot_of(o, b, uint32_t(id));
      const PinholeCamera& camera = camera_of(b, c);
      CameraShare share;
      geometry_backward(o, b, camera, g, slot, mean, shape, false, share);
      float direction[3];
      direction_backward(o, b, camera, c, g, slot, b.records[id], mean, direction);
      if (grad_colors != nullptr) {
        colors_backward(o, b, camera, slot, b.records[id], mean, store, grad_colors);
        store = false;
      }
      for (int k = 0; k < 3; ++k) of_mean[k] += share.mean[k] + direction[k];
      of_opacity += share.opacity;
      add_shape(shape, share.shape, of_shape);
    }
    for (int64_t k = 0; b.grad_colors != nullptr && !o.colors_per_camera && store && k < color_floats; ++k) {
      b.grad_colors[color_floats * row + k] = 0.0f;
    }
    for (int k = 0; k < 3; ++k) b.grad_means[3 * row + k] = of_mean[k];
    b.grad_opacities[row] = of_opacity;
    store_shape(b, shape, row, of_shape);
  }
};

// The gradient of the cameras: a block sums up 1024 Gaussians for one camera, in a fixed order.
constexpr int kCameraChunk = 1024;

template <class Shape>
struct CameraBackward {
  static constexpr int kThreads = 128, kSums = 12;
  struct Shared {
    float partial[kThreads / kWarp][kSums];
  };
  RasterOptions o;
  Buffers b;
  int64_t chunks;

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t index) const {
    const int64_t c = index / chunks, chunk = index % chunks;
    block.each_warp([&](int w) {
      block.template sums<kSums>(
          w, [&](int t, float* sums) { sum_up(c, chunk * kCameraChunk + t, sums); },
          [&](int k, float sum) { shared.partial[w][k] = sum; });
    });
    block.barrier();
    block.each([&](int t) {
      if (t >= kSums) return;
      float sum = 0.0f;
      for (int w = 0; w < kThreads / kWarp; ++w) sum += shared.partial[w][t];
      b.camera_rows[index * kSums + t] = sum;
    });
  }

  // Row by row: rotation | translation.
  GSB_HD void sum_up(int64_t c, int64_t first, float* sums) const {
    for (int k = 0; k < kSums; ++k) sums[k] = 0.0f;
    const PinholeCamera& camera = camera_of(b, c);
    for (int64_t g = first; g < first / kCameraChunk * kCameraChunk + kCameraChunk && g < o.gaussians; g += kThreads) {
      const int64_t id = c * o.gaussians + g;
      if (!is_visible(o, b, id)) continue;
      const int64_t slot = slot_of(o, b, uint32_t(id));
      const float mean[3] = {b.means[3 * g], b.means[3 * g + 1], b.means[3 * g + 2]};
      Shape shape;
      load_shape(b, g, shape);
      CameraShare share;
      geometry_backward(o, b, camera, g, slot, mean, shape, true, share);
      float direction[3];
      direction_backward(o, b, camera, c, g, slot, b.records[id], mean, direction);
      // The camera's center is -R^T t.
      for (int i = 0; i < 3; ++i) {
        float along = 0.0f;
        for (int j = 0; j < 3; ++j) {
          along = fma_of(camera.rotation[i][j], direction[j], along);
          sums[4 * i + j] += share.camera.rotation[i][j] + camera.translation[i] * direction[j];
        }
        sums[4 * i + 3] += share.camera.translation[i] + along;
      }
    }
  }
};

// One thread per number of the cameras' gradients: adds the rows of all chunks, in order.
struct AddCameraRows {
  Buffers b;
  int64_t chunks;

  GSB_HD void operator()(int64_t index) const {
    const int64_t c = index / 16, k = index % 16;
    double sum = 0.0;
    for (int64_t chunk = 0; k < 12 && chunk < chunks; ++chunk) {
      sum += double(b.camera_rows[(c * chunks + chunk) * 12 + k]);
    }
    b.grad_viewmats[index] = float(sum);
  }
};

}  // namespace cuda
}  // namespace gsb
