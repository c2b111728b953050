// The C ABI of the neighbor search.
#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/knn.h"

namespace gsb {
namespace {

int check_count(int64_t count) {
  if (count >= 0 && count <= INT32_MAX) return GSB_OK;
  return fail(GSB_INVALID_ARGUMENT, "points: expected 0 to 2^31 - 1 of them, got %lld", static_cast<long long>(count));
}

}  // namespace
}  // namespace gsb

extern "C" {

int32_t gsb_knn_mean_distance_sizes(int64_t count, int64_t* workspace_bytes) {
  const int status = gsb::check_count(count);
  if (status == GSB_OK) *workspace_bytes = gsb::knn_workspace_bytes(count);
  return status;
}

int32_t gsb_knn_mean_distance_run(const float* points, int64_t count, int32_t neighbors, float* distances,
                                  void* workspace, int64_t workspace_bytes, int32_t threads) {
  const int status = gsb::check_count(count);
  if (status != GSB_OK) return status;
  if (neighbors < 1 || neighbors > gsb::kMostNeighbors) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "k: expected 1 to %d, got %d", gsb::kMostNeighbors, neighbors);
  }
  if (threads < 1) return gsb::fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);
  if (workspace_bytes < gsb::knn_workspace_bytes(count)) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "workspace: expected %lld bytes, got %lld",
                     static_cast<long long>(gsb::knn_workspace_bytes(count)), static_cast<long long>(workspace_bytes));
  }
  for (int64_t i = 0; i < 3 * count; ++i) {
    if (!__builtin_isfinite(points[i])) {
      return gsb::fail(GSB_INVALID_ARGUMENT, "points: expected finite coordinates, got %g in row %lld",
                       static_cast<double>(points[i]), static_cast<long long>(i / 3));
    }
  }
  gsb::knn_mean_distance(points, count, neighbors, distances, workspace, threads);
  return GSB_OK;
}

}  // extern "C"
