// One layer of an integer network: plain structs, included by units compiled for different instruction sets.
#pragma once

#include <cstdint>

namespace gsb {

constexpr int kDenseColumns = 32;  // outputs are padded to a multiple of this in weights, bias and shift

enum DenseActivation { kDenseNone = 0, kDenseRelu = 1, kDenseLeaky = 2 };

// y = activation((bias + sum of weight x input) >> shift), arithmetic shifts; rounding is part of the bias. Callers see
// to it that no sum leaves int32, whatever the order of its terms. Hidden layers write int16, clamped to +-limit; the
// last one int32.
struct DenseLayer {
  const int16_t* inputs;   // [count, stride], zero beyond the layer's inputs; aligned to 4 bytes
  const int16_t* weights;  // [stride / 2, padded outputs, 2]
  const int32_t* bias;     // [padded outputs]
  const int32_t* shift;    // [padded outputs], 0 to 30
  int64_t count, stride;   // stride is even
  int64_t outputs, padded;
  int activation;
  int leak;                // of kDenseLeaky: a negative y becomes y >> leak
  int32_t limit;
  int16_t* hidden;         // [count, hidden_stride], or null; what is beyond the outputs is set to 0
  int64_t hidden_stride;
  int32_t* last;           // [count, outputs], if hidden is null
  int threads;
};

}  // namespace gsb
