// The C ABI of the optimizer.
#include <cmath>

#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/dispatch.h"

extern "C" {

int32_t gsb_adam_step(float* parameter, const float* gradient, float* mean, float* square, int64_t count, double lr,
                      double beta1, double beta2, double epsilon, double step, int32_t threads) {
  if (count < 0) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "count: expected 0 or more, got %lld", static_cast<long long>(count));
  }
  if (!(beta1 >= 0.0 && beta1 < 1.0 && beta2 >= 0.0 && beta2 < 1.0)) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "betas: expected values in [0, 1), got %g and %g", beta1, beta2);
  }
  if (!(step >= 1.0)) return gsb::fail(GSB_INVALID_ARGUMENT, "step: expected at least 1, got %g", step);
  if (threads < 1) return gsb::fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);

  gsb::AdamStep task = {};
  task.parameter = parameter;
  task.gradient = gradient;
  task.mean = mean;
  task.square = square;
  task.count = count;
  task.mean_decay = static_cast<float>(beta1);
  task.mean_share = static_cast<float>(1.0 - beta1);
  task.square_decay = static_cast<float>(beta2);
  task.square_share = static_cast<float>(1.0 - beta2);
  task.step_size = static_cast<float>(lr / (1.0 - std::pow(beta1, step)));
  task.root_scale = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, step)));
  task.epsilon = static_cast<float>(epsilon);
  task.threads = threads;
  gsb::kernels().adam_step(task);
  return GSB_OK;
}

}  // extern "C"
