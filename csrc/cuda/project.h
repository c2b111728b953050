// Projection: from Gaussians to screen records and per-projection arrays.
#pragma once

#include "cpu/slot.h"
#include "cuda/raster.h"

namespace gsb {
namespace cuda {

constexpr float kMinSquaredQuaternionNorm = 1e-30f;

// The shape of a Gaussian; false where a number is not finite, or the quaternion is zero.
GSB_HD bool load_shape(const Buffers& b, int64_t g, Axes<float>& axes) {
  const float* s = b.scales + 3 * g;
  const float* q = b.quats + 4 * g;
  const float scale[3] = {s[0], s[1], s[2]};
  const Quaternion<float> quat = {q[0], q[1], q[2], q[3]};
  axes = make_axes(quat, scale);
  const float norm2 = quat.w * quat.w + quat.x * quat.x + quat.y * quat.y + quat.z * quat.z;
  const float zero = (quat.w - quat.w) + (quat.x - quat.x) + (quat.y - quat.y) + (quat.z - quat.z) +
                     (scale[0] - scale[0]) + (scale[1] - scale[1]) + (scale[2] - scale[2]);
  return zero >= 0.0f && norm2 >= kMinSquaredQuaternionNorm;
}

GSB_HD bool load_shape(const Buffers& b, int64_t g, Covariance<float>& c) {
  const float* m = b.covars + 9 * g;
  c = {m[0], 0.5f * (m[1] + m[3]), 0.5f * (m[2] + m[6]), m[4], 0.5f * (m[5] + m[7]), m[8]};
  return (c.xx - c.xx) + (c.xy - c.xy) + (c.xz - c.xz) + (c.yy - c.yy) + (c.yz - c.yz) + (c.zz - c.zz) >= 0.0f;
}

// The mean of a Gaussian relative to the camera, as unit vector and inverse length.
struct ViewDirection {
  float x, y, z, inverse_length;
};

GSB_HD ViewDirection view_direction(const PinholeCamera& camera, const float mean[3]) {
  const float x = mean[0] - camera.center[0], y = mean[1] - camera.center[1], z = mean[2] - camera.center[2];
  const float inverse_length = 1.0f / sqrt_of(max_of(x * x + y * y + z * z, 1e-30f));
  return {x * inverse_length, y * inverse_length, z * inverse_length, inverse_length};
}

// Where a combination's colors are.
GSB_HD const float* colors_of(const RasterOptions& o, const Buffers& b, int64_t camera, int64_t g) {
  const int64_t floats = o.color_bases == 0 ? 3 : 3 * int64_t(o.color_bases);
  return b.colors + floats * (o.colors_per_camera ? camera * o.gaussians + g : g);
}

// The color of a Gaussian as the camera sees it, not clamped from above. False if it is not finite. Sums run over even and
// odd coefficients, as on the CPU.
GSB_HD bool evaluate_color(const RasterOptions& o, const Buffers& b, const PinholeCamera& camera, int64_t camera_index,
                           int64_t g, const float mean[3], float color[3]) {
  const float* stored = colors_of(o, b, camera_index, g);
  if (o.color_bases == 0) {
    for (int k = 0; k < 3; ++k) color[k] = stored[k];
    return is_finite(color[0]) && is_finite(color[1]) && is_finite(color[2]);
  }
  const int bases = (o.sh_degree + 1) * (o.sh_degree + 1);
  const ViewDirection d = view_direction(camera, mean);
  float basis[kMaxShBases];
  sh_basis(o.sh_degree, d.x, d.y, d.z, basis);
  bool finite = true;
  for (int c = 0; c < 3; ++c) {
    float even = 0.0f, odd = 0.0f;
    GSB_UNROLL
    for (int k = 0; k < kMaxShBases; ++k) {
      if (k >= bases) continue;
      const float term = stored[3 * k + c] * basis[k];
      if (k % 2 == 0 || k == bases - 1) {
        even += term;
      } else {
        odd += term;
      }
    }
    const float value = even + odd + 0.5f;
    finite = finite && is_finite(value);
    color[c] = value > 0.0f ? value : 0.0f;
  }
  return finite;
}

GSB_HD void clear_slot(const Buffers& b, int64_t slot) {
  for (int k = 0; k < 2; ++k) b.means2d[2 * slot + k] = 0.0f;
  b.depths[slot] = 0.0f;
  for (int k = 0; k < 3; ++k) b.conics[3 * slot + k] = 0.0f;
  for (int k = 0; k < 3 && b.slot_colors != nullptr; ++k) b.slot_colors[3 * slot + k] = 0.0f;
  b.slot_opacities[slot] = 0.0f;
  for (int k = 0; k < 2; ++k) b.radii[2 * slot + k] = 0;
}

GSB_HD ScreenRecord make_record(const OnScreen& s, int32_t gaussian) {
  ScreenRecord r;
  r.x = s.p.u;
  r.y = s.p.v;
  r.a = s.p.conic_xx * (-0.5f * kLog2E);
  r.b = s.p.conic_xy * -kLog2E;
  r.c = s.p.conic_yy * (-0.5f * kLog2E);
  r.log2_opacity = s.log2_opacity;
  r.red = r.green = r.blue = 0.0f;
  r.row_peak = -(s.p.conic_xy / s.p.conic_xx);
  r.column_peak = -(s.p.conic_xy / s.p.conic_yy);
  r.depth = s.p.z;
  r.opacity = s.opacity;
  r.extent_x = s.extent_x;
  r.extent_y = s.extent_y;
  r.gaussian = gaussian;
  return r;
}

// Calls visit(tile) for the tiles of one image that a record touches, row by row.
template <class Visit>
GSB_HD void for_each_tile(const RasterOptions& o, const ScreenRecord& r, const Visit& visit) {
  const ScreenEllipse e = make_ellipse(r.x, r.y, r.a, r.log2_opacity, r.row_peak, r.column_peak, r.extent_x, r.extent_y,
                                       o.width, o.height);
  const int last_row = int(tile_of_pixel(e.box.y1)), tiles_x = o.tiles_x();
  for (int row = int(tile_of_pixel(e.box.y0)); row <= last_row; ++row) {
    const TileRange range = tiles_in_row(e, row);
    for (int column = range.first; column <= range.last; ++column) visit(uint32_t(row * tiles_x + column));
  }
}

// One thread per camera.
struct PrepareCameras {
  RasterOptions o;
  Buffers b;

  GSB_HD void operator()(int64_t c) const {
    const float* v = b.viewmats + 16 * c;
    const float* k = b.intrinsics + 9 * c;
    *reinterpret_cast<PinholeCamera*>(b.cameras + 32 * c) = make_camera(v, k, o.width, o.height);
    bool good = v[12] == 0.0f && v[13] == 0.0f && v[14] == 0.0f && v[15] == 1.0f && k[0] > 0.0f && k[4] > 0.0f &&
                k[1] == 0.0f && k[3] == 0.0f && k[6] == 0.0f && k[7] == 0.0f && k[8] == 1.0f;
    for (int i = 0; i < 16; ++i) good = good && is_finite(v[i]);
    for (int i = 0; i < 9; ++i) good = good && is_finite(k[i]);
    if (!good) or_atomic(reinterpret_cast<int32_t*>(b.totals + 2), kRefusedCamera);
  }
};

// One thread per combination of a camera and a Gaussian.
template <class Shape>
struct ProjectForward {
  RasterOptions o;
  Buffers b;

  GSB_HD void operator()(int64_t id) const {
    const int64_t camera_index = id / o.gaussians, g = id % o.gaussians;
    const float mean[3] = {b.means[3 * g], b.means[3 * g + 1], b.means[3 * g + 2]};
    const float opacity = b.opacities[g];
    Shape shape;
    const bool valid = load_shape(b, g, shape) && is_finite(mean[0]) && is_finite(mean[1]) && is_finite(mean[2]) &&
                       opacity >= 0.0f && opacity <= 1.0f;
    if (!valid) or_atomic(reinterpret_cast<int32_t*>(b.totals + 2), kRefusedGaussian);
    const PinholeCamera& camera = camera_of(b, camera_index);
    OnScreen s;
    to_screen(limits_of(o), camera, mean, shape, opacity, s);
    uint32_t tiles = 0;
    if (valid && s.visible) {
      ScreenRecord r = make_record(s, int32_t(g));
      for_each_tile(o, r, [&](uint32_t) { ++tiles; });
      if (b.colors != nullptr) {
        float color[3];
        if (!evaluate_color(o, b, camera, camera_index, g, mean, color)) {
          or_atomic(reinterpret_cast<int32_t*>(b.totals + 2), kRefusedColor);
        }
        r.red = color[0];
        r.green = color[1];
        r.blue = color[2];
      }
      b.records[id] = r;
      if (!o.packed) write_slot(b, id, r);
    } else if (!o.packed) {
      clear_slot(b, id);
    }
    b.tile_counts[id] = tiles;
    b.ranks[id] = valid && s.visible ? 1 : 0;
  }
};

// Adds up tile_counts and ranks: one block for every 4096 of them.
struct CountTotals {
  static constexpr int kThreads = 256, kPerThread = 16, kPerBlock = kThreads * kPerThread;
  struct Shared {
    unsigned long long visible[kThreads], pairs[kThreads];
  };
  int64_t count;
  Buffers b;

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t index) const {
    block.each([&](int t) {
      unsigned long long visible = 0, pairs = 0;
      for (int k = 0; k < kPerThread; ++k) {
        const int64_t id = index * kPerBlock + k * kThreads + t;
        if (id < count) {
          visible += b.ranks[id];
          pairs += b.tile_counts[id];
        }
      }
      shared.visible[t] = visible;
      shared.pairs[t] = pairs;
    });
    for (int half = kThreads / 2; half > 0; half /= 2) {
      block.barrier();
      block.each([&](int t) {
        if (t < half) {
          shared.visible[t] += shared.visible[t + half];
          shared.pairs[t] += shared.pairs[t + half];
        }
      });
    }
    block.each([&](int t) {
      if (t != 0) return;
      add_atomic(reinterpret_cast<unsigned long long*>(b.totals), shared.visible[0]);
      add_atomic(reinterpret_cast<unsigned long long*>(b.totals + 1), shared.pairs[0]);
    });
  }
};

// One thread per combination: the rows of the visible ones. Afterwards ranks are known for all.
struct PackSlots {
  RasterOptions o;
  Buffers b;

  GSB_HD void operator()(int64_t id) const {
    if (!is_visible(o, b, id)) return;
    const int64_t slot = b.ranks[id];
    write_slot(b, slot, b.records[id]);
    b.camera_ids[slot] = id / o.gaussians;
    b.gaussian_ids[slot] = id % o.gaussians;
  }
};

struct SeenIfOpaque {
  RasterOptions o;
  Buffers b;
  uint8_t* visible;

  GSB_HD void operator()(int64_t g) const {
    const float mean[3] = {b.means[3 * g], b.means[3 * g + 1], b.means[3 * g + 2]};
    Axes<float> axes;
    const bool valid = load_shape(b, g, axes) && is_finite(mean[0]) && is_finite(mean[1]) && is_finite(mean[2]);
    if (!valid) or_atomic(reinterpret_cast<int32_t*>(b.totals + 2), kRefusedGaussian);
    OnScreen s;
    to_screen(limits_of(o), camera_of(b, 0), mean, axes, 1.0f, s);
    visible[g] = s.visible ? 1 : 0;
  }
};

}  // namespace cuda
}  // namespace gsb
