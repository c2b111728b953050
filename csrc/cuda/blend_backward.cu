// Gradient of the blending, and Fisher information.
#include "cuda/blend_backward.h"

#include "cuda/fisher.h"
#include "cuda/status.h"

namespace gsb {
namespace cuda {
namespace {

// Calls run(kind) for the kind of walk that these options take.
template <bool Full, class Run>
void with_kind(const RasterOptions& o, const Buffers& b, const Run& run) {
  if (o.channels == 0) return run(BlendBackward<3, false, Full>{o, b});
  if (o.channels <= kFewChannels) return run(BlendBackward<kFewChannels, true, Full>{o, b});
  run(BlendBackward<0, true, Full>{o, b});
}

int colors_in_rows(const RasterOptions& o) { return o.channels == 0 ? 3 : o.channels <= kFewChannels ? kFewChannels : 0; }

template <bool Full>
int row_floats(const RasterOptions& o) {
  if (o.channels == 0) return BlendBackward<3, false, Full>::kRow;
  if (o.channels <= kFewChannels) return BlendBackward<kFewChannels, true, Full>::kRow;
  return kRowFloats;  // of BlendChannels
}

void clear_slot_gradients(Queue& q, const RasterOptions& o, const Buffers& b) {
  const int64_t rows = o.gaussians * o.cameras;
  fill_zero(q, b.grad_means2d, 8 * rows);
  fill_zero(q, b.grad_conics, 12 * rows);
  fill_zero(q, b.grad_slot_colors, 4 * o.drawn_channels() * rows);
  fill_zero(q, b.grad_slot_opacities, 4 * rows);
  if (b.grad_means2d_abs != nullptr) fill_zero(q, b.grad_means2d_abs, 8 * rows);
  if (b.grad_distortion != nullptr) fill_zero(q, b.grad_depths, 4 * rows);
}

int check(const gsb_raster_options* options, const Buffers* buffers, int row_floats_least, RasterOptions& o) {
  if (buffers->struct_size != sizeof(Buffers)) return fail(GSB_INTERNAL, "gsb_cuda_raster_buffers: another size");
  if (const int status = convert(options, o)) return status;
  if (buffers->row_floats < row_floats_least || buffers->row_floats % 4 != 0 || buffers->row_floats > kRowFloats) {
    return fail(GSB_INTERNAL, "row_floats: expected a multiple of 4 from %d to %d, got %d", row_floats_least, kRowFloats,
                buffers->row_floats);
  }
  return GSB_OK;
}

}  // namespace
}  // namespace cuda
}  // namespace gsb

using namespace gsb::cuda;

extern "C" {

int32_t gsb_cuda_raster_row_floats(const gsb_raster_options* options, int32_t absolute, int32_t distortion,
                                   int32_t* floats) {
  gsb::RasterOptions o = {};
  if (const int status = convert(options, o)) return status;
  *floats = absolute || distortion ? row_floats<true>(o) : row_floats<false>(o);
  return GSB_OK;
}

int32_t gsb_cuda_raster_blend_backward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                       const gsb_cuda_raster_buffers* buffers) {
  gsb::RasterOptions o = {};
  const Buffers& b = *buffers;
  const bool full = b.grad_means2d_abs != nullptr || b.grad_distortion != nullptr;
  if (const int status = check(options, buffers, 4, o)) return status;
  if (b.row_floats < (full ? row_floats<true>(o) : row_floats<false>(o))) {
    return gsb::fail(GSB_INTERNAL, "row_floats: %d are too few", b.row_floats);
  }
  Call call(queue);
  Queue& q = call.queue;
  if (!o.packed) clear_slot_gradients(q, o, b);
  const int64_t tiles = o.tiles() * o.cameras;
  const auto run = [&](const auto& kind) { run_blocks(q, tiles, kind); };
  if (full) {
    with_kind<true>(o, b, run);
  } else {
    with_kind<false>(o, b, run);
  }
  for_each(q, b.visible * gsb::kRowFloats, ReduceRows{b});
  for_each(q, b.visible, FinishBackward{o, b, colors_in_rows(o)});
  for (int first = colors_in_rows(o); first < o.channels; first += gsb::kRowFloats) {
    run_blocks(q, tiles, BlendChannels{o, b, first});
    for_each(q, b.visible * gsb::kRowFloats, ReduceRows{b});
    for_each(q, b.visible, FinishChannels{o, b, first});
  }
  return call.status();
}

int32_t gsb_cuda_raster_fisher(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                               const gsb_cuda_raster_buffers* buffers) {
  gsb::RasterOptions o = {};
  const Buffers& b = *buffers;
  if (const int status = check(options, buffers, gsb::kRowFloats, o)) return status;
  if (b.covars != nullptr) return gsb::fail(GSB_INVALID_ARGUMENT, "covars: Fisher needs scales");
  Call call(queue);
  Queue& q = call.queue;
  const int64_t tiles = o.tiles() * o.cameras;
  if (!o.packed) fill_zero(q, b.fisher, 4 * gsb::kFisherFloats * o.gaussians * o.cameras);
  if (o.channels == 0) {
    run_blocks(q, tiles, BlendFisher<false>{o, b, 0});
  } else {
    for (int first = 0; first < o.channels; first += kFewChannels) run_blocks(q, tiles, BlendFisher<true>{o, b, first});
  }
  for_each(q, b.visible * gsb::kRowFloats, ReduceRows{b});
  for_each(q, b.visible, FinishFisher{o, b});
  return call.status();
}

}  // extern "C"
