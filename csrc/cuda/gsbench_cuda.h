/* The C ABI of gsbench's CUDA library. Rules as in capi/gsbench.h, with these differences: pointers are to memory of the
 * device (but for those said to be on the host); calls return when their work is in the stream, before it is done; what
 * a call needs beyond its results it takes from `workspace`, whose size is asked for first. Nothing is allocated.
 *
 * All results are the same bytes in every run on the same device: sums are taken in a fixed order, and only integers are
 * added atomically.
 *
 * The same sources compiled by a C++ compiler without CUDA give a library with this ABI that runs on the host, for tests:
 * its device is the host, and streams are ignored.
 *
 * gsbench/native/cuda/_abi.py mirrors this file, and a test compares the two.
 */
#ifndef GSBENCH_CUDA_GSBENCH_CUDA_H
#define GSBENCH_CUDA_GSBENCH_CUDA_H

#include "capi/gsbench.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GSB_CUDA_ABI_VERSION 2

typedef struct gsb_cuda_queue {
  uint32_t struct_size;
  int32_t device; /* its number, as torch counts */
  void* stream;
} gsb_cuda_queue;

GSB_API int32_t gsb_cuda_abi_version(void);
GSB_API const char* gsb_cuda_build_id(void);
GSB_API const char* gsb_cuda_last_error(void);
/* What the code was compiled for: "75,80,...", or "host". */
GSB_API const char* gsb_cuda_targets(void);
/* How many devices there are; 0 also if there is no driver, and then the error text says why. */
GSB_API int32_t gsb_cuda_device_count(void);
/* Of the library for the host: whether threads and blocks run in reverse order, and whether barriers are checked (see
 * cuda/launch.h). Refused by the other one. */
GSB_API int32_t gsb_cuda_set_emulation(int32_t reversed, int32_t checked);

/* ---- The rasterizer -------------------------------------------------------------------------------------------------
 * Stages: project, pack (if packed), bin, blend_forward; blend_backward, project_backward; fisher after blend_forward.
 * Options as for the CPU; `threads` has no meaning.
 */

/* C cameras, G Gaussians; I = C G combinations, R of them visible; P pairs of a visible combination and a tile. Per-
 * projection arrays have S rows: R when packed, else I. */
typedef struct gsb_cuda_raster_buffers {
  uint32_t struct_size;
  int32_t row_floats;           /* in rows: a multiple of 4, see gsb_cuda_raster_row_floats */
  int64_t visible;              /* R, from totals after project */
  int64_t pairs;                /* P, below 2^32 */
  void* workspace;
  int64_t workspace_bytes;
  /* Inputs and per-projection arrays, as for the CPU. */
  const float* means;
  const float* quats;
  const float* scales;
  const float* covars;
  const float* opacities;
  const float* colors;
  const float* viewmats;
  const float* intrinsics;
  const float* features;
  const float* backgrounds;
  const uint8_t* masks;
  float* means2d;
  float* depths;
  float* conics;
  float* slot_colors;
  float* slot_opacities;
  int32_t* radii;
  int64_t* camera_ids;
  int64_t* gaussian_ids;
  /* Between the stages. */
  float* cameras;               /* [C, 32] */
  gsb_screen_record* records;   /* [I]; those of invisible combinations are not written */
  uint32_t* tile_counts;        /* [I]: tiles that each touches */
  uint32_t* ranks;              /* [I]: visible ones before each */
  int64_t* totals;              /* [3]: R, P, refusals (1: a Gaussian's input, 2: a camera, 4: a color) */
  uint32_t* depth_keys;         /* [2, R], scratch of bin */
  uint32_t* order;              /* bin: [2, R], scratch; afterwards the half that holds the visible ones by depth, [R] */
  uint32_t* pair_begins;        /* [R]: first pair of each, in the order of depths */
  uint32_t* tile_keys;          /* [2, P], scratch of bin */
  gsb_tile_entry* tile_entries; /* bin: [2, P], scratch; afterwards the half that holds the tiles' lists, [P] */
  uint32_t* tile_starts;        /* [C tiles + 1] */
  uint32_t* last_entries;       /* [C, H, W]: entries of the tile's list up to the last one drawn */
  float* transmittances;        /* [C, H, W]: what is left behind the last one */
  float* depth_sums;            /* [C, H, W] or null, with distortion */
  /* Output, as for the CPU. */
  float* image;
  float* alpha;
  float* distortion;
  int64_t* median_slots;
  int32_t* hits;
  float* weight;
  float* opacity_transmittance;
  float* max_weight;
  int32_t* dominant;
  float* fisher;
  /* Backward, as for the CPU. */
  const float* grad_image;
  const float* grad_alpha;
  const float* grad_distortion;
  float* rows;                  /* [P, row_floats], scratch of statistics, fisher and blend_backward */
  float* row_sums;              /* [R, 16], scratch of the same */
  float* grad_means2d;
  float* grad_means2d_abs;
  float* grad_conics;
  float* grad_slot_colors;
  float* grad_slot_opacities;
  float* grad_depths;
  float* grad_means;
  float* grad_quats;
  float* grad_scales;
  float* grad_covars;
  float* grad_opacities;
  float* grad_colors;
  float* grad_viewmats;
  float* camera_rows;           /* [C, ceil(G / 1024), 12], scratch, with grad_viewmats */
} gsb_cuda_raster_buffers;

/* Bytes of workspace of project; of bin, when visible and pairs are known. */
GSB_API int32_t gsb_cuda_raster_project_bytes(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                              int64_t* bytes);
GSB_API int32_t gsb_cuda_raster_bin_bytes(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                          int64_t visible, int64_t pairs, int64_t* bytes);
/* Floats in a row of blend_backward's first pass with these outputs; statistics need 4, fisher and features of more than 4
 * channels 16. */
GSB_API int32_t gsb_cuda_raster_row_floats(const gsb_raster_options* options, int32_t absolute, int32_t distortion,
                                           int32_t* floats);
/* Fills cameras, records, tile_counts, ranks, totals; unless packed, the per-projection arrays. What is refused shows in
 * totals alone. */
GSB_API int32_t gsb_cuda_raster_project(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                        const gsb_cuda_raster_buffers* buffers);
/* Fills the per-projection arrays of packed results. */
GSB_API int32_t gsb_cuda_raster_pack(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                     const gsb_cuda_raster_buffers* buffers);
/* Fills order, pair_begins, tile_entries, tile_starts. order_half and entry_half, on the host, say which halves of order and
 * tile_entries hold the result. */
GSB_API int32_t gsb_cuda_raster_bin(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                    const gsb_cuda_raster_buffers* buffers, int32_t* order_half, int32_t* entry_half);
GSB_API int32_t gsb_cuda_raster_blend_forward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                              const gsb_cuda_raster_buffers* buffers);
GSB_API int32_t gsb_cuda_raster_blend_backward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                               const gsb_cuda_raster_buffers* buffers);
GSB_API int32_t gsb_cuda_raster_project_backward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                                 const gsb_cuda_raster_buffers* buffers);
GSB_API int32_t gsb_cuda_raster_fisher(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                       const gsb_cuda_raster_buffers* buffers);
/* Any time after project, as gsb_raster_normals_forward and _backward. */
GSB_API int32_t gsb_cuda_raster_normals_forward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                                const gsb_cuda_raster_buffers* buffers, float* normals);
GSB_API int32_t gsb_cuda_raster_normals_backward(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                                 const gsb_cuda_raster_buffers* buffers, const float* grad_normals);
/* Fills cameras, visible [G] and totals[2]. */
GSB_API int32_t gsb_cuda_raster_visible(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                        const gsb_cuda_raster_buffers* buffers, uint8_t* visible);

/* ---- Training (training.cu) ---- */

/* As gsb_image_loss_run; means[2] is on the device. `gradient` of _bytes: whether one is wanted. */
GSB_API int32_t gsb_cuda_image_loss_bytes(int64_t height, int64_t width, int32_t gradient, int64_t* bytes);
GSB_API int32_t gsb_cuda_image_loss(const gsb_cuda_queue* queue, const float* image, const float* target, int64_t height,
                                    int64_t width, double l1_weight, double ssim_weight, float* gradient, double* means,
                                    void* workspace, int64_t workspace_bytes);
/* As gsb_adam_step. */
GSB_API int32_t gsb_cuda_adam_step(const gsb_cuda_queue* queue, float* parameter, const float* gradient, float* mean,
                                   float* square, int64_t count, double lr, double beta1, double beta2, double epsilon,
                                   double step);
/* As gsb_knn_mean_distance_run, to the same bits; whether the points are finite is not checked. */
GSB_API int32_t gsb_cuda_knn_bytes(const gsb_cuda_queue* queue, int64_t count, int64_t* bytes);
GSB_API int32_t gsb_cuda_knn_mean_distance(const gsb_cuda_queue* queue, const float* points, int64_t count,
                                           int32_t neighbors, float* distances, void* workspace,
                                           int64_t workspace_bytes);

/* ---- Hash grids, anchors, integer contexts (context.cu) ---- */

/* As gsb_hashgrid_forward and _backward, to the same bits; extent and levels are on the host, *positive and *grad_signs
 * (null: 0) on the device. */
GSB_API int32_t gsb_cuda_hashgrid_forward(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                          const int32_t* extent, const int64_t* levels, int64_t level_count,
                                          const float* table, int64_t rows, int32_t binary, float* features,
                                          int64_t* positive);
GSB_API int32_t gsb_cuda_hashgrid_bytes(const gsb_cuda_queue* queue, int64_t count, const int64_t* levels,
                                        int64_t level_count, int64_t* bytes);
GSB_API int32_t gsb_cuda_hashgrid_backward(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                           const int32_t* extent, const int64_t* levels, int64_t level_count,
                                           const float* table, int64_t rows, int32_t binary, const float* grad_features,
                                           const float* grad_signs, float* grad_table, void* workspace,
                                           int64_t workspace_bytes);
/* As gsb_sign_grid_features and _touched; extent and levels are on the host. */
GSB_API int32_t gsb_cuda_sign_grid_features(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                            const int32_t* extent, const int64_t* levels, int64_t level_count,
                                            const uint8_t* signs, int64_t rows, int32_t fraction_bits,
                                            int16_t* features);
GSB_API int32_t gsb_cuda_sign_grid_touched(const gsb_cuda_queue* queue, const int32_t* points, int64_t count,
                                           const int32_t* extent, const int64_t* levels, int64_t level_count,
                                           uint8_t* touched, int64_t rows);
/* As gsb_anchor_count (whose result is the last of starts), _forward and _backward, to the same bits. */
GSB_API int32_t gsb_cuda_anchor_bytes(const gsb_cuda_queue* queue, int64_t anchors, int64_t* bytes);
GSB_API int32_t gsb_cuda_anchor_count(const gsb_cuda_queue* queue, const gsb_anchor_buffers* buffers, void* workspace,
                                      int64_t workspace_bytes);
GSB_API int32_t gsb_cuda_anchor_forward(const gsb_cuda_queue* queue, const gsb_anchor_buffers* buffers);
GSB_API int32_t gsb_cuda_anchor_backward(const gsb_cuda_queue* queue, const gsb_anchor_buffers* buffers);
/* As gsb_dense_run. */
GSB_API int32_t gsb_cuda_dense_run(const gsb_cuda_queue* queue, const gsb_dense_layer* layer);
/* What gsb_range_put_gaussian codes for each symbol: start and frequency of its interval in 2^-16, how many lowest bits
 * follow, and for escapes the distance from the row (n >= 0 above, -1 - n below; else INT64_MIN). */
GSB_API int32_t gsb_cuda_gaussian_intervals(const gsb_cuda_queue* queue, const int32_t* symbols, const int32_t* means,
                                            const uint8_t* scales, int64_t count, const gsb_gaussian_tables* tables,
                                            uint32_t* starts, uint32_t* frequencies, int32_t* shifts,
                                            int64_t* distances);

#ifdef __cplusplus
}
#endif
#endif
