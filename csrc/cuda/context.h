// Integer contexts: dense layers and the intervals of conditional Gaussians. Integers alone, so that results are those of
// the CPU. csrc/coding/dense.h and gaussian.cpp say what is computed.
#pragma once

#include "coding/dense.h"
#include "coding/gaussian_row.h"
#include "cuda/launch.h"

namespace gsb {
namespace cuda {

// One thread per input row and output; with hidden layers also for the outputs' padding.
struct RunDense {
  DenseLayer layer;
  int64_t columns;  // outputs, or hidden_stride

  GSB_HD void operator()(int64_t index) const {
    const int64_t row = index / columns, column = index % columns;
    if (column >= layer.outputs) {
      layer.hidden[row * layer.hidden_stride + column] = 0;
      return;
    }
    const int16_t* inputs = layer.inputs + row * layer.stride;
    const int16_t* weights = layer.weights + 2 * column;
    int32_t sum = layer.bias[column];
    for (int64_t pair = 0; pair < layer.stride / 2; ++pair) {
      const int16_t* both = weights + 2 * pair * layer.padded;
      sum += int32_t(both[0]) * inputs[2 * pair] + int32_t(both[1]) * inputs[2 * pair + 1];
    }
    int32_t y = sum >> layer.shift[column];
    if (layer.activation != kDenseNone && y < 0) y = layer.activation == kDenseRelu ? 0 : y >> layer.leak;
    if (layer.hidden == nullptr) {
      layer.last[row * layer.outputs + column] = y;
    } else {
      const int32_t clamped = y > layer.limit ? layer.limit : y < -layer.limit ? -layer.limit : y;
      layer.hidden[row * layer.hidden_stride + column] = int16_t(clamped);
    }
  }
};

// The constants of GaussianTables (csrc/coding/symbols.h), with tables on the device.
struct DeviceTables {
  static constexpr int kFractionBits = 6, kFractions = 64, kPerOctave = 8, kOwnScales = 72;
  const int16_t* starts;
  const int32_t* offsets;
  const int32_t* sizes;
};

// One thread per symbol: its interval in 2^-16, and the lowest bits that are coded as they are. The interval of a value
// beyond its row is the escape's, and `distances` says how far beyond it is: n >= 0 above, -1 - n below.
struct FindIntervals {
  const int32_t* symbols;
  const int32_t* means;
  const uint8_t* scales;
  DeviceTables tables;
  uint32_t* starts;       // all [count]
  uint32_t* frequencies;
  int32_t* shifts;
  int64_t* distances;     // of escapes; INT64_MIN where there is none

  GSB_HD void operator()(int64_t i) const {
    const GaussianRow row = gaussian_row(tables, means[i], scales[i]);
    const int64_t value = int64_t(symbols[i]) >> row.shift;
    const uint64_t place = uint64_t(value - row.first);
    const bool escaped = place >= row.escape();
    const uint32_t symbol = escaped ? row.escape() : uint32_t(place);
    starts[i] = row.start(symbol);
    frequencies[i] = row.frequency(symbol);
    shifts[i] = row.shift;
    const int64_t end = row.first + row.size - 1;
    distances[i] = !escaped ? INT64_MIN : value >= end ? value - end : value - row.first;
  }
};

}  // namespace cuda
}  // namespace gsb
