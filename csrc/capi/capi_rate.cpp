// The C ABI of the rate of conditional Gaussians.
#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/dispatch.h"

namespace gsb {
namespace {

int check(const GaussianBits& in) {
  if (in.count < 0) {
    return fail(GSB_INVALID_ARGUMENT, "count: expected 0 or more, got %lld", static_cast<long long>(in.count));
  }
  if (in.threads < 1) return fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", in.threads);
  return GSB_OK;
}

}  // namespace
}  // namespace gsb

extern "C" {

int32_t gsb_gaussian_bits(const float* x, const float* mean, const float* scale, const float* step, int64_t count,
                          double log_floor, float* bits, double* log_mass, int32_t threads) {
  const gsb::GaussianBits in = {x, mean, scale, step, count, log_floor, threads};
  if (const int status = gsb::check(in)) return status;
  gsb::kernels().gaussian_bits(in, bits, log_mass);
  return GSB_OK;
}

int32_t gsb_gaussian_bits_backward(const float* x, const float* mean, const float* scale, const float* step,
                                   int64_t count, double log_floor, const double* log_mass, const float* grad_bits,
                                   float* grad_x, float* grad_mean, float* grad_scale, float* grad_step,
                                   int32_t threads) {
  const gsb::GaussianBits in = {x, mean, scale, step, count, log_floor, threads};
  if (const int status = gsb::check(in)) return status;
  gsb::kernels().gaussian_bits_backward(in, log_mass, grad_bits, {grad_x, grad_mean, grad_scale, grad_step});
  return GSB_OK;
}

}  // extern "C"
