// What the library says about itself, and about failures.
#include "cuda/status.h"

#include "capi/last_error.inc"
#include "capi/raster_options.h"

namespace gsb {
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
  if (queue.error == cudaErrorNoKernelImageForDevice || queue.error == cudaErrorInvalidDeviceFunction ||
      queue.error == cudaErrorUnsupportedPtxVersion) {
    int major = 0, minor = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device_);
    cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device_);
    return fail(GSB_INTERNAL,
                "CUDA, device %d has compute capability %d.%d, and this library code for %s (%s); install gsbench-core "
                "again with CMAKE_ARGS=-DGSBENCH_CUDA_TARGETS=%d%d and an nvcc that knows it",
                device_, major, minor, GSB_CUDA_TARGETS, cudaGetErrorName(queue.error), major, minor);
  }
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
  if (const int status = read_options(from, to)) return status;
  to.threads = 1;
  if (to.gaussians > INT32_MAX || to.gaussians * to.cameras > INT32_MAX) {
    return fail(GSB_INVALID_ARGUMENT, "means: expected at most %d combinations of a Gaussian and a camera, got %lld x %d",
                INT32_MAX, static_cast<long long>(to.gaussians), to.cameras);
  }
  if (to.tiles() * to.cameras > INT32_MAX - 1) {
    return fail(GSB_INVALID_ARGUMENT, "width, height: %d x %d pixels for %d cameras are too many tiles", to.width, to.height,
                to.cameras);
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
