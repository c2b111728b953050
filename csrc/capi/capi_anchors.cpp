// The C ABI of the Gaussians of anchors.
#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/dispatch.h"

namespace gsb {
namespace {

int check(const gsb_anchor_buffers* b) {
  if (b->struct_size != sizeof(gsb_anchor_buffers)) {
    return fail(GSB_INVALID_ARGUMENT, "gsb_anchor_buffers: expected %zu bytes, got %u", sizeof(gsb_anchor_buffers),
                b->struct_size);
  }
  if (b->anchors < 0 || b->per_anchor < 1 || b->anchors > INT32_MAX / 7 / b->per_anchor) {
    return fail(GSB_INVALID_ARGUMENT, "anchors: expected fewer than 2^31 / 7 offsets, got %lld anchors with %lld each",
                static_cast<long long>(b->anchors), static_cast<long long>(b->per_anchor));
  }
  if (b->threads < 1) return fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", b->threads);
  return GSB_OK;
}

AnchorOffsets offsets_of(const gsb_anchor_buffers* b) {
  return {b->anchors,       b->per_anchor, b->positions,  b->offsets, b->anchor_scales,
          b->raw_opacities, b->raw_shapes, b->raw_colors, b->masks,   b->threads};
}

AnchorGaussians gaussians_of(const gsb_anchor_buffers* b) {
  return {b->starts, b->rows, b->means, b->scales, b->quats, b->opacities, b->colors};
}

}  // namespace
}  // namespace gsb

extern "C" {

int32_t gsb_anchor_count(const gsb_anchor_buffers* b, int64_t* live) {
  const int status = gsb::check(b);
  if (status != GSB_OK) return status;
  gsb::kernels().anchor_opacities(gsb::offsets_of(b), b->dense_opacities, b->starts + 1);
  b->starts[0] = 0;
  for (int64_t i = 0; i < b->anchors; ++i) b->starts[i + 1] += b->starts[i];
  *live = b->starts[b->anchors];
  return GSB_OK;
}

int32_t gsb_anchor_forward(const gsb_anchor_buffers* b) {
  const int status = gsb::check(b);
  if (status != GSB_OK) return status;
  gsb::kernels().anchor_forward(gsb::offsets_of(b), b->dense_opacities, gsb::gaussians_of(b));
  return GSB_OK;
}

int32_t gsb_anchor_backward(const gsb_anchor_buffers* b) {
  const int status = gsb::check(b);
  if (status != GSB_OK) return status;
  const gsb::AnchorGradients gradients = {b->grad_means,         b->grad_scales,        b->grad_quats,
                                          b->grad_opacities,     b->grad_colors,        b->grad_offsets,
                                          b->grad_anchor_scales, b->grad_raw_opacities, b->grad_raw_shapes,
                                          b->grad_raw_colors,    b->grad_masks};
  gsb::kernels().anchor_backward(gsb::offsets_of(b), gsb::gaussians_of(b), gradients);
  return GSB_OK;
}

}  // extern "C"
