// The multi-resolution hash grid, with floats and with signs. csrc/cpu/hashgrid.inc and csrc/coding/sign_grid.h say what is
// computed; sums run in the order of the CPU, so that results are the same bits.
#pragma once

#include "cuda/launch.h"
#include "math/hash_level.h"

namespace gsb {
namespace cuda {

constexpr int kGridFeatures = 4;
constexpr int kGridFraction = 16;  // bits of a position within its cell
constexpr int kMostCorners = 8;

struct GridPoints {
  const int32_t* points;  // [count, 3]
  int64_t count;
  int32_t extent[3];
};

// floor(v 2^30 / extent) along the three axes, v clamped to 0..extent. The quotient of doubles is off by one at most.
GSB_HD void normalized(const GridPoints& grid, int64_t index, int64_t u[3]) {
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t extent = grid.extent[axis];
    int64_t v = grid.points[3 * index + axis];
    v = v < 0 ? 0 : v > extent ? extent : v;
    int64_t quotient = int64_t(double(v << 30) * (1.0 / double(extent)));
    const int64_t rest = (v << 30) - quotient * extent;
    quotient += rest < 0 ? -1 : rest >= extent ? 1 : 0;
    u[axis] = quotient;
  }
}

// The vertices around a point in D dimensions: rows within the level, and how far the point is beyond the first, per axis.
template <int D>
struct GridCell {
  static constexpr int kCorners = 1 << D;
  int64_t row[kCorners];
  int32_t fraction[D];  // in 2^-16
};

template <int D>
GSB_HD GridCell<D> find_cell(const HashShape& level, const int64_t u[3]) {
  GridCell<D> cell;
  int64_t vertex[D];
  GSB_UNROLL
  for (int d = 0; d < D; ++d) {
    const int axis = D == 3 ? d : level.axes[d];
    const int64_t along = axis == 0 ? u[0] : axis == 1 ? u[1] : u[2];
    const int64_t p = (along * level.cells >> 14) + (1 << 15);
    vertex[d] = p >> kGridFraction;
    cell.fraction[d] = int32_t(p & ((1 << kGridFraction) - 1));
  }
  GSB_UNROLL
  for (int corner = 0; corner < GridCell<D>::kCorners; ++corner) {
    int64_t row = 0;
    uint32_t hash = 0;
    GSB_UNROLL
    for (int d = 0; d < D; ++d) {
      const int64_t at = vertex[d] + (corner >> d & 1);
      const uint32_t prime = d == 0 ? 1u : d == 1 ? 2654435761u : 805459861u;  // kHashPrimes
      row += at * level.steps[d];
      hash ^= uint32_t(at) * prime;
    }
    if (!level.direct) row = level.low_bits != 0 ? hash & level.low_bits : hash % uint64_t(level.rows);
    cell.row[corner] = row;
  }
  return cell;
}

template <int D>
GSB_HD float corner_weight(const GridCell<D>& cell, int corner) {
  float product = 1.0f;
  GSB_UNROLL
  for (int d = 0; d < D; ++d) {
    const float upper = float(cell.fraction[d]) * (1.0f / (1 << kGridFraction));
    product = product * (corner >> d & 1 ? upper : 1.0f - upper);
  }
  return product;
}

// One thread per point, for one level.
template <int D>
struct LookUpGrid {
  GridPoints grid;
  HashShape level;
  const float* table;  // of the level
  bool binary;
  float* features;     // of the level's first feature
  int64_t width;

  GSB_HD void operator()(int64_t i) const {
    int64_t u[3];
    normalized(grid, i, u);
    const GridCell<D> cell = find_cell<D>(level, u);
    float sum[kGridFeatures] = {0.0f, 0.0f, 0.0f, 0.0f};
    GSB_UNROLL
    for (int corner = 0; corner < GridCell<D>::kCorners; ++corner) {
      const float weight = corner_weight(cell, corner);
      const float* entry = table + cell.row[corner] * kGridFeatures;
      for (int f = 0; f < kGridFeatures; ++f) {
        const float value = binary ? (entry[f] < 0.0f ? -1.0f : 1.0f) : entry[f];
        sum[f] += weight * value;
      }
    }
    for (int f = 0; f < kGridFeatures; ++f) features[i * width + f] = sum[f];
  }
};

// How many of `count` numbers are 0 or more (NaN counts as such, as on the CPU); a block takes 4096 of them.
struct CountPositive {
  static constexpr int kThreads = 256, kPerThread = 16, kPerBlock = kThreads * kPerThread;
  struct Shared {
    int32_t found[kThreads];
  };
  const float* values;
  int64_t count;
  int64_t* total;

  template <class B>
  GSB_HD void operator()(B& block, Shared& shared, int64_t index) const {
    block.each([&](int t) {
      int32_t found = 0;
      for (int k = 0; k < kPerThread; ++k) {
        const int64_t i = index * kPerBlock + k * kThreads + t;
        found += i < count && !(values[i] < 0.0f);
      }
      shared.found[t] = found;
    });
    for (int half = kThreads / 2; half > 0; half /= 2) {
      block.barrier();
      block.each([&](int t) {
        if (t < half) shared.found[t] += shared.found[t + half];
      });
    }
    block.each([&](int t) {
      if (t == 0) add_atomic(reinterpret_cast<unsigned long long*>(total), (unsigned long long)(shared.found[0]));
    });
  }
};

// A point's part in an entry.
struct GridShare {
  uint32_t point;
  float weight;
};

// One thread per point: what it gives to which row. Sorted by row, the shares of each are in the order of the points.
template <int D>
struct ListShares {
  GridPoints grid;
  HashShape level;
  uint32_t* rows;
  GridShare* shares;

  GSB_HD void operator()(int64_t i) const {
    int64_t u[3];
    normalized(grid, i, u);
    const GridCell<D> cell = find_cell<D>(level, u);
    constexpr int corners = GridCell<D>::kCorners;
    GSB_UNROLL
    for (int corner = 0; corner < corners; ++corner) {
      rows[i * corners + corner] = uint32_t(cell.row[corner]);
      shares[i * corners + corner] = {uint32_t(i), corner_weight(cell, corner)};
    }
  }
};

// One thread per row of the level: adds its shares, in order.
struct AddShares {
  const uint32_t* starts;  // [rows + 1]
  const GridShare* shares;
  const float* table;
  const float* grad_features;
  int64_t width;
  bool binary;
  const float* of_signs;  // or null
  float* gradient;

  GSB_HD void operator()(int64_t row) const {
    float sum[kGridFeatures];
    bool passes[kGridFeatures];
    const float of_sign = of_signs == nullptr ? 0.0f : *of_signs;
    for (int f = 0; f < kGridFeatures; ++f) {
      const float value = table[row * kGridFeatures + f];
      passes[f] = value <= 1.0f && value >= -1.0f;  // straight through the sign
      sum[f] = passes[f] ? of_sign : 0.0f;
    }
    for (uint32_t k = starts[row]; k < starts[row + 1]; ++k) {
      const GridShare share = shares[k];
      const float* outer = grad_features + int64_t(share.point) * width;
      for (int f = 0; f < kGridFeatures; ++f) {
        const float part = share.weight * outer[f];
        sum[f] += binary && !passes[f] ? 0.0f : part;
      }
    }
    for (int f = 0; f < kGridFeatures; ++f) gradient[row * kGridFeatures + f] = sum[f];
  }
};

// ---- Signs ----

// One thread per point, for one level: interpolated signs in 2^-fraction_bits.
template <int D>
struct LookUpSigns {
  GridPoints grid;
  HashShape level;
  const uint8_t* signs;  // of the level
  int fraction_bits;
  int16_t* features;
  int64_t width;

  GSB_HD void operator()(int64_t i) const {
    int64_t u[3];
    normalized(grid, i, u);
    const GridCell<D> cell = find_cell<D>(level, u);
    const int bits = D * kGridFraction, drop = bits - fraction_bits;
    int64_t positive[kGridFeatures] = {0, 0, 0, 0};
    GSB_UNROLL
    for (int corner = 0; corner < GridCell<D>::kCorners; ++corner) {
      int64_t weight = 1;
      for (int d = 0; d < D; ++d) {
        weight *= corner >> d & 1 ? cell.fraction[d] : (1 << kGridFraction) - cell.fraction[d];
      }
      const int sign_bits = signs[cell.row[corner]];
      for (int f = 0; f < kGridFeatures; ++f) positive[f] += sign_bits >> f & 1 ? weight : 0;
    }
    for (int f = 0; f < kGridFeatures; ++f) {
      const int64_t sum = 2 * positive[f] - (int64_t(1) << bits);
      features[i * width + f] = int16_t((sum + (int64_t(1) << (drop - 1))) >> drop);
    }
  }
};

// One thread per point, for one level: sets touched to 1 where it has a weight. Whoever writes writes the same.
template <int D>
struct TouchRows {
  GridPoints grid;
  HashShape level;
  uint8_t* touched;

  GSB_HD void operator()(int64_t i) const {
    int64_t u[3];
    normalized(grid, i, u);
    const GridCell<D> cell = find_cell<D>(level, u);
    GSB_UNROLL
    for (int corner = 0; corner < GridCell<D>::kCorners; ++corner) {
      bool some = true;
      for (int d = 0; d < D; ++d) some = some && (!(corner >> d & 1) || cell.fraction[d] > 0);
      if (some) touched[cell.row[corner]] = 1;
    }
  }
};

}  // namespace cuda
}  // namespace gsb
