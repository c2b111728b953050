// Failures as a status and a thread-local text, and the stream that a call works in.
#pragma once

#include "capi/status.h"
#include "cpu/raster_types.h"
#include "cuda/gsbench_cuda.h"
#include "cuda/launch.h"

namespace gsb {
namespace cuda {

// Makes the caller's device current for as long as it lives.
class Call {
 public:
  explicit Call(const gsb_cuda_queue* queue);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // GSB_OK, or the text of what failed.
  int status() const;

  Queue queue;

 private:
  bool valid_ = true;
  int device_ = 0, before_ = 0;
};

// Checked options of the rasterizer.
int convert(const gsb_raster_options* from, RasterOptions& to);

}  // namespace cuda
}  // namespace gsb
