#include "cpu/image.h"

#include <algorithm>
#include <numeric>

namespace gsb {
namespace {

constexpr int64_t kStripPixels = 256;    // at most
constexpr int64_t kLeastBandRows = 8;    // a band costs ten rows beside its own
constexpr int64_t kHaloPixels = 20;      // columns read beside a strip's own, both sides together
constexpr int64_t kWorkspaceRows = 64;   // rows that a thread works on, see the struct Rows in image.inc
constexpr int64_t kMostPixels = int64_t{1} << 40;

}  // namespace

bool plan_image_loss(int64_t height, int64_t width, int threads, ImagePlan* plan) {
  if (height > kMostPixels / width) return false;
  plan->strips = (width + kStripPixels - 1) / kStripPixels;
  // As many tiles as make the threads' shares equal.
  const int64_t wanted = threads / std::gcd<int64_t>(threads, plan->strips);
  plan->bands = std::min(wanted, (height + kLeastBandRows - 1) / kLeastBandRows);
  const int64_t widest = ((width + plan->strips - 1) / plan->strips + kHaloPixels) * kImageChannels;
  // Vectors may reach beyond the last value by less than their length, 16; a multiple of the cache line.
  plan->row_stride = (widest + 15) / 16 * 16 + 32;
  plan->thread_floats = kWorkspaceRows * plan->row_stride;
  plan->workspace_bytes = plan->thread_floats * threads * int64_t{sizeof(float)} +
                          2 * height * plan->strips * int64_t{sizeof(double)};
  return true;
}

}  // namespace gsb
