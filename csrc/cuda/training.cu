// Image loss, optimizer and nearest neighbors.
#include "capi/adam_step.h"
#include "cuda/image.h"
#include "cuda/neighbors.h"
#include "cuda/sort.h"
#include "cuda/status.h"

namespace gsb {
namespace cuda {
namespace {

// Parts of a workspace, each aligned to 256 bytes.
class Parts {
 public:
  explicit Parts(void* memory) : at_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(at_ + used_);
    used_ += (count * int64_t(sizeof(T)) + 255) / 256 * 256;
    return part;
  }
  int64_t used() const { return used_; }

 private:
  char* at_;
  int64_t used_ = 0;
};

int64_t lay_out(ImageTask& task, bool gradient, void* memory) {
  Parts parts(memory);
  task.partial = parts.take<double>(2 * task.patches());
  task.derivatives = gradient ? parts.take<float>(3 * task.values()) : nullptr;
  return parts.used();
}

int check_image(int64_t height, int64_t width) {
  constexpr int64_t kMostPixels = int64_t(1) << 36;
  if (height >= 1 && width >= 1 && height <= kMostPixels / width) return GSB_OK;
  return fail(GSB_INVALID_ARGUMENT, "image: expected 1 to 2^36 pixels, got %lld x %lld (width x height)",
              static_cast<long long>(width), static_cast<long long>(height));
}

struct StepAdam {
  AdamStep step;

  GSB_HD void operator()(int64_t i) const {
    const float gradient = step.gradient[i];
    const float mean = step.mean_decay * step.mean[i] + step.mean_share * gradient;
    const float square = step.square_decay * step.square[i] + step.square_share * (gradient * gradient);
    const float root = sqrt_of(square) * step.root_scale + step.epsilon;
    step.parameter[i] = step.parameter[i] - step.step_size * (mean / root);
    step.mean[i] = mean;
    step.square[i] = square;
  }
};

constexpr int kKeyBits = 63;

int64_t lay_out(Queue& q, PointTree& tree, void* memory, Workspace& sort) {
  Parts parts(memory);
  tree.bounds = parts.take<int32_t>(6);
  tree.keys = parts.take<uint64_t>(2 * tree.count);
  tree.order = parts.take<int32_t>(2 * tree.count);
  tree.points = parts.take<TreePoint>(tree.count);
  tree.boxes = parts.take<TreeBox>((int64_t(2) << tree.levels) - 1);
  sort.bytes = sort_bytes<uint64_t, int32_t>(q, tree.count, kKeyBits);
  sort.memory = parts.take<char>(sort.bytes);
  return parts.used();
}

int check_points(int64_t count) {
  if (count >= 0 && count <= INT32_MAX / 2) return GSB_OK;
  return fail(GSB_INVALID_ARGUMENT, "points: expected 0 to 2^30 - 1 of them, got %lld", static_cast<long long>(count));
}

struct NoNeighbors {
  float* distances;
  GSB_HD void operator()(int64_t i) const { distances[i] = 0.0f; }
};

}  // namespace
}  // namespace cuda
}  // namespace gsb

using namespace gsb::cuda;

extern "C" {

int32_t gsb_cuda_image_loss_bytes(int64_t height, int64_t width, int32_t gradient, int64_t* bytes) {
  if (const int status = check_image(height, width)) return status;
  ImageTask task = {};
  task.height = height;
  task.width = width;
  *bytes = lay_out(task, gradient != 0, nullptr);
  return GSB_OK;
}

int32_t gsb_cuda_image_loss(const gsb_cuda_queue* queue, const float* image, const float* target, int64_t height,
                            int64_t width, double l1_weight, double ssim_weight, float* gradient, double* means,
                            void* workspace, int64_t workspace_bytes) {
  if (const int status = check_image(height, width)) return status;
  ImageTask task = {};
  task.image = image;
  task.target = target;
  task.height = height;
  task.width = width;
  task.l1_weight = static_cast<float>(l1_weight / static_cast<double>(task.values()));
  task.ssim_weight = static_cast<float>(ssim_weight / static_cast<double>(task.values()));
  task.gradient = gradient;
  task.means = means;
  if (lay_out(task, gradient != nullptr, workspace) > workspace_bytes) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "workspace: %lld bytes are too few", static_cast<long long>(workspace_bytes));
  }
  Call call(queue);
  run_blocks(call.queue, task.patches(), CompareImages{task});
  if (gradient != nullptr) run_blocks(call.queue, task.patches(), DeriveImage{task});
  run_blocks(call.queue, 1, AverageImages{task});
  return call.status();
}

int32_t gsb_cuda_adam_step(const gsb_cuda_queue* queue, float* parameter, const float* gradient, float* mean,
                           float* square, int64_t count, double lr, double beta1, double beta2, double epsilon,
                           double step) {
  gsb::AdamStep task = {};
  task.parameter = parameter;
  task.gradient = gradient;
  task.mean = mean;
  task.square = square;
  task.count = count;
  if (const int status = gsb::prepare_adam(task, lr, beta1, beta2, epsilon, step)) return status;
  Call call(queue);
  for_each(call.queue, count, StepAdam{task});
  return call.status();
}

int32_t gsb_cuda_knn_bytes(const gsb_cuda_queue* queue, int64_t count, int64_t* bytes) {
  if (const int status = check_points(count)) return status;
  *bytes = 0;
  if (count < 2) return GSB_OK;
  Call call(queue);
  PointTree tree = {};
  tree.count = count;
  tree.levels = levels_for(count);
  Workspace sort = {};
  *bytes = lay_out(call.queue, tree, nullptr, sort);
  return call.status();
}

int32_t gsb_cuda_knn_mean_distance(const gsb_cuda_queue* queue, const float* points, int64_t count, int32_t neighbors,
                                   float* distances, void* workspace, int64_t workspace_bytes) {
  if (const int status = check_points(count)) return status;
  if (neighbors < 1 || neighbors > kMostNeighbors) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "k: expected 1 to %d, got %d", kMostNeighbors, neighbors);
  }
  Call call(queue);
  Queue& q = call.queue;
  if (count < 2) {
    for_each(q, count, NoNeighbors{distances});
    return call.status();
  }
  PointTree tree = {};
  tree.input = points;
  tree.count = count;
  tree.levels = levels_for(count);
  tree.neighbors = static_cast<int>(neighbors < count - 1 ? neighbors : count - 1);
  tree.distances = distances;
  Workspace sort = {};
  if (lay_out(q, tree, workspace, sort) > workspace_bytes) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "workspace: %lld bytes are too few", static_cast<long long>(workspace_bytes));
  }
  for_each(q, 6, ResetBounds{tree});
  run_blocks(q, (count + BoundPoints::kPerBlock - 1) / BoundPoints::kPerBlock, BoundPoints{tree});
  for_each(q, count, OrderPoints{tree});
  const int half = sort_pairs(q, sort, tree.keys, tree.order, count, kKeyBits);
  for_each(q, count, CopyPoints{tree, tree.order + half * count});
  for_each(q, int64_t(1) << tree.levels, BoxLeaves{tree});
  for (int level = tree.levels - 1; level >= 0; --level) {
    for_each(q, int64_t(1) << level, BoxNodes{tree, (int64_t(1) << level) - 1});
  }
  for_each(q, count, SearchNeighbors{tree});
  return call.status();
}

}  // extern "C"
