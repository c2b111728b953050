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

#define GSB_CUDA_ABI_VERSION 1

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
/* Of the library for the host: whether threads and blocks run in reverse order. Refused by the other one. */
GSB_API int32_t gsb_cuda_set_reversed(int32_t reversed);

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
  /* Inputs. */
  const float* means;           /* [G, 3] */
  const float* quats;           /* [G, 4] or null */
  const float* scales;          /* [G, 3] or null */
  const float* covars;          /* [G, 3, 3] or null; if given, quats and scales are not read */
  const float* opacities;       /* [G] */
  const float* colors;          /* SH [(C,) G, K, 3], or direct [(C,) G, 3]; null: none are evaluated */
  const float* viewmats;        /* [C, 4, 4] */
  const float* intrinsics;      /* [C, 3, 3] */
  const float* features;        /* [S, channels], if channels is not 0 */
  const float* backgrounds;     /* [C, channels or 3] or null */
  const uint8_t* masks;         /* [C, H, W] or null; nothing is drawn where 0 */
  /* Per projection. */
  float* means2d;               /* [S, 2] */
  float* depths;                /* [S] */
  float* conics;                /* [S, 3] */
  float* slot_colors;           /* [S, 3] or null */
  float* slot_opacities;        /* [S] */
  int32_t* radii;               /* [S, 2] */
  int64_t* camera_ids;          /* [R], packed only */
  int64_t* gaussian_ids;        /* [R], packed only */
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
/* Fills cameras, visible [G] and totals[2]. */
GSB_API int32_t gsb_cuda_raster_visible(const gsb_cuda_queue* queue, const gsb_raster_options* options,
                                        const gsb_cuda_raster_buffers* buffers, uint8_t* visible);

#ifdef __cplusplus
}
#endif
#endif
