// One step of Adam over tensors.
#pragma once

#include <cstdint>

namespace gsb {

struct AdamStep {
  float* parameter;       // [count], as all arrays
  const float* gradient;
  float* mean;            // running mean of the gradient ("exp_avg")
  float* square;          // running mean of its square ("exp_avg_sq")
  int64_t count;
  float mean_decay;       // beta1
  float mean_share;       // 1 - beta1, rounded from double as the others
  float square_decay;     // beta2
  float square_share;     // 1 - beta2
  float step_size;        // lr / (1 - beta1^step)
  float root_scale;       // 1 / sqrt(1 - beta2^step)
  float epsilon;
};

}  // namespace gsb
