// The constants of alpha blending, and the form of the exponent that every backend evaluates.
//
// A Gaussian covers a pixel with alpha = min(kAlphaMax, opacity * exp(-sigma)), and is skipped below kAlphaMin. All of
// it is decided in the exponent domain, where an inexact exponential cannot flip a decision:
//     e = log2(opacity) - sigma * log2(e),     alpha = min(kAlphaMax, 2^e),     skipped if e < kLog2AlphaMin.
// e <= 0 always, because opacity <= 1 and sigma >= 0 (the conic is positive definite).
#pragma once

namespace gsb {

constexpr float kAlphaMin = 1.0f / 255.0f;
constexpr float kLog2AlphaMin = -7.994353436858858f;
constexpr float kAlphaMax = 0.99f;
// A Gaussian that would bring the transmittance to this or below is not drawn, and neither is anything behind it.
constexpr float kTransmittanceMin = 1e-4f;

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

// Culling may keep too much, never too little: slack on exponents and, in pixels, on the bounds of an ellipse.
constexpr float kExponentSlack = 1e-3f;
constexpr float kPixelSlack = 1e-3f;

}  // namespace gsb
