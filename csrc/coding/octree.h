// Points with integer coordinates as an octree: breadth first, a byte per node that says which of its eight children hold
// points, coded bit by bit with mixed adaptive contexts; then how often each point occurs.
#pragma once

#include <cstdint>
#include <vector>

#include "coding/range.h"

namespace gsb {

constexpr int kMostDepth = 21;  // bits per axis; three of them fit 64 bits

// `order`: [count], the order in which the decoder gives the points: by Morton code (x in the highest bits), equal points
// in the order they had. Coordinates are in [0, 2^depth). Returns the stream; its length beyond that of the range coder
// is 0.
std::vector<uint8_t> encode_octree(const int32_t* points, int64_t count, int depth, int64_t* order);

// False: damaged. Takes memory for `count` points, whatever the stream says.
bool decode_octree(const uint8_t* data, int64_t size, int64_t count, int depth, int32_t* points);

// The occupancy codes of all nodes, breadth first: what a model of them has to predict.
std::vector<uint8_t> octree_codes(const int32_t* points, int64_t count, int depth);

}  // namespace gsb
