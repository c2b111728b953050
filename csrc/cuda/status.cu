// What the library says about itself, and about failures.
#include "cuda/status.h"

#include <cstdio>

#include "math/sh.h"

namespace gsb {
namespace {

constexpr int kErrorCapacity = 512;
thread_local char last_error[kErrorCapacity] = "";

}  // namespace

int fail(int status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(last_error, kErrorCapacity, format, arguments);
  va_end(arguments);
  return status;
}

namespace cuda {

#ifdef __CUDACC__

Call::Call(const gsb_cuda_queue* from) : device_(from->device) {
  valid_ = from->struct_size == sizeof(gsb_cuda_queue);
  if (!valid_) return;
  queue.stream = static_cast<cudaStream_t>(from->stream);
  cudaGetLastError();  // what others left behind
  queue.note(cudaGetDevice(&before_));
  if (before_ != device_) queue.note(cudaSetDevice(device_));
}

Call::~Call() {
  if (valid_ && before_ != device_) cudaSetDevice(before_);
}

int Call::status() const {
  if (!valid_) return fail(GSB_INTERNAL, "gsb_cuda_queue: another size than the expected %zu bytes", sizeof(gsb_cuda_queue));
  if (queue.error == cudaSuccess) return GSB_OK;
  return fail(GSB_INTERNAL, "CUDA, device %d: %s (%s)", device_, cudaGetErrorString(queue.error),
              cudaGetErrorName(queue.error));
}

#else

Call::Call(const gsb_cuda_queue* from) { valid_ = from->struct_size == sizeof(gsb_cuda_queue); }
Call::~Call() {}
int Call::status() const {
  if (queue.conflict) return fail(GSB_INTERNAL, "two threads write to one place of shared memory between barriers");
  if (valid_) return GSB_OK;
  return fail(GSB_INTERNAL, "gsb_cuda_queue: another size than the expected %zu bytes", sizeof(gsb_cuda_queue));
}

#endif

int convert(const gsb_raster_options* from, RasterOptions& to) {
  if (from->struct_size != sizeof(gsb_raster_options)) {
    return fail(GSB_INTERNAL, "gsb_raster_options: expected %zu bytes, got %u", sizeof(gsb_raster_options),
                from->struct_size);
  }
  to.gaussians = from->gaussians;
  to.cameras = from->cameras;
  to.width = from->width;
  to.height = from->height;
  to.color_bases = from->color_bases;
  to.sh_degree = from->sh_degree;
  to.colors_per_camera = from->colors_per_camera != 0;
  to.channels = from->channels;
  to.packed = from->packed != 0;
  to.antialiased = from->antialiased != 0;
  to.separate_cameras = from->separate_cameras != 0;
  to.threads = 1;
  to.near_plane = from->near_plane;
  to.far_plane = from->far_plane;
  to.eps2d = from->eps2d;
  to.radius_clip = from->radius_clip;
  if (to.gaussians < 0 || to.cameras < 0 || to.gaussians > INT32_MAX ||
      to.gaussians * to.cameras > INT32_MAX) {
    return fail(GSB_INVALID_ARGUMENT, "means: expected at most %d combinations of a Gaussian and a camera, got %lld x %d",
                INT32_MAX, static_cast<long long>(to.gaussians), to.cameras);
  }
  constexpr int32_t kMaxSide = 1 << 20;  // pixel coordinates stay exact in float32 with room for a fraction
  if (to.width < 0 || to.height < 0 || to.width > kMaxSide || to.height > kMaxSide) {
    return fail(GSB_INVALID_ARGUMENT, "width, height: expected 0 to %d pixels, got %d x %d", kMaxSide, to.width, to.height);
  }
  if (to.tiles() * to.cameras > INT32_MAX - 1) {
    return fail(GSB_INVALID_ARGUMENT, "width, height: %d x %d pixels for %d cameras are too many tiles", to.width, to.height,
                to.cameras);
  }
  if (to.color_bases != 0 &&
      (to.sh_degree < 0 || to.sh_degree > kMaxShDegree || (to.sh_degree + 1) * (to.sh_degree + 1) > to.color_bases)) {
    return fail(GSB_INVALID_ARGUMENT, "sh_degree: %d does not fit %d coefficients per channel", to.sh_degree,
                to.color_bases);
  }
  if (!(to.near_plane > 0.0f) || !(to.far_plane >= to.near_plane)) {
    return fail(GSB_INVALID_ARGUMENT, "near_plane, far_plane: expected 0 < near <= far, got %g and %g",
                double(to.near_plane), double(to.far_plane));
  }
  if (!(to.eps2d > 0.0f) || !is_finite(to.eps2d)) {
    return fail(GSB_INVALID_ARGUMENT, "eps2d: expected a positive number, got %g", double(to.eps2d));
  }
  if (!(to.radius_clip >= 0.0f)) {
    return fail(GSB_INVALID_ARGUMENT, "radius_clip: expected 0 or more pixels, got %g", double(to.radius_clip));
  }
  constexpr int32_t kMaxChannels = 1 << 12;
  if (to.channels < 0 || to.channels > kMaxChannels) {
    return fail(GSB_INVALID_ARGUMENT, "colors: expected at most %d channels, got %d", kMaxChannels, to.channels);
  }
  return GSB_OK;
}

}  // namespace cuda
}  // namespace gsb

extern "C" {

int32_t gsb_cuda_abi_version(void) { return GSB_CUDA_ABI_VERSION; }

const char* gsb_cuda_build_id(void) { return GSB_BUILD_ID; }

const char* gsb_cuda_last_error(void) { return gsb::last_error; }

const char* gsb_cuda_targets(void) { return GSB_CUDA_TARGETS; }

int32_t gsb_cuda_device_count(void) {
#ifdef __CUDACC__
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return count;
  cudaGetLastError();
  gsb::fail(GSB_INTERNAL, "%s (%s)", cudaGetErrorString(error), cudaGetErrorName(error));
  return 0;
#else
  return 1;
#endif
}

int32_t gsb_cuda_set_emulation(int32_t reversed, int32_t checked) {
#ifdef __CUDACC__
  return gsb::fail(GSB_INVALID_ARGUMENT, "this library runs on devices (asked for %d, %d)", reversed, checked);
#else
  gsb::cuda::emulation = {reversed != 0, checked != 0};
  return GSB_OK;
#endif
}

}  // extern "C"
