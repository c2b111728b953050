#include "coding/sign_grid.h"

namespace gsb {
namespace {

constexpr int64_t kChunk = 256;
constexpr int kWeightBits = 16;

struct Corners {
  int64_t row[8];
  int64_t weight[8];  // in 2^-32 on planes, 2^-48 in space
};

inline __attribute__((always_inline)) void find_corners(const HashShape& level, int dimensions, const int64_t* u,
                                                        Corners* corners) {
  int64_t vertex[3], upper[3];
  for (int d = 0; d < dimensions; ++d) {
    const int64_t p = (u[level.axes[d]] * level.cells >> 14) + (1 << 15);
    vertex[d] = p >> kWeightBits;
    upper[d] = p & ((1 << kWeightBits) - 1);
  }
  for (int corner = 0; corner < 1 << dimensions; ++corner) {
    int64_t weight = 1, row = 0;
    uint32_t hash = 0;
    for (int d = 0; d < dimensions; ++d) {
      const int64_t side = corner >> d & 1;
      weight *= side ? upper[d] : (1 << kWeightBits) - upper[d];
      row += (vertex[d] + side) * level.steps[d];
      hash ^= static_cast<uint32_t>(vertex[d] + side) * kHashPrimes[d];
    }
    if (!level.direct) row = level.low_bits != 0 ? hash & level.low_bits : hash % static_cast<uint64_t>(level.rows);
    corners->row[corner] = row;
    corners->weight[corner] = weight;
  }
}

void normalize(const SignGrid& grid, int64_t begin, int64_t end, int64_t (*u)[3]) {
  for (int64_t i = begin; i < end; ++i) {
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t extent = grid.extent[axis];
      int64_t v = grid.points[3 * i + axis];
      v = v < 0 ? 0 : v > extent ? extent : v;
      u[i - begin][axis] = (v << 30) / extent;
    }
  }
}

template <int Dimensions>
void look_up(const HashShape& level, const uint8_t* signs, const int64_t (*u)[3], int64_t count, int fraction_bits,
             int16_t* features, int64_t width) {
  constexpr int kBits = Dimensions * kWeightBits;
  const int drop = kBits - fraction_bits;
  for (int64_t i = 0; i < count; ++i) {
    Corners corners;
    find_corners(level, Dimensions, u[i], &corners);
    int64_t positive[kSignFeatures] = {};
    for (int corner = 0; corner < 1 << Dimensions; ++corner) {
      const int64_t bits = signs[corners.row[corner]];
      for (int f = 0; f < kSignFeatures; ++f) positive[f] += corners.weight[corner] & -(bits >> f & 1);
    }
    for (int f = 0; f < kSignFeatures; ++f) {
      const int64_t sum = 2 * positive[f] - (int64_t{1} << kBits);
      features[i * width + f] = static_cast<int16_t>((sum + (int64_t{1} << (drop - 1))) >> drop);
    }
  }
}

}  // namespace

void look_up_signs(const SignGrid& grid, const uint8_t* signs, int fraction_bits, int16_t* features) {
  const int64_t chunks = (grid.count + kChunk - 1) / kChunk;
  const int64_t width = grid.level_count * kSignFeatures;
#pragma omp parallel for schedule(static) num_threads(grid.threads) if (chunks > 1)
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t begin = chunk * kChunk;
    const int64_t count = begin + kChunk < grid.count ? kChunk : grid.count - begin;
    int64_t u[kChunk][3];
    normalize(grid, begin, begin + count, u);
    for (int64_t l = 0; l < grid.level_count; ++l) {
      const HashShape level = shape_of(grid.levels[l]);
      const uint8_t* rows = signs + grid.levels[l].first;
      int16_t* out = features + begin * width + l * kSignFeatures;
      if (level.dimensions == 3) {
        look_up<3>(level, rows, u, count, fraction_bits, out, width);
      } else {
        look_up<2>(level, rows, u, count, fraction_bits, out, width);
      }
    }
  }
}

void touch_rows(const SignGrid& grid, uint8_t* touched) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(grid.threads) if (grid.count > kChunk)
  for (int64_t l = 0; l < grid.level_count; ++l) {
    const HashShape level = shape_of(grid.levels[l]);
    uint8_t* rows = touched + grid.levels[l].first;
    for (int64_t begin = 0; begin < grid.count; begin += kChunk) {
      const int64_t end = begin + kChunk < grid.count ? begin + kChunk : grid.count;
      int64_t u[kChunk][3];
      normalize(grid, begin, end, u);
      for (int64_t i = 0; i < end - begin; ++i) {
        Corners corners;
        find_corners(level, level.dimensions, u[i], &corners);
        for (int corner = 0; corner < 1 << level.dimensions; ++corner) {
          if (corners.weight[corner] > 0) rows[corners.row[corner]] = 1;
        }
      }
    }
  }
}

}  // namespace gsb
