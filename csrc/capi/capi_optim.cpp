// The C ABI of the optimizer.
#include <vector>

#include "capi/adam_step.h"
#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/dispatch.h"

extern "C" {

int32_t gsb_adam_steps(const gsb_adam_update* updates, int64_t count, int32_t threads) {
  if (count < 0) return gsb::fail(GSB_INVALID_ARGUMENT, "count: expected 0 or more, got %lld", (long long)count);
  if (threads < 1) return gsb::fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);
  std::vector<gsb::AdamStep> steps(size_t(count), gsb::AdamStep{});
  for (int64_t k = 0; k < count; ++k) {
    const gsb_adam_update& update = updates[k];
    if (update.struct_size != sizeof(gsb_adam_update)) {
      return gsb::fail(GSB_INTERNAL, "gsb_adam_update: expected %zu bytes, got %u", sizeof(gsb_adam_update),
                       update.struct_size);
    }
    gsb::AdamStep& step = steps[size_t(k)];
    step.parameter = update.parameter;
    step.gradient = update.gradient;
    step.mean = update.mean;
    step.square = update.square;
    step.count = update.count;
    if (const int status =
            gsb::prepare_adam(step, update.lr, update.beta1, update.beta2, update.epsilon, update.step)) {
      return status;
    }
  }
  gsb::kernels().adam_steps(steps.data(), count, threads);
  return GSB_OK;
}

}  // extern "C"
