// Normals of visible Gaussians: the direction in which each is thinnest, turned towards the camera. csrc/cpu/normals.inc
// does the same, to the same bits.
#pragma once

#include "cuda/project.h"

namespace gsb {
namespace cuda {

struct Normal {
  Axes<float> axes;
  int thinnest;  // which column; of equal scales the first
  float sign;
};

GSB_HD void find_normal(const Buffers& b, const PinholeCamera& camera, int64_t g, Normal& n) {
  load_shape(b, g, n.axes);
  const float* scale = n.axes.scale;
  n.thinnest = scale[0] <= scale[1] && scale[0] <= scale[2] ? 0 : scale[1] <= scale[2] ? 1 : 2;
  float along = 0.0f;  // of the axis from the camera
  for (int i = 0; i < 3; ++i) {
    const float* row = n.axes.rotation[i];
    const float component = n.thinnest == 0 ? row[0] : n.thinnest == 1 ? row[1] : row[2];
    along = along + component * (b.means[3 * g + i] - camera.center[i]);
  }
  n.sign = along > 0.0f ? -1.0f : 1.0f;
}

// One thread per combination of a camera and a Gaussian.
struct NormalsForward {
  RasterOptions o;
  Buffers b;
  float* normals;

  GSB_HD void operator()(int64_t id) const {
    const bool visible = is_visible(o, b, id);
    if (!visible && o.packed) return;
    float* out = normals + 3 * slot_of(o, b, uint32_t(id));
    if (!visible) {
      for (int i = 0; i < 3; ++i) out[i] = 0.0f;
      return;
    }
    Normal n;
    find_normal(b, camera_of(b, id / o.gaussians), id % o.gaussians, n);
    for (int i = 0; i < 3; ++i) {
      const float* row = n.axes.rotation[i];
      out[i] = n.sign * (n.thinnest == 0 ? row[0] : n.thinnest == 1 ? row[1] : row[2]);
    }
  }
};

// One thread per Gaussian, which takes the cameras in order.
struct NormalsBackward {
  RasterOptions o;
  Buffers b;
  const float* grad_normals;

  GSB_HD void operator()(int64_t g) const {
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int64_t c = 0; c < o.cameras; ++c) {
      const int64_t id = c * o.gaussians + g;
      if (!is_visible(o, b, id)) continue;
      Normal n;
      find_normal(b, camera_of(b, c), g, n);
      const float* incoming = grad_normals + 3 * slot_of(o, b, uint32_t(id));
      float of_rotation[3][3], of_scale[3];
      for (int k = 0; k < 3; ++k) {
        n.axes.scale[k] = 1.0f;
        for (int i = 0; i < 3; ++i) of_rotation[i][k] = k == n.thinnest ? n.sign * incoming[i] : 0.0f;
      }
      Quaternion<float> q;
      make_axes_backward(n.axes, of_rotation, of_scale, q);
      sum[0] += q.w;
      sum[1] += q.x;
      sum[2] += q.y;
      sum[3] += q.z;
    }
    for (int k = 0; k < 4; ++k) b.grad_quats[4 * g + k] = sum[k];
  }
};

}  // namespace cuda
}  // namespace gsb
