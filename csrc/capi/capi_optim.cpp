// The C ABI of the optimizer.
#include "capi/adam_step.h"
#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/dispatch.h"

extern "C" {

int32_t gsb_adam_step(float* parameter, const float* gradient, float* mean, float* square, int64_t count, double lr,
                      double beta1, double beta2, double epsilon, double step, int32_t threads) {
  gsb::AdamStep task = {};
  task.parameter = parameter;
  task.gradient = gradient;
  task.mean = mean;
  task.square = square;
  task.count = count;
  if (const int status = gsb::prepare_adam(task, lr, beta1, beta2, epsilon, step)) return status;
  if (threads < 1) return gsb::fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);
  task.threads = threads;
  gsb::kernels().adam_step(task);
  return GSB_OK;
}

}  // extern "C"
