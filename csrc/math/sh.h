// Real spherical harmonics up to degree 4 in Cartesian form, in the order and with the signs of 3DGS, and the gradient
// of a weighted sum of them by the direction. Constants: sqrt of rationals over pi, see e.g. Sloan 2008, "Stupid
// Spherical Harmonics Tricks", appendix A2.
#pragma once

#include "math/host_device.h"

namespace gsb {

constexpr int kMaxShDegree = 4;
constexpr int kMaxShBases = (kMaxShDegree + 1) * (kMaxShDegree + 1);

constexpr float kSh0 = 0.28209479177387814f;
constexpr float kSh1 = 0.4886025119029199f;
// By degree and place. (Elements of a constexpr array cannot be used on a device.)
constexpr float kSh2_0 = 1.0925484305920792f, kSh2_1 = -1.0925484305920792f, kSh2_2 = 0.31539156525252005f,
                kSh2_3 = -1.0925484305920792f, kSh2_4 = 0.5462742152960396f;
constexpr float kSh3_0 = -0.5900435899266435f, kSh3_1 = 2.890611442640554f, kSh3_2 = -0.4570457994644658f,
                kSh3_3 = 0.3731763325901154f, kSh3_4 = -0.4570457994644658f, kSh3_5 = 1.445305721320277f,
                kSh3_6 = -0.5900435899266435f;
constexpr float kSh4_0 = 2.5033429417967046f, kSh4_1 = -1.7701307697799304f, kSh4_2 = 0.9461746957575601f,
                kSh4_3 = -0.6690465435572892f, kSh4_4 = 0.10578554691520431f, kSh4_5 = -0.6690465435572892f,
                kSh4_6 = 0.47308734787878004f, kSh4_7 = -1.7701307697799304f, kSh4_8 = 0.6258357354491761f;

// basis[(degree + 1)^2] at the unit direction (x, y, z).
template <class Real>
GSB_HD void sh_basis(int degree, Real x, Real y, Real z, Real* basis) {
  basis[0] = Real(kSh0);
  if (degree < 1) return;
  basis[1] = Real(-kSh1) * y;
  basis[2] = Real(kSh1) * z;
  basis[3] = Real(-kSh1) * x;
  if (degree < 2) return;
  const Real xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
  const Real one(1.0f), two(2.0f), three(3.0f), four(4.0f), seven(7.0f);
  basis[4] = Real(kSh2_0) * xy;
  basis[5] = Real(kSh2_1) * yz;
  basis[6] = Real(kSh2_2) * (two * zz - xx - yy);
  basis[7] = Real(kSh2_3) * xz;
  basis[8] = Real(kSh2_4) * (xx - yy);
  if (degree < 3) return;
  basis[9] = Real(kSh3_0) * y * (three * xx - yy);
  basis[10] = Real(kSh3_1) * xy * z;
  basis[11] = Real(kSh3_2) * y * (four * zz - xx - yy);
  basis[12] = Real(kSh3_3) * z * (two * zz - three * (xx + yy));
  basis[13] = Real(kSh3_4) * x * (four * zz - xx - yy);
  basis[14] = Real(kSh3_5) * z * (xx - yy);
  basis[15] = Real(kSh3_6) * x * (xx - three * yy);
  if (degree < 4) return;
  basis[16] = Real(kSh4_0) * xy * (xx - yy);
  basis[17] = Real(kSh4_1) * yz * (three * xx - yy);
  basis[18] = Real(kSh4_2) * xy * (seven * zz - one);
  basis[19] = Real(kSh4_3) * yz * (seven * zz - three);
  basis[20] = Real(kSh4_4) * (zz * (Real(35.0f) * zz - Real(30.0f)) + three);
  basis[21] = Real(kSh4_5) * xz * (seven * zz - three);
  basis[22] = Real(kSh4_6) * (xx - yy) * (seven * zz - one);
  basis[23] = Real(kSh4_7) * xz * (xx - three * yy);
  basis[24] = Real(kSh4_8) * (xx * (xx - three * yy) - yy * (three * xx - yy));
}

// Gradient of sum_k weight[k] basis_k by (x, y, z), taken as independent variables: the caller projects it on the
// sphere. weight(k) returns the k-th weight.
template <class Real, class Weight>
GSB_HD void sh_direction_gradient(int degree, Real x, Real y, Real z, const Weight& weight, Real gradient[3]) {
  Real gx(0.0f), gy(0.0f), gz(0.0f);
  if (degree >= 1) {
    gx = Real(-kSh1) * weight(3);
    gy = Real(-kSh1) * weight(1);
    gz = Real(kSh1) * weight(2);
  }
  const Real xx = x * x, yy = y * y, zz = z * z, xy = x * y, yz = y * z, xz = x * z;
  const Real one(1.0f), two(2.0f), three(3.0f), four(4.0f), six(6.0f), seven(7.0f);
  if (degree >= 2) {
    const Real w4 = Real(kSh2_0) * weight(4), w5 = Real(kSh2_1) * weight(5), w6 = Real(kSh2_2) * weight(6);
    const Real w7 = Real(kSh2_3) * weight(7), w8 = Real(kSh2_4) * weight(8);
    gx = gx + y * w4 + z * w7 + two * x * (w8 - w6);
    gy = gy + x * w4 + z * w5 - two * y * (w8 + w6);
    gz = gz + y * w5 + x * w7 + four * z * w6;
  }
  if (degree >= 3) {
    const Real w9 = Real(kSh3_0) * weight(9), w10 = Real(kSh3_1) * weight(10), w11 = Real(kSh3_2) * weight(11);
    const Real w12 = Real(kSh3_3) * weight(12), w13 = Real(kSh3_4) * weight(13);
    const Real w14 = Real(kSh3_5) * weight(14), w15 = Real(kSh3_6) * weight(15);
    gx = gx + six * xy * w9 + yz * w10 - two * xy * w11 - six * xz * w12 + (four * zz - three * xx - yy) * w13 +
         two * xz * w14 + three * (xx - yy) * w15;
    gy = gy + three * (xx - yy) * w9 + xz * w10 + (four * zz - xx - three * yy) * w11 - six * yz * w12 -
         two * xy * w13 - two * yz * w14 - six * xy * w15;
    gz = gz + xy * w10 + Real(8.0f) * yz * w11 + (six * zz - three * (xx + yy)) * w12 + Real(8.0f) * xz * w13 +
         (xx - yy) * w14;
  }
  if (degree >= 4) {
    const Real w16 = Real(kSh4_0) * weight(16), w17 = Real(kSh4_1) * weight(17), w18 = Real(kSh4_2) * weight(18);
    const Real w19 = Real(kSh4_3) * weight(19), w20 = Real(kSh4_4) * weight(20), w21 = Real(kSh4_5) * weight(21);
    const Real w22 = Real(kSh4_6) * weight(22), w23 = Real(kSh4_7) * weight(23), w24 = Real(kSh4_8) * weight(24);
    const Real a = seven * zz - one, b = seven * zz - three, c = Real(21.0f) * zz - three;
    gx = gx + y * (three * xx - yy) * w16 + six * xy * z * w17 + y * a * w18 + z * b * w21 + two * x * a * w22 +
         three * z * (xx - yy) * w23 + four * x * (xx - three * yy) * w24;
    gy = gy + x * (xx - three * yy) * w16 + three * z * (xx - yy) * w17 + x * a * w18 + z * b * w19 -
         two * y * a * w22 - six * xy * z * w23 - four * y * (three * xx - yy) * w24;
    gz = gz + y * (three * xx - yy) * w17 + Real(14.0f) * xy * z * w18 + y * c * w19 +
         z * (Real(140.0f) * zz - Real(60.0f)) * w20 + x * c * w21 + Real(14.0f) * z * (xx - yy) * w22 +
         x * (xx - three * yy) * w23;
  }
  gradient[0] = gx;
  gradient[1] = gy;
  gradient[2] = gz;
}

}  // namespace gsb
