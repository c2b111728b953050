// Blending forward, with statistics.
#include "cuda/blend.h"

#include "cuda/status.h"

namespace gsb {
namespace cuda {
namespace {

constexpr int kWideChannels = 16;  // features that one walk draws

template <bool Surface>
void draw(Queue& q, const RasterOptions& o, const Buffers& b, int64_t tiles) {
  if (o.channels == 0) return run_blocks(q, tiles, BlendForward<3, false, Surface>{o, b, 0});
  if (o.channels <= 4) return run_blocks(q, tiles, BlendForward<4, true, Surface>{o, b, 0});
  run_blocks(q, tiles, BlendForward<kWideChannels, true, Surface>{o, b, 0});
  for (int first = kWideChannels; first < o.channels; first += kWideChannels) {
    run_blocks(q, tiles, BlendForward<kWideChannels, true, false>{o, b, first});
  }
}

void gather_statistics(Queue& q, const RasterOptions& o, const Buffers& b, int64_t tiles) {
  const int64_t rows = o.packed ? b.visible : o.gaussians * o.cameras;
  fill_zero(q, b.hits, 4 * rows);
  fill_zero(q, b.dominant, 4 * rows);
  if (!o.packed) {
    fill_zero(q, b.weight, 4 * rows);
    fill_zero(q, b.opacity_transmittance, 4 * rows);
    fill_zero(q, b.max_weight, 4 * rows);
  }
  run_blocks(q, tiles, BlendStatistics{o, b});
  for_each(q, b.visible, ReduceStatistics{o, b});
}

}  // namespace
}  // namespace cuda
}  // namespace gsb

extern "C" int32_t gsb_cuda_raster_blend_forward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                                 const gsb_cuda_raster_buffers* buffers) {
  using namespace gsb::cuda;
  gsb::RasterOptions o = {};
  if (buffers->struct_size != sizeof(Buffers)) return gsb::fail(GSB_INTERNAL, "gsb_cuda_raster_buffers: another size");
  if (const int status = convert(options, o)) return status;
  Call call(queue);
  const int64_t tiles = o.tiles() * o.cameras;
  if (buffers->distortion != nullptr) {
    draw<true>(call.queue, o, *buffers, tiles);
  } else {
    draw<false>(call.queue, o, *buffers, tiles);
  }
  if (buffers->hits != nullptr) gather_statistics(call.queue, o, *buffers, tiles);
  return call.status();
}
