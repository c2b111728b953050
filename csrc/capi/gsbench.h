/* The C ABI of gsbench's native library: the only symbols that Python sees.
 *
 * Every call returns a status, 0 for success; the text of the last failure in this thread is gsb_last_error().
 * No exception crosses, nothing is called back, and no memory changes hands: all buffers belong to the caller, who
 * asks for sizes first. Pointers are to contiguous arrays; gsbench/native checks dtype, shape and device before.
 * gsbench/native/_abi.py mirrors this file, and a test compares the two.
 */
#ifndef GSBENCH_CAPI_GSBENCH_H
#define GSBENCH_CAPI_GSBENCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GSB_ABI_VERSION 1
#define GSB_API __attribute__((visibility("default")))

enum {
  GSB_OK = 0,
  GSB_INVALID_ARGUMENT = 1, /* a value that the call cannot work with; the text names it */
  GSB_INTERNAL = 2          /* out of memory, or a bug of ours */
};

GSB_API int32_t gsb_abi_version(void);
GSB_API const char* gsb_build_id(void);
GSB_API const char* gsb_last_error(void);
/* Instruction set in use: "baseline", "avx2" or "avx512". */
GSB_API const char* gsb_cpu_isa(void);
/* Chooses an instruction set by name; refuses one that this machine lacks. "auto" takes the best. */
GSB_API int32_t gsb_cpu_set_isa(const char* name);

/* ---- Image loss (capi_image.cpp) ---- */

/* Bytes of workspace for an image of this size. */
GSB_API int32_t gsb_image_loss_sizes(int64_t height, int64_t width, int32_t threads, int64_t* workspace_bytes);
/* L1 and SSIM of an image against a target, both float [height, width, 3], into means[2]. Unless `gradient` is null,
 * it receives the gradient of l1_weight * L1 + ssim_weight * SSIM to the image. Deterministic. */
GSB_API int32_t gsb_image_loss_run(const float* image, const float* target, int64_t height, int64_t width,
                                   double l1_weight, double ssim_weight, float* gradient, double* means,
                                   void* workspace, int64_t workspace_bytes, int32_t threads);

/* ---- Optimizer (capi_optim.cpp) ---- */

/* One step of Adam, number `step` (from 1), in place: float [count] arrays that do not overlap. */
GSB_API int32_t gsb_adam_step(float* parameter, const float* gradient, float* mean, float* square, int64_t count,
                              double lr, double beta1, double beta2, double epsilon, double step, int32_t threads);

/* ---- Nearest neighbors (capi_neighbors.cpp) ---- */

/* Bytes of workspace for `count` points. */
GSB_API int32_t gsb_knn_mean_distance_sizes(int64_t count, int64_t* workspace_bytes);
/* For each of float points [count, 3], finite: the mean Euclidean distance to the `neighbors` (1 to 8) nearest others,
 * to all others if there are fewer, 0 if there is none. Exact and deterministic. */
GSB_API int32_t gsb_knn_mean_distance_run(const float* points, int64_t count, int32_t neighbors, float* distances,
                                          void* workspace, int64_t workspace_bytes, int32_t threads);

#ifdef __cplusplus
}
#endif
#endif
