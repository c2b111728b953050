// A Gaussian's place on the screen: opacity, extent, the pixels and tiles that it can reach. csrc/cpu/project.inc and
// bin.inc do the same on vectors, to the same bits.
#pragma once

#include "math/alpha.h"
#include "math/exponential.h"
#include "math/projection.h"

namespace gsb {

constexpr float kTileSide = 16.0f;

// First and last pixel column and row of the box around an ellipse. Empty if x1 < x0 or y1 < y0.
struct ScreenBox {
  float x0, x1, y0, y1;
};

// How far rounding may have moved a bound, generously: kPixelSlack, and a few units in the last place of large numbers.
GSB_HD float screen_slack(float center, float extent) {
  return kPixelSlack + 1e-6f * (extent + max_of(center, -center));
}

GSB_HD ScreenBox screen_box(float u, float v, float extent_x, float extent_y, int width, int height) {
  const float slack_x = screen_slack(u, extent_x), slack_y = screen_slack(v, extent_y);
  ScreenBox box;
  box.x0 = max_of(ceil_of(u - extent_x - 0.5f - slack_x), 0.0f);
  box.x1 = min_of(floor_of(u + extent_x - 0.5f + slack_x), float(width - 1));
  box.y0 = max_of(ceil_of(v - extent_y - 0.5f - slack_y), 0.0f);
  box.y1 = min_of(floor_of(v + extent_y - 0.5f + slack_y), float(height - 1));
  return box;
}

GSB_HD float tile_of_pixel(float pixel) { return floor_of(pixel * (1.0f / kTileSide)); }

struct ScreenLimits {
  int width, height;
  float near_plane, far_plane, eps2d, radius_clip;
  bool antialiased;
};

// A Gaussian on the screen, and whether it can be seen there.
struct OnScreen {
  Projection<float> p;
  float opacity, log2_opacity;
  float extent_x, extent_y;  // half the size of the box around {alpha >= 1/255}
  ScreenBox box;
  bool visible;
};

template <class Shape>
GSB_HD void to_screen(const ScreenLimits& o, const PinholeCamera& camera, const float mean[3], const Shape& shape,
                      float opacity, OnScreen& s) {
  project(camera, o.eps2d, mean, shape, o.near_plane, s.p);
  s.opacity = o.antialiased ? opacity * antialiasing_factor(s.p) : opacity;
  s.log2_opacity = log2_of(max_of(s.opacity, 1e-20f));
  // alpha >= 1/255 inside the ellipse {d^T conic d <= tau}.
  const float tau = max_of((s.log2_opacity - kLog2AlphaMin) * (2.0f * kLn2), 0.0f);
  s.extent_x = sqrt_of(tau * s.p.cov_xx);
  s.extent_y = sqrt_of(tau * s.p.cov_yy);
  s.box = screen_box(s.p.u, s.p.v, s.extent_x, s.extent_y, o.width, o.height);
  // Each comparison is false for NaN: what overflows float32 on the way is not drawn.
  s.visible = s.p.z >= o.near_plane && s.p.z <= o.far_plane && s.log2_opacity >= kLog2AlphaMin &&
              is_finite(s.p.det) && s.p.det > 0.0f && s.box.x0 <= s.box.x1 && s.box.y0 <= s.box.y1;
  if (o.radius_clip > 0.0f) {
    s.visible = s.visible && max_of(ceil_of(s.extent_x), ceil_of(s.extent_y)) > o.radius_clip;
  }
}

// The ellipse {alpha >= 1/255} of a Gaussian, for finding its tiles.
struct ScreenEllipse {
  float u, v;
  float tau;             // alpha >= 1/255 where d^T conic d <= tau
  float row_peak;        // cov_xy / cov_yy: dx of the ellipse's axis per dy
  float right_dy;        // dy of the rightmost point
  float inverse_cov_yy;
  float width2;          // det / cov_yy: dx - row_peak dy = +-sqrt(width2 (tau - dy^2 / cov_yy))
  float slack;           // in pixels
  ScreenBox box;
};

// `a` is the exponent's coefficient of dx^2 (see gsb_screen_record).
GSB_HD ScreenEllipse make_ellipse(float u, float v, float a, float log2_opacity, float row_peak, float column_peak,
                                  float extent_x, float extent_y, int width, int height) {
  ScreenEllipse e;
  e.u = u;
  e.v = v;
  e.tau = (log2_opacity - kLog2AlphaMin) * (2.0f * kLn2);
  e.row_peak = row_peak;
  e.box = screen_box(u, v, extent_x, extent_y, width, height);
  e.slack = screen_slack(u, extent_x);
  e.right_dy = extent_x * column_peak;
  // extent_y^2 = tau cov_yy; where tau is 0 the ellipse is a point and any value will do.
  const float extent2 = max_of(extent_y * extent_y, 1e-12f);
  e.inverse_cov_yy = e.tau / extent2;
  e.width2 = 1.0f / (a * (-2.0f * kLn2));  // 1 / conic_xx
  e.tau = e.tau + 2.0f * kLn2 * kExponentSlack;
  return e;
}

// Of a row of tiles, the first and the last that the ellipse can touch; last < first if none. On the rows of pixels that
// the tile row shares with the box, the ellipse's leftmost and rightmost points are those of the whole ellipse if they lie
// there, else they are on the nearest of these pixel rows.
struct TileRange {
  int first, last;
};

GSB_HD TileRange tiles_in_row(const ScreenEllipse& e, int tile_row) {
  const float top = float(tile_row) * kTileSide;
  const float dy0 = max_of(e.box.y0, top) + 0.5f - e.v;
  const float dy1 = min_of(e.box.y1, top + (kTileSide - 1.0f)) + 0.5f - e.v;
  const float right_dy = min_of(max_of(e.right_dy, dy0), dy1);
  const float left_dy = min_of(max_of(-e.right_dy, dy0), dy1);
  const float right_width = sqrt_of(max_of(0.0f, e.width2 * (e.tau - right_dy * right_dy * e.inverse_cov_yy)));
  const float left_width = sqrt_of(max_of(0.0f, e.width2 * (e.tau - left_dy * left_dy * e.inverse_cov_yy)));
  const float right = e.u + e.row_peak * right_dy + right_width;
  const float left = e.u + e.row_peak * left_dy - left_width;
  const float first = max_of(ceil_of(left - 0.5f - e.slack), e.box.x0);
  const float last = min_of(floor_of(right - 0.5f + e.slack), e.box.x1);
  TileRange range;
  range.first = int(tile_of_pixel(first));
  range.last = first > last ? range.first - 1 : int(tile_of_pixel(last));
  return range;
}

// The exponent of alpha, in base 2, at an offset from the mean: log2_opacity + dx (a dx + b dy) + c dy^2.
GSB_HD float exponent_at(float a, float b, float c, float log2_opacity, float dx, float dy) {
  const float inner = fma_of(b, dx, c * dy);
  return fma_of(dy, inner, fma_of(a * dx, dx, log2_opacity));
}

// Whether some pixel center of a rectangle can have alpha >= 1/255: dx and dy from x0 to x1 and y0 to y1, relative to the
// mean. The exponent is concave: its maximum lies on the vertical or horizontal line through the point nearest to the
// mean, at the line's own peak or, if that is outside, at the nearer end. row_peak and column_peak as in the record.
GSB_HD bool reaches(float a, float b, float c, float log2_opacity, float row_peak, float column_peak, float x0, float x1,
                    float y0, float y1) {
  const float near_x = max_of(x0, min_of(0.0f, x1)), near_y = max_of(y0, min_of(0.0f, y1));
  const float best_y = min_of(max_of(column_peak * near_x, y0), y1);
  const float best_x = min_of(max_of(row_peak * near_y, x0), x1);
  const float on_column = near_x * fma_of(a, near_x, b * best_y) + c * best_y * best_y;
  const float on_row = near_y * fma_of(c, near_y, b * best_x) + a * best_x * best_x;
  return max_of(on_column, on_row) >= kLog2AlphaMin - kExponentSlack - log2_opacity;
}

}  // namespace gsb
