// What a step of Adam is made of, on the CPU and on a GPU.
#pragma once

#include <cmath>

#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/adam.h"

namespace gsb {

// Fills in the factors; refuses what is out of its range.
inline int prepare_adam(AdamStep& task, double lr, double beta1, double beta2, double epsilon, double step) {
  if (task.count < 0) {
    return fail(GSB_INVALID_ARGUMENT, "count: expected 0 or more, got %lld", static_cast<long long>(task.count));
  }
  if (!(beta1 >= 0.0 && beta1 < 1.0 && beta2 >= 0.0 && beta2 < 1.0)) {
    return fail(GSB_INVALID_ARGUMENT, "betas: expected values in [0, 1), got %g and %g", beta1, beta2);
  }
  if (!(step >= 1.0)) return fail(GSB_INVALID_ARGUMENT, "step: expected at least 1, got %g", step);
  task.mean_decay = static_cast<float>(beta1);
  task.mean_share = static_cast<float>(1.0 - beta1);
  task.square_decay = static_cast<float>(beta2);
  task.square_share = static_cast<float>(1.0 - beta2);
  task.step_size = static_cast<float>(lr / (1.0 - std::pow(beta1, step)));
  task.root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, step)));
  task.epsilon = static_cast<float>(epsilon);
  return GSB_OK;
}

}  // namespace gsb
