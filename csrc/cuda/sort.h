// Sorting and running sums: CUB on the device, the standard library on the host.
#pragma once

#include <stdint.h>

#include "cuda/launch.h"

#ifdef __CUDACC__
#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>
#else
#include <algorithm>
#include <numeric>
#include <vector>
#endif

namespace gsb {
namespace cuda {

// Memory that the calls below may use.
struct Workspace {
  void* memory;
  int64_t bytes;
};

#ifdef __CUDACC__

inline int64_t sum_bytes(Queue& q, int64_t count) {
  size_t bytes = 0;
  uint32_t* none = nullptr;
  q.note(cub::DeviceScan::ExclusiveSum(nullptr, bytes, none, none, count));
  return int64_t(bytes);
}

// values[i] becomes the sum of those before i.
inline void exclusive_sum(Queue& q, Workspace work, uint32_t* values, int64_t count) {
  if (count == 0 || q.error != cudaSuccess) return;
  size_t bytes = size_t(work.bytes);
  q.note(cub::DeviceScan::ExclusiveSum(work.memory, bytes, values, values, count, q.stream));
}

template <class Key, class Value>
int64_t sort_bytes(Queue& q, int64_t count, int end_bit) {
  size_t bytes = 0;
  cub::DoubleBuffer<Key> keys;
  cub::DoubleBuffer<Value> values;
  q.note(cub::DeviceRadixSort::SortPairs(nullptr, bytes, keys, values, count, 0, end_bit));
  return int64_t(bytes);
}

// Sorts by the lowest end_bit bits of the keys; equal ones keep their order. keys and values are [2, count] of which the
// first halves count; returns which halves hold the result.
template <class Key, class Value>
int sort_pairs(Queue& q, Workspace work, Key* keys, Value* values, int64_t count, int end_bit) {
  if (count == 0 || q.error != cudaSuccess) return 0;
  size_t bytes = size_t(work.bytes);
  cub::DoubleBuffer<Key> both_keys(keys, keys + count);
  cub::DoubleBuffer<Value> both_values(values, values + count);
  q.note(cub::DeviceRadixSort::SortPairs(work.memory, bytes, both_keys, both_values, count, 0, end_bit, q.stream));
  return both_values.selector;
}

#else

inline int64_t sum_bytes(Queue&, int64_t) { return 1; }

inline void exclusive_sum(Queue&, Workspace, uint32_t* values, int64_t count) {
  uint32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t value = values[i];
    values[i] = sum;
    sum += value;
  }
}

template <class Key, class Value>
int64_t sort_bytes(Queue&, int64_t, int) {
  return 1;
}

template <class Key, class Value>
int sort_pairs(Queue&, Workspace, Key* keys, Value* values, int64_t count, int end_bit) {
  const Key mask = end_bit >= int(8 * sizeof(Key)) ? ~Key(0) : (Key(1) << end_bit) - 1;
  std::vector<int64_t> order(size_t(count), 0);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return (keys[a] & mask) < (keys[b] & mask); });
  for (int64_t i = 0; i < count; ++i) {
    keys[count + i] = keys[order[size_t(i)]];
    values[count + i] = values[order[size_t(i)]];
  }
  return 1;
}

#endif

// How many bits the numbers below `count` have, at least one.
GSB_HD int bits_for(int64_t count) {
  int bits = 1;
  while (bits < 62 && (int64_t(1) << bits) < count) ++bits;
  return bits;
}

}  // namespace cuda
}  // namespace gsb
