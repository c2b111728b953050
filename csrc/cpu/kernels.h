// The table of kernels that each instruction set provides. Plain structs and pointers only: this header is included by
// units compiled for different instruction sets.
#pragma once

#include "cpu/raster_types.h"

#include "cpu/adam.h"
#include "cpu/anchors.h"
#include "cpu/gaussian_bits.h"
#include "cpu/hashgrid.h"
#include "coding/dense.h"
#include "cpu/image.h"

namespace gsb {

struct KernelTable {
  const char* name;
  int lanes;

  // Rasterizer (csrc/cpu/{project,project_backward,bin,tile,blend,blend_backward,fisher,normals}.inc).
  int block_mask_bytes;
  bool (*project_forward)(const RasterOptions&, const RasterBuffers&);  // false: an input was refused
  void (*blend_forward)(const RasterOptions&, const RasterBuffers&);
  int64_t (*backward_scratch_floats)(const RasterOptions&, int64_t most_hits);
  void (*blend_backward)(const RasterOptions&, const RasterBuffers&);
  void (*project_backward)(const RasterOptions&, const RasterBuffers&);
  void (*fisher)(const RasterOptions&, const RasterBuffers&);
  bool (*visible)(const RasterOptions&, const RasterBuffers&, uint8_t* visible);
  void (*normals_forward)(const RasterOptions&, const RasterBuffers&, float* normals);
  void (*normals_backward)(const RasterOptions&, const RasterBuffers&, const float* grad_normals);

  // Training (csrc/cpu/{image,adam}.inc).
  void (*image_loss)(const ImageLoss&);
  void (*adam_steps)(const AdamStep*, int64_t count, int threads);

  // Anchors (csrc/cpu/{hashgrid,anchors}.inc).
  void (*hashgrid_forward)(const HashGrid&, float* features);
  int64_t (*hashgrid_positive)(const HashGrid&);
  void (*hashgrid_backward)(const HashGrid&, const float* grad_features, float of_signs, float* grad_table);
  void (*anchor_opacities)(const AnchorOffsets&, float* opacities, int64_t* counts);
  void (*anchor_forward)(const AnchorOffsets&, const float* opacities, const AnchorGaussians&);
  void (*anchor_backward)(const AnchorOffsets&, const AnchorGaussians&, const AnchorGradients&);

  // Rates (csrc/cpu/gaussian_bits.inc).
  void (*gaussian_bits)(const GaussianBits&, float* bits, double* log_mass);
  void (*gaussian_bits_backward)(const GaussianBits&, const double* log_mass, const float* grad,
                                 const GaussianBitsGradients&);

  // Integer networks (csrc/coding/dense.inc).
  void (*dense)(const DenseLayer&);
};

extern const KernelTable kernels_baseline;
extern const KernelTable kernels_avx2;
extern const KernelTable kernels_avx512;

}  // namespace gsb
