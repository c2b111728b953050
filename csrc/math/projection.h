// EWA projection of a 3D Gaussian to the screen (Zwicker et al. 2001, "EWA Volume Splatting"), with its gradient.
//
// A Gaussian with mean m, rotation Q (from a quaternion) and standard deviations s has covariance M M^T, M = Q diag(s).
// With the camera's rotation R and the Jacobian J of the perspective division at the mean, its image has
//     covariance = N N^T + eps I,     N = J R M (2 x 3),     conic = covariance^-1.
// In J alone, x/z and y/z are clamped to the image bounds plus a margin, and the gradient goes through the clamped
// expression. The covariance may also be given as such; then N N^T = (J R) Sigma (J R)^T.
//
// Antialiasing (Yu et al. 2024, "Mip-Splatting") multiplies the opacity by
//     sqrt(max(0.005^2, |N N^T| / |covariance|)),
// so that the low-pass filter eps does not add to what a Gaussian covers.
//
// `Real` is float, double, or a vector of lanes with the same operators.
#pragma once

#include "math/scalar.h"

namespace gsb {

// World to camera, intrinsics in pixels, and the bounds of x/z and y/z inside the Jacobian.
struct PinholeCamera {
  float rotation[3][3];
  float translation[3];
  float fx, fy, cx, cy;
  float center[3];
  float ratio_x_min, ratio_x_max;
  float ratio_y_min, ratio_y_max;
};

// The margin around the image inside which the Jacobian follows the mean, as a fraction of half the field of view.
constexpr float kJacobianMargin = 0.3f;

// viewmat: 4x4 row-major, world to camera. intrinsics: 3x3 row-major.
GSB_HD PinholeCamera make_camera(const float* viewmat, const float* intrinsics, int width, int height) {
  PinholeCamera camera;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) camera.rotation[i][j] = viewmat[4 * i + j];
    camera.translation[i] = viewmat[4 * i + 3];
  }
  for (int j = 0; j < 3; ++j) {
    double sum = 0.0;
    for (int i = 0; i < 3; ++i) sum += double(camera.rotation[i][j]) * double(camera.translation[i]);
    camera.center[j] = float(-sum);
  }
  camera.fx = intrinsics[0];
  camera.fy = intrinsics[4];
  camera.cx = intrinsics[2];
  camera.cy = intrinsics[5];
  const float margin_x = kJacobianMargin * 0.5f * float(width) / camera.fx;
  const float margin_y = kJacobianMargin * 0.5f * float(height) / camera.fy;
  camera.ratio_x_min = -camera.cx / camera.fx - margin_x;
  camera.ratio_x_max = (float(width) - camera.cx) / camera.fx + margin_x;
  camera.ratio_y_min = -camera.cy / camera.fy - margin_y;
  camera.ratio_y_max = (float(height) - camera.cy) / camera.fy + margin_y;
  return camera;
}

template <class Real>
struct Quaternion {
  Real w, x, y, z;
};

// Principal axes of a Gaussian, and what their gradient needs.
template <class Real>
struct Axes {
  Quaternion<Real> unit;
  Real inverse_norm;
  Real rotation[3][3];
  Real scale[3];
  Real scaled[3][3];  // M = rotation * diag(scale)
};

template <class Real>
GSB_HD Axes<Real> make_axes(const Quaternion<Real>& q, const Real scale[3]) {
  Axes<Real> axes;
  axes.inverse_norm = Real(1.0f) / sqrt_of(q.w * q.w + q.x * q.x + q.y * q.y + q.z * q.z);
  const Real w = q.w * axes.inverse_norm, x = q.x * axes.inverse_norm;
  const Real y = q.y * axes.inverse_norm, z = q.z * axes.inverse_norm;
  axes.unit = {w, x, y, z};
  const Real one(1.0f), two(2.0f);
  axes.rotation[0][0] = one - two * (y * y + z * z);
  axes.rotation[0][1] = two * (x * y - w * z);
  axes.rotation[0][2] = two * (x * z + w * y);
  axes.rotation[1][0] = two * (x * y + w * z);
  axes.rotation[1][1] = one - two * (x * x + z * z);
  axes.rotation[1][2] = two * (y * z - w * x);
  axes.rotation[2][0] = two * (x * z - w * y);
  axes.rotation[2][1] = two * (y * z + w * x);
  axes.rotation[2][2] = one - two * (x * x + y * y);
  for (int k = 0; k < 3; ++k) {
    axes.scale[k] = scale[k];
    for (int i = 0; i < 3; ++i) axes.scaled[i][k] = axes.rotation[i][k] * scale[k];
  }
  return axes;
}

// From dL/dM to dL/dscale and dL/dq (of the quaternion before normalization).
template <class Real>
GSB_HD void make_axes_backward(const Axes<Real>& axes, const Real grad_scaled[3][3], Real grad_scale[3],
                               Quaternion<Real>& grad_q) {
  Real g[3][3];  // dL/drotation
  for (int k = 0; k < 3; ++k) {
    grad_scale[k] = axes.rotation[0][k] * grad_scaled[0][k] + axes.rotation[1][k] * grad_scaled[1][k] +
                    axes.rotation[2][k] * grad_scaled[2][k];
    for (int i = 0; i < 3; ++i) g[i][k] = grad_scaled[i][k] * axes.scale[k];
  }
  const Real two(2.0f);
  const Real w = axes.unit.w, x = axes.unit.x, y = axes.unit.y, z = axes.unit.z;
  // Derivative of the rotation by each component of the unit quaternion.
  const Real gw = two * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1]));
  const Real gx = two * (y * (g[0][1] + g[1][0]) + z * (g[0][2] + g[2][0]) + w * (g[2][1] - g[1][2]) -
                         two * x * (g[1][1] + g[2][2]));
  const Real gy = two * (x * (g[0][1] + g[1][0]) + z * (g[1][2] + g[2][1]) + w * (g[0][2] - g[2][0]) -
                         two * y * (g[0][0] + g[2][2]));
  const Real gz = two * (x * (g[0][2] + g[2][0]) + y * (g[1][2] + g[2][1]) + w * (g[1][0] - g[0][1]) -
                         two * z * (g[0][0] + g[1][1]));
  // Through the normalization: only the part orthogonal to the quaternion remains.
  const Real along = gw * w + gx * x + gy * y + gz * z;
  grad_q.w = (gw - along * w) * axes.inverse_norm;
  grad_q.x = (gx - along * x) * axes.inverse_norm;
  grad_q.y = (gy - along * y) * axes.inverse_norm;
  grad_q.z = (gz - along * z) * axes.inverse_norm;
}

// A symmetric 3 x 3 matrix given as a Gaussian's covariance.
template <class Real>
struct Covariance {
  Real xx, xy, xz, yy, yz, zz;
};

// A Gaussian on the screen, and what its gradient needs.
template <class Real>
struct Projection {
  Real x, y, z;  // the mean in camera space
  Real inverse_z;
  Real ratio_x, ratio_y;  // x/z and y/z
  Real clamped_x, clamped_y;
  Real jr[2][3];  // J R
  Real n[2][3];   // J R M, or J R Sigma
  Real u, v;      // the mean in pixels
  Real sharp_xx, sharp_xy, sharp_yy, sharp_det;  // of N N^T, before the low-pass filter
  Real cov_xx, cov_xy, cov_yy, det;
  Real conic_xx, conic_xy, conic_yy;
};

// N N^T and its determinant. xx yy - xy^2 loses everything to cancellation for a long thin Gaussian; by Lagrange's
// identity it is |a x b|^2 for the rows a and b of N.
template <class Real>
GSB_HD void project_shape(const Axes<Real>& axes, Projection<Real>& p) {
  for (int k = 0; k < 3; ++k) {
    for (int row = 0; row < 2; ++row) {
      p.n[row][k] =
          p.jr[row][0] * axes.scaled[0][k] + p.jr[row][1] * axes.scaled[1][k] + p.jr[row][2] * axes.scaled[2][k];
    }
  }
  const auto& a = p.n[0];
  const auto& b = p.n[1];
  p.sharp_xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2];
  p.sharp_xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  p.sharp_yy = b[0] * b[0] + b[1] * b[1] + b[2] * b[2];
  const Real c0 = a[1] * b[2] - a[2] * b[1], c1 = a[2] * b[0] - a[0] * b[2], c2 = a[0] * b[1] - a[1] * b[0];
  p.sharp_det = c0 * c0 + c1 * c1 + c2 * c2;
}

// The same for a given covariance; the determinant is n^T adj(Sigma) n for the normal n of the rows of J R
// (Cauchy-Binet).
template <class Real>
GSB_HD void project_shape(const Covariance<Real>& s, Projection<Real>& p) {
  for (int row = 0; row < 2; ++row) {
    const auto& r = p.jr[row];
    p.n[row][0] = s.xx * r[0] + s.xy * r[1] + s.xz * r[2];
    p.n[row][1] = s.xy * r[0] + s.yy * r[1] + s.yz * r[2];
    p.n[row][2] = s.xz * r[0] + s.yz * r[1] + s.zz * r[2];
  }
  const auto& a = p.jr[0];
  const auto& b = p.jr[1];
  p.sharp_xx = a[0] * p.n[0][0] + a[1] * p.n[0][1] + a[2] * p.n[0][2];
  p.sharp_xy = a[0] * p.n[1][0] + a[1] * p.n[1][1] + a[2] * p.n[1][2];
  p.sharp_yy = b[0] * p.n[1][0] + b[1] * p.n[1][1] + b[2] * p.n[1][2];
  const Real x = a[1] * b[2] - a[2] * b[1], y = a[2] * b[0] - a[0] * b[2], z = a[0] * b[1] - a[1] * b[0];
  const Real two(2.0f);
  const Real det = (s.yy * s.zz - s.yz * s.yz) * x * x + (s.xx * s.zz - s.xz * s.xz) * y * y +
                   (s.xx * s.yy - s.xy * s.xy) * z * z +
                   two * ((s.xz * s.yz - s.xy * s.zz) * x * y + (s.xy * s.yz - s.xz * s.yy) * x * z +
                          (s.xy * s.xz - s.xx * s.yz) * y * z);
  // Rounding may take it a little below zero; further below, the matrix is no covariance, and nothing is drawn.
  const Real least = Real(-1e-5f) * p.sharp_xx * p.sharp_yy;
  p.sharp_det = select(det < least, Real(-1e30f), max_of(det, Real(0.0f)));
}

// The projection of a Gaussian. Camera z below `z_floor` is taken for that.
template <class Real, class Shape>
GSB_HD void project(const PinholeCamera& camera, float eps2d, const Real mean[3], const Shape& shape, float z_floor,
                    Projection<Real>& p) {
  const auto& R = camera.rotation;
  const auto& t = camera.translation;
  p.x = Real(R[0][0]) * mean[0] + Real(R[0][1]) * mean[1] + Real(R[0][2]) * mean[2] + Real(t[0]);
  p.y = Real(R[1][0]) * mean[0] + Real(R[1][1]) * mean[1] + Real(R[1][2]) * mean[2] + Real(t[1]);
  p.z = Real(R[2][0]) * mean[0] + Real(R[2][1]) * mean[1] + Real(R[2][2]) * mean[2] + Real(t[2]);
  p.inverse_z = Real(1.0f) / max_of(p.z, Real(z_floor));
  p.ratio_x = p.x * p.inverse_z;
  p.ratio_y = p.y * p.inverse_z;
  p.clamped_x = min_of(max_of(p.ratio_x, Real(camera.ratio_x_min)), Real(camera.ratio_x_max));
  p.clamped_y = min_of(max_of(p.ratio_y, Real(camera.ratio_y_min)), Real(camera.ratio_y_max));
  const Real j00 = Real(camera.fx) * p.inverse_z, j02 = -(j00 * p.clamped_x);
  const Real j11 = Real(camera.fy) * p.inverse_z, j12 = -(j11 * p.clamped_y);
  for (int i = 0; i < 3; ++i) {
    p.jr[0][i] = j00 * Real(R[0][i]) + j02 * Real(R[2][i]);
    p.jr[1][i] = j11 * Real(R[1][i]) + j12 * Real(R[2][i]);
  }
  project_shape(shape, p);
  const Real eps(eps2d);
  p.cov_xx = p.sharp_xx + eps;
  p.cov_xy = p.sharp_xy;
  p.cov_yy = p.sharp_yy + eps;
  p.det = p.sharp_det + eps * (p.sharp_xx + p.sharp_yy + eps);
  const Real inverse_det = Real(1.0f) / p.det;
  p.conic_xx = p.cov_yy * inverse_det;
  p.conic_xy = -(p.cov_xy * inverse_det);
  p.conic_yy = p.cov_xx * inverse_det;
  p.u = Real(camera.fx) * p.ratio_x + Real(camera.cx);
  p.v = Real(camera.fy) * p.ratio_y + Real(camera.cy);
}

// The least value of |N N^T| / |covariance| that antialiasing goes by.
constexpr float kMinDeterminantRatio = 0.005f * 0.005f;

// What antialiasing multiplies the opacity by.
template <class Real>
GSB_HD Real antialiasing_factor(const Projection<Real>& p) {
  return sqrt_of(max_of(p.sharp_det / p.det, Real(kMinDeterminantRatio)));
}

// Gradients arriving at the screen. conic_xy counts once: dL = xx d(xx) + xy d(xy) + yy d(yy).
template <class Real>
struct ScreenGradient {
  Real u, v, z;
  Real conic_xx, conic_xy, conic_yy;
  Real factor;  // of the antialiasing factor
};

// Gradient of the part of a camera that the projection reads.
template <class Real>
struct CameraGradient {
  Real rotation[3][3];
  Real translation[3];
};

// dL/d(J R) and the gradient of the shape, from dL/d(N N^T) = [xx, xy; xy, yy].
template <class Real>
GSB_HD void project_shape_backward(const Axes<Real>& axes, const Projection<Real>& p, Real xx, Real xy, Real yy,
                                   Real grad_scaled[3][3], Real grad_jr[2][3]) {
  const Real two(2.0f);
  Real gn[2][3];
  for (int k = 0; k < 3; ++k) {
    gn[0][k] = two * (xx * p.n[0][k] + xy * p.n[1][k]);
    gn[1][k] = two * (xy * p.n[0][k] + yy * p.n[1][k]);
  }
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 3; ++k) grad_scaled[i][k] = p.jr[0][i] * gn[0][k] + p.jr[1][i] * gn[1][k];
    const auto& m = axes.scaled[i];
    grad_jr[0][i] = gn[0][0] * m[0] + gn[0][1] * m[1] + gn[0][2] * m[2];
    grad_jr[1][i] = gn[1][0] * m[0] + gn[1][1] * m[1] + gn[1][2] * m[2];
  }
}

template <class Real>
GSB_HD void project_shape_backward(const Covariance<Real>&, const Projection<Real>& p, Real xx, Real xy, Real yy,
                                   Real grad_covariance[3][3], Real grad_jr[2][3]) {
  const Real two(2.0f);
  for (int i = 0; i < 3; ++i) {
    grad_jr[0][i] = two * (xx * p.n[0][i] + xy * p.n[1][i]);
    grad_jr[1][i] = two * (xy * p.n[0][i] + yy * p.n[1][i]);
    for (int k = 0; k < 3; ++k) {
      grad_covariance[i][k] = p.jr[0][i] * (xx * p.jr[0][k] + xy * p.jr[1][k]) +
                              p.jr[1][i] * (xy * p.jr[0][k] + yy * p.jr[1][k]);
    }
  }
}

// From screen gradients to dL/dmean (in the world) and that of the shape: dL/dM for axes, dL/dSigma for a covariance.
// `grad_camera` is null or receives the camera's. `with_factor`: whether g.factor counts.
template <class Real, class Shape>
GSB_HD void project_backward(const PinholeCamera& camera, const Projection<Real>& p, float eps2d, const Real mean[3],
                             const Shape& shape, const ScreenGradient<Real>& g, bool with_factor, Real grad_mean[3],
                             Real grad_shape[3][3], CameraGradient<Real>* grad_camera) {
  const auto& R = camera.rotation;
  const Real half(0.5f), one(1.0f), two(2.0f), zero(0.0f);
  // dL/dcovariance = -conic G conic, with G the symmetric matrix of the conic's gradient.
  const Real A = p.conic_xx, B = p.conic_xy, C = p.conic_yy;
  const Real g_xx = g.conic_xx, g_xy = half * g.conic_xy, g_yy = g.conic_yy;
  const Real k00 = A * g_xx + B * g_xy, k01 = A * g_xy + B * g_yy;
  const Real k10 = B * g_xx + C * g_xy, k11 = B * g_xy + C * g_yy;
  Real c_xx = -(k00 * A + k01 * B), c_xy = -(k00 * B + k01 * C), c_yy = -(k10 * B + k11 * C);
  if (with_factor) {
    // factor^2 = ratio = |N N^T| / |N N^T + eps I|; nothing passes where it was raised to its least value.
    const Real inverse_det = one / p.det, ratio = p.sharp_det * inverse_det, eps(eps2d);
    const Real least(kMinDeterminantRatio);
    const Real g_ratio = select(ratio > least, half * g.factor / sqrt_of(max_of(ratio, least)) * inverse_det, zero);
    c_xx = c_xx + g_ratio * (p.sharp_yy * (one - ratio) - ratio * eps);
    c_yy = c_yy + g_ratio * (p.sharp_xx * (one - ratio) - ratio * eps);
    c_xy = c_xy - g_ratio * (p.sharp_xy * (one - ratio));
  }
  Real g_jr[2][3];
  project_shape_backward(shape, p, c_xx, c_xy, c_yy, grad_shape, g_jr);
  Real g_j00(0.0f), g_j02(0.0f), g_j11(0.0f), g_j12(0.0f);
  for (int i = 0; i < 3; ++i) {
    g_j00 = g_j00 + g_jr[0][i] * Real(R[0][i]);
    g_j02 = g_j02 + g_jr[0][i] * Real(R[2][i]);
    g_j11 = g_j11 + g_jr[1][i] * Real(R[1][i]);
    g_j12 = g_j12 + g_jr[1][i] * Real(R[2][i]);
  }
  // J = [fx/z, 0, -fx x/z^2; 0, fy/z, -fy y/z^2]; where x/z is clamped to a constant, the last column is -fx const / z.
  const Real iz = p.inverse_z, iz2 = iz * iz;
  const Real fx(camera.fx), fy(camera.fy);
  const auto outside_x = p.clamped_x != p.ratio_x;
  const auto outside_y = p.clamped_y != p.ratio_y;
  const Real fx_j02 = fx * iz2 * g_j02, fy_j12 = fy * iz2 * g_j12;
  const Real gx = fx * iz * g.u - select(outside_x, zero, fx_j02);
  const Real gy = fy * iz * g.v - select(outside_y, zero, fy_j12);
  const Real gz = g.z - iz * (fx * p.ratio_x * g.u + fy * p.ratio_y * g.v) - iz2 * (fx * g_j00 + fy * g_j11) +
                  fx_j02 * p.clamped_x * select(outside_x, one, two) +
                  fy_j12 * p.clamped_y * select(outside_y, one, two);
  for (int i = 0; i < 3; ++i) {
    grad_mean[i] = Real(R[0][i]) * gx + Real(R[1][i]) * gy + Real(R[2][i]) * gz;
  }
  if (grad_camera == nullptr) return;
  const Real j00 = fx * iz, j02 = -(j00 * p.clamped_x), j11 = fy * iz, j12 = -(j11 * p.clamped_y);
  for (int i = 0; i < 3; ++i) {
    grad_camera->rotation[0][i] = gx * mean[i] + j00 * g_jr[0][i];
    grad_camera->rotation[1][i] = gy * mean[i] + j11 * g_jr[1][i];
    grad_camera->rotation[2][i] = gz * mean[i] + j02 * g_jr[0][i] + j12 * g_jr[1][i];
  }
  grad_camera->translation[0] = gx;
  grad_camera->translation[1] = gy;
  grad_camera->translation[2] = gz;
}

}  // namespace gsb
