// EWA projection of a 3D Gaussian to the screen (Zwicker et al. 2001, "EWA Volume Splatting"), with its gradient.
//
// A Gaussian with mean m, rotation Q (from a quaternion) and standard deviations s has covariance M M^T, M = Q diag(s).
// With the camera's rotation R and the Jacobian J of the perspective division at the mean, its image has
//     covariance = N N^T + eps I,     N = J R M (2 x 3),     conic = covariance^-1.
// In J alone, x/z and y/z are clamped to the image bounds plus a margin, and the gradient goes through the clamped
// expression.
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

// A Gaussian on the screen, and what its gradient needs.
template <class Real>
struct Projection {
  Real x, y, z;  // the mean in camera space
  Real inverse_z;
  Real ratio_x, ratio_y;  // x/z and y/z
  Real clamped_x, clamped_y;
  Real jr[2][3];  // J R
  Real n[2][3];   // J R M
  Real u, v;      // the mean in pixels
  Real cov_xx, cov_xy, cov_yy, det;
  Real conic_xx, conic_xy, conic_yy;
};

// Everything after the camera-space mean, whose z must be positive.
template <class Real>
GSB_HD void project(const PinholeCamera& camera, float eps2d, const Real mean[3], const Axes<Real>& axes, float z_floor,
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
  for (int k = 0; k < 3; ++k) {
    for (int row = 0; row < 2; ++row) {
      p.n[row][k] =
          p.jr[row][0] * axes.scaled[0][k] + p.jr[row][1] * axes.scaled[1][k] + p.jr[row][2] * axes.scaled[2][k];
    }
  }
  const auto& a = p.n[0];
  const auto& b = p.n[1];
  const Real eps(eps2d);
  const Real aa = a[0] * a[0] + a[1] * a[1] + a[2] * a[2];
  const Real bb = b[0] * b[0] + b[1] * b[1] + b[2] * b[2];
  p.cov_xx = aa + eps;
  p.cov_yy = bb + eps;
  p.cov_xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  // xx yy - xy^2 loses everything to cancellation for a long thin Gaussian. By Lagrange's identity it is
  // |a x b|^2 + eps (|a|^2 + |b|^2) + eps^2, a sum of terms that are not negative.
  const Real c0 = a[1] * b[2] - a[2] * b[1], c1 = a[2] * b[0] - a[0] * b[2], c2 = a[0] * b[1] - a[1] * b[0];
  p.det = c0 * c0 + c1 * c1 + c2 * c2 + eps * (aa + bb + eps);
  const Real inverse_det = Real(1.0f) / p.det;
  p.conic_xx = p.cov_yy * inverse_det;
  p.conic_xy = -(p.cov_xy * inverse_det);
  p.conic_yy = p.cov_xx * inverse_det;
  p.u = Real(camera.fx) * p.ratio_x + Real(camera.cx);
  p.v = Real(camera.fy) * p.ratio_y + Real(camera.cy);
}

// Gradients arriving at the screen. conic_xy counts once: dL = xx d(xx) + xy d(xy) + yy d(yy).
template <class Real>
struct ScreenGradient {
  Real u, v, z;
  Real conic_xx, conic_xy, conic_yy;
};

// From screen gradients to dL/dmean (in the world) and dL/dM.
template <class Real>
GSB_HD void project_backward(const PinholeCamera& camera, const Projection<Real>& p, const Axes<Real>& axes,
                             const ScreenGradient<Real>& g, Real grad_mean[3], Real grad_scaled[3][3]) {
  const auto& R = camera.rotation;
  const Real half(0.5f), two(2.0f), zero(0.0f);
  // dL/dcovariance = -conic G conic, with G the symmetric matrix of the conic's gradient.
  const Real A = p.conic_xx, B = p.conic_xy, C = p.conic_yy;
  const Real g_xx = g.conic_xx, g_xy = half * g.conic_xy, g_yy = g.conic_yy;
  const Real k00 = A * g_xx + B * g_xy, k01 = A * g_xy + B * g_yy;
  const Real k10 = B * g_xx + C * g_xy, k11 = B * g_xy + C * g_yy;
  const Real c_xx = -(k00 * A + k01 * B), c_xy = -(k00 * B + k01 * C), c_yy = -(k10 * B + k11 * C);
  // covariance = N N^T + eps I, so dL/dN = 2 (dL/dcovariance) N.
  Real gn[2][3];
  for (int k = 0; k < 3; ++k) {
    gn[0][k] = two * (c_xx * p.n[0][k] + c_xy * p.n[1][k]);
    gn[1][k] = two * (c_xy * p.n[0][k] + c_yy * p.n[1][k]);
  }
  for (int i = 0; i < 3; ++i) {
    for (int k = 0; k < 3; ++k) grad_scaled[i][k] = p.jr[0][i] * gn[0][k] + p.jr[1][i] * gn[1][k];
  }
  Real g_j00(0.0f), g_j02(0.0f), g_j11(0.0f), g_j12(0.0f);
  for (int i = 0; i < 3; ++i) {
    const auto& m = axes.scaled[i];
    const Real g_jr0 = gn[0][0] * m[0] + gn[0][1] * m[1] + gn[0][2] * m[2];
    const Real g_jr1 = gn[1][0] * m[0] + gn[1][1] * m[1] + gn[1][2] * m[2];
    g_j00 = g_j00 + g_jr0 * Real(R[0][i]);
    g_j02 = g_j02 + g_jr0 * Real(R[2][i]);
    g_j11 = g_j11 + g_jr1 * Real(R[1][i]);
    g_j12 = g_j12 + g_jr1 * Real(R[2][i]);
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
                  fx_j02 * p.clamped_x * select(outside_x, Real(1.0f), two) +
                  fy_j12 * p.clamped_y * select(outside_y, Real(1.0f), two);
  for (int i = 0; i < 3; ++i) {
    grad_mean[i] = Real(R[0][i]) * gx + Real(R[1][i]) * gy + Real(R[2][i]) * gz;
  }
}

}  // namespace gsb
