// The C ABI of the image loss and of image errors.
#include "capi/gsbench.h"
#include "capi/status.h"
#include "cpu/dispatch.h"
#include "cpu/image_errors.h"

namespace gsb {
namespace {

int plan_or_fail(int64_t height, int64_t width, int32_t threads, ImagePlan* plan) {
  if (height < 1 || width < 1) {
    return fail(GSB_INVALID_ARGUMENT, "image: expected at least one pixel, got %lld x %lld (width x height)",
                static_cast<long long>(width), static_cast<long long>(height));
  }
  if (threads < 1) return fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);
  if (!plan_image_loss(height, width, threads, plan)) {
    return fail(GSB_INVALID_ARGUMENT, "image: %lld x %lld (width x height) is too large",
                static_cast<long long>(width), static_cast<long long>(height));
  }
  return GSB_OK;
}

int errors_bytes_or_fail(int64_t pixels, int64_t* bytes) {
  constexpr int64_t kMostPixels = INT64_MAX / 12;
  if (pixels < 1 || pixels > kMostPixels) {
    return fail(GSB_INVALID_ARGUMENT, "pixels: expected 1 to %lld, got %lld", static_cast<long long>(kMostPixels),
                static_cast<long long>(pixels));
  }
  const ImageErrors task = {nullptr, nullptr, pixels, nullptr, nullptr, 1};
  *bytes = task.blocks() * static_cast<int64_t>(sizeof(ErrorSums));
  return GSB_OK;
}

}  // namespace
}  // namespace gsb

extern "C" {

int32_t gsb_image_loss_sizes(int64_t height, int64_t width, int32_t threads, int64_t* workspace_bytes) {
  gsb::ImagePlan plan;
  const int status = gsb::plan_or_fail(height, width, threads, &plan);
  if (status == GSB_OK) *workspace_bytes = plan.workspace_bytes;
  return status;
}

int32_t gsb_image_loss_run(const float* image, const float* target, int64_t height, int64_t width, double l1_weight,
                           double ssim_weight, float* gradient, double* means, void* workspace,
                           int64_t workspace_bytes, int32_t threads) {
  gsb::ImageLoss task = {image, target, height, width, l1_weight, ssim_weight, gradient, means, workspace, {}, threads};
  const int status = gsb::plan_or_fail(height, width, threads, &task.plan);
  if (status != GSB_OK) return status;
  if (workspace_bytes < task.plan.workspace_bytes) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "workspace: expected %lld bytes, got %lld",
                     static_cast<long long>(task.plan.workspace_bytes), static_cast<long long>(workspace_bytes));
  }
  gsb::kernels().image_loss(task);
  return GSB_OK;
}

int32_t gsb_image_errors_sizes(int64_t pixels, int64_t* workspace_bytes) {
  return gsb::errors_bytes_or_fail(pixels, workspace_bytes);
}

int32_t gsb_image_errors_run(const float* render, const uint8_t* truth, int64_t pixels, float* clamped, float* target,
                             int64_t* rounded, double* channels, int64_t* not_finite, void* workspace,
                             int64_t workspace_bytes, int32_t threads) {
  int64_t needed = 0;
  const int status = gsb::errors_bytes_or_fail(pixels, &needed);
  if (status != GSB_OK) return status;
  if (threads < 1) return gsb::fail(GSB_INVALID_ARGUMENT, "threads: expected at least 1, got %d", threads);
  if (workspace_bytes < needed) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "workspace: expected %lld bytes, got %lld", static_cast<long long>(needed),
                     static_cast<long long>(workspace_bytes));
  }
  const gsb::ImageErrors task = {render, truth, pixels, clamped, target, threads};
  const gsb::ErrorSums sums = gsb::image_errors(task, static_cast<gsb::ErrorSums*>(workspace));
  *rounded = sums.rounded;
  for (int channel = 0; channel < 3; ++channel) channels[channel] = sums.channels[channel];
  *not_finite = sums.not_finite;
  return GSB_OK;
}

}  // extern "C"
