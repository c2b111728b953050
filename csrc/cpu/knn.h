// Nearest neighbors among points in space.
#pragma once

#include <cstdint>

namespace gsb {

constexpr int kMostNeighbors = 8;

// Bytes of workspace for `count` points; count is at most 2^31 - 1.
int64_t knn_workspace_bytes(int64_t count);

// For each of `count` points, float [count, 3] and finite, the mean Euclidean distance to the `neighbors` <= 8 nearest
// others, or to all others if there are fewer; 0 if there is none. `workspace` is aligned as for a double.
void knn_mean_distance(const float* points, int64_t count, int neighbors, float* distances, void* workspace,
                       int threads);

}  // namespace gsb
