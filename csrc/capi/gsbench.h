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

#define GSB_ABI_VERSION 4
#define GSB_API __attribute__((visibility("default")))

enum {
  GSB_OK = 0,
  GSB_INVALID_ARGUMENT = 1, /* a value that the call cannot work with; the text names it */
  GSB_INTERNAL = 2,         /* out of memory, or a bug of ours */
  GSB_DAMAGED = 3           /* a stream that no encoder wrote; the text says what is wrong with it */
};

GSB_API int32_t gsb_abi_version(void);
GSB_API const char* gsb_build_id(void);
GSB_API const char* gsb_last_error(void);
/* Instruction set in use: "baseline", "avx2" or "avx512". */
GSB_API const char* gsb_cpu_isa(void);
/* Chooses an instruction set by name; refuses one that this machine lacks. "auto" takes the best. */
GSB_API int32_t gsb_cpu_set_isa(const char* name);

/* ---- The rasterizer -------------------------------------------------------------------------------------------------
 * Stages: project_forward, bin, blend_forward; blend_backward, project_backward; and fisher, after blend_forward. All
 * work on one set of buffers. What is drawn are either the RGB colors of the projection or, if `channels` is not 0, rows
 * of `features`.
 */

typedef struct gsb_raster_options {
  uint32_t struct_size; /* sizeof(gsb_raster_options), so that a mismatch is noticed */
  int32_t cameras;
  int64_t gaussians;
  int32_t width, height;
  int32_t color_bases;       /* SH coefficients per channel in memory; 0: colors are given directly */
  int32_t sh_degree;         /* degree to evaluate; (degree + 1)^2 <= color_bases */
  int32_t colors_per_camera; /* colors have a leading dimension C */
  int32_t channels;          /* of features; 0: the three colors of the projection are drawn */
  int32_t packed;
  int32_t antialiased;
  int32_t separate_cameras;  /* project_backward leaves each camera's gradients apart: grad_* have a leading C */
  int32_t threads;
  float near_plane, far_plane, eps2d;
  float radius_clip;         /* Gaussians whose radii are both at most this are not drawn, pixels */
} gsb_raster_options;

typedef struct gsb_raster_sizes {
  uint32_t struct_size;
  int32_t block_mask_bytes;   /* of one entry of hit_masks */
  int64_t chunks;             /* Gaussians are projected in chunks */
  int64_t records_per_camera; /* capacity of records and pair_ranges */
  int64_t tiles;              /* per camera */
  int64_t counters;           /* of all threads */
  int64_t tile_id_padding;    /* tile_ids is written this far past its last entry */
  int64_t forward_scratch_floats; /* of thread_scratch, per thread, in blend_forward */
} gsb_raster_sizes;

typedef struct gsb_screen_record gsb_screen_record; /* 64 bytes */
typedef struct gsb_pair_range gsb_pair_range;       /* 8 bytes */
typedef struct gsb_tile_entry gsb_tile_entry;       /* 8 bytes */

/* Every buffer of the rasterizer; a stage uses those it needs. G Gaussians, C cameras, R visible combinations of a
 * Gaussian and a camera, ordered by camera, then Gaussian. Per-projection arrays have S rows: R when packed, C * G
 * otherwise (zeros where invisible). A camera's pair bound is at least the number of its (Gaussian, tile) pairs. */
typedef struct gsb_raster_buffers {
  uint32_t struct_size;
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
  float* slot_opacities;        /* [S]; what is blended, antialiasing included */
  int32_t* radii;               /* [S, 2] */
  int64_t* camera_ids;          /* [R], packed only */
  int64_t* gaussian_ids;        /* [R], packed only */
  /* Between the stages. */
  gsb_screen_record* records;   /* [C, records_per_camera] */
  int64_t* chunk_ranks;         /* [C, chunks + 1]: rank of each chunk's first visible Gaussian, over all cameras */
  int64_t* pair_bounds;         /* [C, chunks + 1]: running upper bound of the pairs of the camera's chunks */
  gsb_pair_range* pair_ranges;  /* [C, records_per_camera] */
  uint32_t* tile_ids;           /* [largest camera's pair bound + padding], scratch */
  uint64_t* sort_items;         /* [2, largest camera's visible], scratch */
  uint32_t* counters;           /* [counters], scratch */
  int64_t* tile_starts;         /* [C, tiles + 1], into the camera's part of tile_entries */
  gsb_tile_entry* tile_entries; /* [pairs] */
  int64_t* entry_offsets;       /* [C + 1]: each camera's part of tile_entries and hit_masks */
  void* hit_masks;              /* [pairs] of the instruction set's block masks */
  int64_t* tile_hits;           /* [C, tiles]: entries with a hit */
  /* Output. */
  float* image;                 /* [C, H, W, channels or 3] */
  float* alpha;                 /* [C, H, W] */
  float* distortion;            /* [C, H, W] or null, with median_slots: the sum of w_i w_j |z_i - z_j| */
  int64_t* median_slots;        /* [C, H, W]: row of the last Gaussian drawn where T > 0.5; -1: none */
  /* Statistics, all or none (null); [S] each. */
  int32_t* hits;                /* pixels drawn */
  float* weight;                /* sum of alpha T */
  float* opacity_transmittance; /* sum of opacity T over the pixels drawn */
  float* max_weight;            /* largest alpha T */
  int32_t* dominant;            /* pixels where alpha T is the largest */
  float* statistic_rows;        /* [largest camera's pair bound, 8], scratch */
  float* fisher;                /* [S, 21], for gsb_raster_fisher */
  /* Backward. */
  const float* grad_image;      /* [C, H, W, channels or 3] */
  const float* grad_alpha;      /* [C, H, W] or null */
  const float* grad_distortion; /* [C, H, W] or null */
  float* gradient_rows;         /* [largest camera's pair bound, 16], scratch; also of fisher */
  float* thread_scratch;        /* [threads, scratch_floats], scratch */
  int64_t scratch_floats;
  float* grad_means2d;          /* [S, 2] */
  float* grad_means2d_abs;      /* [S, 2] or null: sums of absolute values over pixels */
  float* grad_conics;           /* [S, 3] */
  float* grad_slot_colors;      /* [S, channels or 3] out of blend_backward; [S, 3] or null into project_backward */
  float* grad_slot_opacities;   /* [S] */
  float* grad_depths;           /* [S] or null: out of blend_backward with grad_distortion; into project_backward */
  float* grad_means;            /* [G, 3] */
  float* grad_quats;            /* [G, 4] or null, like quats */
  float* grad_scales;           /* [G, 3] or null, like scales */
  float* grad_covars;           /* [G, 3, 3] or null, like covars */
  float* grad_opacities;        /* [G] */
  float* grad_colors;           /* like colors */
  float* grad_viewmats;         /* [C, 4, 4] or null */
  float* camera_rows;           /* [C, chunks, 12], scratch, with grad_viewmats */
} gsb_raster_buffers;

GSB_API int32_t gsb_raster_get_sizes(const gsb_raster_options* options, gsb_raster_sizes* sizes);
/* Fills the per-projection arrays, records, chunk_ranks, pair_bounds and entry_offsets. Refuses inputs that are not
 * finite, zero quaternions and opacities outside [0, 1]; the text names the array and the row. */
GSB_API int32_t gsb_raster_project_forward(const gsb_raster_options* options, const gsb_raster_buffers* buffers);
/* Bins and draws: fills pair_ranges, tile_starts, tile_entries, image, alpha, hit_masks, tile_hits and what else is not
 * null; *scratch_floats is what each thread needs in thread_scratch to go back. */
GSB_API int32_t gsb_raster_blend_forward(const gsb_raster_options* options, const gsb_raster_buffers* buffers,
                                         int64_t* scratch_floats);
/* Fills the gradients of the per-projection arrays. */
GSB_API int32_t gsb_raster_blend_backward(const gsb_raster_options* options, const gsb_raster_buffers* buffers);
/* Fills the gradients of the inputs from those of the per-projection arrays. */
GSB_API int32_t gsb_raster_project_backward(const gsb_raster_options* options, const gsb_raster_buffers* buffers);
/* Fills `fisher`: per Gaussian and camera the upper triangle of the sum over pixels and channels of g g^T, with g the
 * derivative of a pixel's channel by the mean and the scale, features held fixed. Not with covars. */
GSB_API int32_t gsb_raster_fisher(const gsb_raster_options* options, const gsb_raster_buffers* buffers);

/* Any time after project_forward, for Gaussians with scales: unit vectors [S, 3] in the world along the smallest scale
 * (of equal ones the first), turned towards the camera; 0 where nothing is visible. The second fills `grad_quats`. */
GSB_API int32_t gsb_raster_normals_forward(const gsb_raster_options* options, const gsb_raster_buffers* buffers,
                                           float* normals);
GSB_API int32_t gsb_raster_normals_backward(const gsb_raster_options* options, const gsb_raster_buffers* buffers,
                                            const float* grad_normals);
/* Which of the Gaussians (means, quats, scales, one camera) would be drawn if they were opaque: 0 or 1 in visible[G].
 * Refuses inputs like project_forward. */
GSB_API int32_t gsb_raster_visible(const gsb_raster_options* options, const gsb_raster_buffers* buffers,
                                   uint8_t* visible);

/* ---- Image loss (capi_image.cpp) ---- */

/* Bytes of workspace for an image of this size. */
GSB_API int32_t gsb_image_loss_sizes(int64_t height, int64_t width, int32_t threads, int64_t* workspace_bytes);
/* L1 and SSIM of an image against a target, both float [height, width, 3], into means[2]. Unless `gradient` is null,
 * it receives the gradient of l1_weight * L1 + ssim_weight * SSIM to the image. Deterministic. */
GSB_API int32_t gsb_image_loss_run(const float* image, const float* target, int64_t height, int64_t width,
                                   double l1_weight, double ssim_weight, float* gradient, double* means,
                                   void* workspace, int64_t workspace_bytes, int32_t threads);

/* Bytes of workspace for an image of so many pixels. */
GSB_API int32_t gsb_image_errors_sizes(int64_t pixels, int64_t* workspace_bytes);
/* Errors of a render, float [pixels, 3], clamped to [0, 1], against a photograph, 8 bit [pixels, 3], divided by 255.
 * *rounded: sum of squares, in gray levels, of the render rounded to 8 bit. channels[3]: sums of squares per channel, not
 * rounded. *not_finite: number of the render's values that are NaN or infinite; where it is not 0, the sums mean nothing.
 * Unless null, `clamped` and `target` receive both images as they are compared. Deterministic, on every machine. */
GSB_API int32_t gsb_image_errors_run(const float* render, const uint8_t* truth, int64_t pixels, float* clamped,
                                     float* target, int64_t* rounded, double* channels, int64_t* not_finite,
                                     void* workspace, int64_t workspace_bytes, int32_t threads);

/* ---- Optimizer (capi_optim.cpp) ---- */

/* A step of Adam over float [count] arrays that do not overlap, of which it is number `step` (from 1). */
typedef struct gsb_adam_update {
  uint32_t struct_size;
  float* parameter;
  const float* gradient;
  float* mean;   /* running mean of the gradient */
  float* square; /* running mean of its square */
  int64_t count;
  double lr;
  double beta1;
  double beta2;
  double epsilon;
  double step;
} gsb_adam_update;

/* Steps of Adam in place, of one or more tensors. */
GSB_API int32_t gsb_adam_steps(const gsb_adam_update* updates, int64_t count, int32_t threads);

/* ---- Hash grid (capi_hashgrid.cpp) ----
 * Levels of vectors of 4 floats, in one table [rows, 4], interpolated at integer points [count, 3] that are clamped to
 * 0..extent[3]. levels [level_count, 4]: resolution (2 to 2^16), axes (bit a: axis a; two or three of them), first row,
 * rows. Features are float [count, level_count * 4]. `binary`: the signs of the entries count, and gradients go straight
 * through where an entry is in [-1, 1]. *positive, unless null, is the number of entries that are 0 or more.
 * Deterministic for any number of threads. Formulas: csrc/cpu/hashgrid.inc. */
GSB_API int32_t gsb_hashgrid_forward(const int32_t* points, int64_t count, const int32_t* extent, const int64_t* levels,
                                     int64_t level_count, const float* table, int64_t rows, int32_t binary,
                                     float* features, int64_t* positive, int32_t threads);
/* Fills the rows of grad_table that belong to levels; grad_signs, the gradient to the sum of all signs, is passed on to
 * each entry in [-1, 1]. */
GSB_API int32_t gsb_hashgrid_backward(const int32_t* points, int64_t count, const int32_t* extent,
                                      const int64_t* levels, int64_t level_count, const float* table, int64_t rows,
                                      int32_t binary, const float* grad_features, double grad_signs, float* grad_table,
                                      int32_t threads);

/* ---- Rates (capi_rate.cpp) ----
 * Bits of values by Gaussians in bins of width `step`, all float [count]; masses count as at least e^log_floor (minus
 * infinity for no bound). log_mass [count] is what the backward pass needs. Formulas: csrc/cpu/gaussian_bits.inc. */
GSB_API int32_t gsb_gaussian_bits(const float* x, const float* mean, const float* scale, const float* step,
                                  int64_t count, double log_floor, float* bits, double* log_mass, int32_t threads);
/* Each of the four results may be null. */
GSB_API int32_t gsb_gaussian_bits_backward(const float* x, const float* mean, const float* scale, const float* step,
                                           int64_t count, double log_floor, const double* log_mass,
                                           const float* grad_bits, float* grad_x, float* grad_mean, float* grad_scale,
                                           float* grad_step, int32_t threads);

/* ---- Anchors (capi_anchors.cpp) ----
 * n anchors with K offsets each, of which M live (opacity above 0). Formulas: csrc/cpu/anchors.inc. */

typedef struct gsb_anchor_buffers {
  uint32_t struct_size;
  int32_t threads;
  int64_t anchors;            /* n */
  int64_t per_anchor;         /* K; n K is below 2^31 / 7 */
  const float* positions;     /* [n, 3] */
  const float* offsets;       /* [n, K, 3] */
  const float* anchor_scales; /* [n, 6] */
  const float* raw_opacities; /* [n, K] */
  const float* raw_shapes;    /* [n, K, 7] */
  const float* raw_colors;    /* [n, K, 3] */
  const float* masks;         /* [n, K] or null */
  float* dense_opacities;     /* [n, K] */
  int64_t* starts;            /* [n + 1]: the Gaussians of each anchor */
  int64_t* rows;              /* [M]: anchor times K plus offset, ascending */
  float* means;               /* [M, 3] */
  float* scales;              /* [M, 3] */
  float* quats;               /* [M, 4] */
  float* opacities;           /* [M] */
  float* colors;              /* [M, 3] */
  const float* grad_means;    /* as above, into backward */
  const float* grad_scales;
  const float* grad_quats;
  const float* grad_opacities;
  const float* grad_colors;
  float* grad_offsets;        /* as above, out of backward */
  float* grad_anchor_scales;
  float* grad_raw_opacities;
  float* grad_raw_shapes;
  float* grad_raw_colors;
  float* grad_masks;          /* null like masks */
} gsb_anchor_buffers;

/* Fills dense_opacities and starts; *live is M. */
GSB_API int32_t gsb_anchor_count(const gsb_anchor_buffers* buffers, int64_t* live);
/* Fills rows to colors. */
GSB_API int32_t gsb_anchor_forward(const gsb_anchor_buffers* buffers);
/* Fills grad_offsets to grad_masks. */
GSB_API int32_t gsb_anchor_backward(const gsb_anchor_buffers* buffers);

/* ---- Nearest neighbors (capi_neighbors.cpp) ---- */

/* Bytes of workspace for `count` points. */
GSB_API int32_t gsb_knn_mean_distance_sizes(int64_t count, int64_t* workspace_bytes);
/* For each of float points [count, 3], finite: the mean Euclidean distance to the `neighbors` (1 to 8) nearest others,
 * to all others if there are fewer, 0 if there is none. Exact and deterministic. */
GSB_API int32_t gsb_knn_mean_distance_run(const float* points, int64_t count, int32_t neighbors, float* distances,
                                          void* workspace, int64_t workspace_bytes, int32_t threads);

/* ---- Entropy coding (capi_coding.cpp) ----
 * Encoding functions stop when less room than one symbol may need is left in `out`; `done`, 0 at first, counts the
 * symbols coded, and the call is repeated with more room (what was written so far copied) until it equals `count`.
 */

typedef struct gsb_range_state {
  uint32_t struct_size;
  uint64_t offset, range; /* an encoder begins with 0 and 2^64 - 1 */
  int64_t position;       /* bytes written; for a decoder: of the bytes that the interval is about */
} gsb_range_state;

/* See GaussianTables in csrc/coding/symbols.h. 62 bytes beyond the last row can be read. */
typedef struct gsb_gaussian_tables {
  uint32_t struct_size;
  const int16_t* starts;
  const int32_t* offsets; /* [72] */
  const int32_t* sizes;   /* [72] */
} gsb_gaussian_tables;

/* Symbols by tables [rows, columns], rising strictly from 0 to 2^16; refused if they do not. */
GSB_API int32_t gsb_range_put(gsb_range_state* state, const int32_t* symbols, int64_t count, const uint32_t* tables,
                              int64_t rows, int64_t columns, const int32_t* index, uint8_t* out, int64_t capacity,
                              int64_t* done);
/* Writes the end of the stream: at most 8 bytes, for which there must be room; position is the length of it all. */
GSB_API int32_t gsb_range_finish(gsb_range_state* state, uint8_t* out, int64_t capacity);
GSB_API int32_t gsb_range_open(gsb_range_state* state, const uint8_t* data, int64_t size);
/* `lookup` is null or scratch [rows, 256], which makes many symbols of few tables faster. */
GSB_API int32_t gsb_range_get(gsb_range_state* state, int32_t* symbols, int64_t count, const uint32_t* tables,
                              int64_t rows, int64_t columns, const int32_t* index, uint16_t* lookup,
                              const uint8_t* data, int64_t size);
/* GSB_DAMAGED if the stream does not end here. */
GSB_API int32_t gsb_range_close(gsb_range_state* state, const uint8_t* data, int64_t size);
/* Integers of conditional Gaussians: means in 1/64, scales as indices 0 to 127. */
GSB_API int32_t gsb_range_put_gaussian(gsb_range_state* state, const int32_t* symbols, const int32_t* means,
                                       const uint8_t* scales, int64_t count, const gsb_gaussian_tables* tables,
                                       uint8_t* out, int64_t capacity, int64_t* done);
GSB_API int32_t gsb_range_get_gaussian(gsb_range_state* state, int32_t* symbols, const int32_t* means,
                                       const uint8_t* scales, int64_t count, const gsb_gaussian_tables* tables,
                                       const uint8_t* data, int64_t size);
/* Integers of two Gaussians each: means and scales [count, 2]; weights of the first, in 1 / 2^16, at least 1. */
GSB_API int32_t gsb_range_put_mixture(gsb_range_state* state, const int32_t* symbols, const int32_t* means,
                                      const uint8_t* scales, const uint16_t* weights, int64_t count,
                                      const gsb_gaussian_tables* tables, uint8_t* out, int64_t capacity,
                                      int64_t* done);
GSB_API int32_t gsb_range_get_mixture(gsb_range_state* state, int32_t* symbols, const int32_t* means,
                                      const uint8_t* scales, const uint16_t* weights, int64_t count,
                                      const gsb_gaussian_tables* tables, const uint8_t* data, int64_t size);
/* Bits; ones is the probability of 1 in 1 / 2^16, at least 1. */
GSB_API int32_t gsb_range_put_bits(gsb_range_state* state, const uint8_t* bits, const uint16_t* ones, int64_t count,
                                   uint8_t* out, int64_t capacity, int64_t* done);
GSB_API int32_t gsb_range_get_bits(gsb_range_state* state, uint8_t* bits, const uint16_t* ones, int64_t count,
                                   const uint8_t* data, int64_t size);
/* Bits with learned probabilities; counts [context_count, 2] of zeros and ones are updated. */
GSB_API int32_t gsb_range_put_learned(gsb_range_state* state, const uint8_t* bits, const int32_t* contexts,
                                      int64_t count, uint32_t* counts, int64_t context_count, uint8_t* out,
                                      int64_t capacity, int64_t* done);
GSB_API int32_t gsb_range_get_learned(gsb_range_state* state, uint8_t* bits, const int32_t* contexts, int64_t count,
                                      uint32_t* counts, int64_t context_count, const uint8_t* data, int64_t size);

/* ---- Octrees and integer contexts (capi_context.cpp) ---- */

/* Points int32 [count, 3] in [0, 2^depth), depth 1 to 21; `order` [count] is where each decoded point was. If *size is
 * more than capacity, nothing is in `out`: call again with more. */
GSB_API int32_t gsb_octree_encode(const int32_t* points, int64_t count, int32_t depth, int64_t* order, uint8_t* out,
                                  int64_t capacity, int64_t* size);
/* The occupancy codes of all nodes, breadth first. */
GSB_API int32_t gsb_octree_codes(const int32_t* points, int64_t count, int32_t depth, uint8_t* out, int64_t capacity,
                                 int64_t* size);
GSB_API int32_t gsb_octree_decode(const uint8_t* data, int64_t size, int64_t count, int32_t depth, int32_t* points);

/* See DenseLayer in csrc/coding/dense.h. */
typedef struct gsb_dense_layer {
  uint32_t struct_size;
  int32_t threads;
  const int16_t* inputs;
  const int16_t* weights;
  const int32_t* bias;
  const int32_t* shift;
  int64_t count, stride;
  int64_t outputs, padded;
  int32_t activation;
  int32_t leak;
  int32_t limit;
  int16_t* hidden;
  int64_t hidden_stride;
  int32_t* last;
} gsb_dense_layer;

GSB_API int32_t gsb_dense_run(const gsb_dense_layer* layer);

/* See SignGrid in csrc/coding/sign_grid.h: points int32 [count, 3], extent [3], levels [level_count, 4] (resolution, axes,
 * first row, rows), signs [rows] of four bits; features int16 [count, 4 * level_count] in 2^-fraction_bits. */
GSB_API int32_t gsb_sign_grid_features(const int32_t* points, int64_t count, const int32_t* extent,
                                       const int64_t* levels, int64_t level_count, const uint8_t* signs, int64_t rows,
                                       int32_t fraction_bits, int16_t* features, int32_t threads);
/* Sets touched[row] to 1 for the rows that have a weight at some point. */
GSB_API int32_t gsb_sign_grid_touched(const int32_t* points, int64_t count, const int32_t* extent,
                                      const int64_t* levels, int64_t level_count, uint8_t* touched, int64_t rows,
                                      int32_t threads);

#ifdef __cplusplus
}
#endif
#endif
