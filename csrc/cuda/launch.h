// How a computation runs: as kernels under nvcc, or as loops on the host where the same sources are compiled by a plain
// C++ compiler. The second is for tests on machines without a GPU: what it runs are the same function bodies on the same
// indices, with shared memory and barriers standing for themselves.
//
// A body is a struct of pointers and sizes. for_each calls body(i) for every i. run_blocks calls body(block, shared, b) for
// every block b; the body divides its work into parts with `block`: each(f) calls f(t) for every thread t, each_lane(w, f)
// for the threads of warp w; what passes between threads goes through `shared` with a barrier() in between, or through one
// of the collectives. A variable of a thread that lives across parts is a Block::Local<T>. Control flow outside the parts
// must be the same for a whole block (inside each_warp: for a whole warp).
//
// The host runs the threads of a part one after the other, in either order (Emulation::reversed): if a part depended on
// it, the two would differ. It fills shared memory with garbage first. With Emulation::checked, each thread sees of shared
// memory what was there at the last barrier and what it wrote itself, so that a missing barrier shows in the results, and
// two threads that write to one place in between are an error.
#pragma once

#include <stdint.h>

#include "math/exponential.h"
#include "math/host_device.h"
#include "math/scalar.h"

#ifdef __CUDACC__
#include <cuda_runtime.h>
#else
#include <string.h>

#include <memory>
#include <vector>
#endif

#ifdef __CUDA_ARCH__
#define GSB_UNROLL _Pragma("unroll")
#else
#define GSB_UNROLL
#endif

namespace gsb {
namespace cuda {

constexpr int kWarp = 32;

// How a warp adds N numbers of each lane: in five steps, each of which halves the numbers along with the lanes that share
// them. A lane keeps the first or the second half of its numbers and gives the others to the lane across, which does the
// opposite; with a single number both keep the sum, and one of them counts.
GSB_HD constexpr int halved(int count) { return (count + 1) / 2; }

// The numbers of a lane: from `first` on; without `count` above 0, none.
struct Share {
  int first, count;
};

template <int N>
GSB_HD Share half_of(Share share, bool upper) {
  if (N == 1) return {share.first, upper ? 0 : share.count};
  constexpr int kHalf = halved(N);
  if (upper) return {share.first + kHalf, share.count - kHalf};
  return {share.first, share.count < kHalf ? share.count : kHalf};
}

// Leaves in v what the lane keeps, and in `other` what it gives away. A missing last number is 0.
template <int N>
GSB_HD void split(float* v, bool upper, float* other) {
  constexpr int kHalf = halved(N);
  GSB_UNROLL
  for (int k = 0; k < kHalf; ++k) {
    const float low = v[k], high = N == 1 ? low : kHalf + k < N ? v[kHalf + k < N ? kHalf + k : 0] : 0.0f;
    v[k] = upper ? high : low;
    other[k] = upper ? low : high;
  }
}

// Where a call runs, and the first failure on the way.
struct Queue {
#ifdef __CUDACC__
  cudaStream_t stream = nullptr;
  cudaError_t error = cudaSuccess;
  void note(cudaError_t found) {
    if (error == cudaSuccess) error = found;
  }
#else
  bool conflict = false;  // two threads wrote to one place of shared memory
#endif
};

#ifdef __CUDACC__

// A thread's view of its block.
template <int Threads>
struct Block {
  template <class T>
  struct Local {
    T value;
    GSB_HD T& operator()(int) { return value; }
  };

  GSB_HD int self() const {
#ifdef __CUDA_ARCH__
    return int(threadIdx.x);
#else
    return 0;
#endif
  }
  template <class F>
  GSB_HD void each(const F& f) const {
    f(self());
  }
  template <class F>
  GSB_HD void each_warp(const F& f) const {
    f(self() / kWarp);
  }
  template <class F>
  GSB_HD void each_lane(int, const F& f) const {
    f(self());
  }
  GSB_HD void barrier() const {
#ifdef __CUDA_ARCH__
    __syncthreads();
#endif
  }
  // A barrier; whether the predicate holds for any thread of the block.
  template <class F>
  GSB_HD bool any(const F& predicate) const {
#ifdef __CUDA_ARCH__
    return __syncthreads_or(predicate(self()));
#else
    return predicate(0);
#endif
  }
  template <class F>
  GSB_HD bool any_lane(int, const F& predicate) const {
#ifdef __CUDA_ARCH__
    return __any_sync(0xffffffffu, predicate(self()));
#else
    return predicate(0);
#endif
  }
  // Bit l: the predicate of lane l.
  template <class F>
  GSB_HD uint32_t ballot(int, const F& predicate) const {
#ifdef __CUDA_ARCH__
    return __ballot_sync(0xffffffffu, predicate(self()));
#else
    return predicate(0);
#endif
  }
  // The largest of the lanes' values, none negative.
  template <class F>
  GSB_HD float largest(int, const F& value) const {
    float most = value(self());
#ifdef __CUDA_ARCH__
    for (int m = kWarp / 2; m > 0; m /= 2) most = max_of(most, __shfl_xor_sync(0xffffffffu, most, m));
#endif
    return most;
  }
  // values(t, out) gives K numbers for each lane; store(k, sum) receives the sums over the warp, added as a balanced tree.
  template <int K, class Values, class Store>
  GSB_HD void sums(int, const Values& values, const Store& store) const {
    float v[K];
    values(self(), v);
    fold<K, kWarp / 2>(v, Share{0, K}, store);
  }

 private:
  template <int N, int Mask, class Store>
  GSB_HD void fold(float* v, Share share, const Store& store) const {
#ifdef __CUDA_ARCH__
    if constexpr (Mask == 0) {
      if (share.count > 0) store(share.first, v[0]);
    } else {
      const bool upper = (self() & Mask) != 0;
      float other[halved(N)];
      split<N>(v, upper, other);
      GSB_UNROLL
      for (int k = 0; k < halved(N); ++k) v[k] = v[k] + __shfl_xor_sync(0xffffffffu, other[k], Mask);
      fold<halved(N), Mask / 2>(v, half_of<N>(share, upper), store);
    }
#else
    (void)v, (void)share, (void)store;
#endif
  }
};

GSB_HD void add_atomic(int32_t* to, int32_t value) {
#ifdef __CUDA_ARCH__
  atomicAdd(to, value);
#else
  *to += value;
#endif
}
GSB_HD void add_atomic(unsigned long long* to, unsigned long long value) {
#ifdef __CUDA_ARCH__
  atomicAdd(to, value);
#else
  *to += value;
#endif
}
GSB_HD void or_atomic(int32_t* to, int32_t value) {
#ifdef __CUDA_ARCH__
  atomicOr(to, value);
#else
  *to |= value;
#endif
}
GSB_HD void max_atomic(int32_t* to, int32_t value) {
#ifdef __CUDA_ARCH__
  atomicMax(to, value);
#else
  if (*to < value) *to = value;
#endif
}

// What every device from sm_75 on has: bytes of shared memory that a kernel may declare, and of a kernel's arguments.
constexpr size_t kMostShared = 48 * 1024, kMostArguments = 4096;

template <class Body>
__global__ void __launch_bounds__(256) for_each_kernel(int64_t count, Body body) {
  const int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) body(i);
}

template <class Body>
__global__ void __launch_bounds__(Body::kThreads) block_kernel(Body body) {
  static_assert(sizeof(typename Body::Shared) <= kMostShared, "too much shared memory");
  static_assert(Body::kThreads % kWarp == 0 && Body::kThreads <= 1024, "blocks are whole warps, 1024 threads at most");
  static_assert(sizeof(Body) <= kMostArguments, "too many arguments");
  __shared__ typename Body::Shared shared;
  const Block<Body::kThreads> block;
  body(block, shared, int64_t(blockIdx.x));
}

// Whether a grid of so many blocks is to be launched; one that no device takes is noted.
inline bool launches(Queue& q, int64_t blocks) {
  if (blocks > INT32_MAX) q.note(cudaErrorInvalidConfiguration);
  return blocks > 0 && q.error == cudaSuccess;
}

template <class Body>
void for_each(Queue& q, int64_t count, const Body& body) {
  static_assert(sizeof(Body) + sizeof count <= kMostArguments, "too many arguments");
  const int64_t blocks = (count + 255) / 256;
  if (!launches(q, blocks)) return;
  for_each_kernel<<<unsigned(blocks), 256, 0, q.stream>>>(count, body);
  q.note(cudaGetLastError());
}

template <class Body>
void run_blocks(Queue& q, int64_t blocks, const Body& body) {
  if (!launches(q, blocks)) return;
  block_kernel<<<unsigned(blocks), Body::kThreads, 0, q.stream>>>(body);
  q.note(cudaGetLastError());
}

inline void fill_zero(Queue& q, void* to, int64_t bytes) {
  if (bytes > 0 && q.error == cudaSuccess) q.note(cudaMemsetAsync(to, 0, size_t(bytes), q.stream));
}

#else  // the host

struct Emulation {
  bool reversed = false, checked = false;
};
inline Emulation emulation;

template <class F>
void in_emulated_order(int64_t count, const F& f) {
  for (int64_t k = 0; k < count; ++k) f(emulation.reversed ? count - 1 - k : k);
}

// What each thread of a block sees of its shared memory.
class SharedViews {
 public:
  SharedViews(char* shared, size_t size, int threads) : shared_(shared), size_(size), threads_(threads) {
    if (!emulation.checked) return;
    base_.assign(shared, shared + size);
    for (int t = 0; t < threads; ++t) views_.push_back(base_);
  }

  template <class F>
  void as(int thread, const F& f) {
    if (!emulation.checked) return f();
    memcpy(shared_, views_[size_t(thread)].data(), size_);
    f();
    memcpy(views_[size_t(thread)].data(), shared_, size_);
  }

  void barrier() {
    if (!emulation.checked) return;
    std::vector<char> merged = base_;
    std::vector<bool> written(size_, false);
    for (const std::vector<char>& view : views_) {
      if (view == base_) continue;
      for (size_t i = 0; i < size_; ++i) {
        if (view[i] == base_[i]) continue;
        conflict_ |= written[i] && merged[i] != view[i];
        merged[i] = view[i];
        written[i] = true;
      }
    }
    base_ = merged;
    for (std::vector<char>& view : views_) view = base_;
  }

  bool conflict() const { return conflict_; }

 private:
  char* shared_;
  size_t size_;
  int threads_;
  bool conflict_ = false;
  std::vector<char> base_;
  std::vector<std::vector<char>> views_;
};

template <int Threads>
struct Block {
  template <class T>
  struct Local {
    T values[Threads];
    T& operator()(int t) { return values[t]; }
  };
  SharedViews& views;

  template <class F>
  void each(const F& f) const {
    in_emulated_order(Threads, [&](int64_t t) { views.as(int(t), [&] { f(int(t)); }); });
  }
  template <class F>
  void each_warp(const F& f) const {
    in_emulated_order(Threads / kWarp, [&](int64_t w) { f(int(w)); });
  }
  template <class F>
  void each_lane(int warp, const F& f) const {
    in_emulated_order(kWarp, [&](int64_t l) {
      const int t = warp * kWarp + int(l);
      views.as(t, [&] { f(t); });
    });
  }
  void barrier() const { views.barrier(); }
  template <class F>
  bool any(const F& predicate) const {
    bool found = false;
    each([&](int t) { found |= bool(predicate(t)); });
    barrier();
    return found;
  }
  template <class F>
  bool any_lane(int warp, const F& predicate) const {
    return ballot(warp, predicate) != 0;
  }
  template <class F>
  uint32_t ballot(int warp, const F& predicate) const {
    uint32_t bits = 0;
    each_lane(warp, [&](int t) { bits |= uint32_t(bool(predicate(t))) << (t % kWarp); });
    return bits;
  }
  template <class F>
  float largest(int warp, const F& value) const {
    float most = 0.0f;
    each_lane(warp, [&](int t) { most = max_of(most, value(t)); });
    return most;
  }
  template <int K, class Values, class Store>
  void sums(int warp, const Values& values, const Store& store) const {
    float v[kWarp][K];
    Share shares[kWarp];
    each_lane(warp, [&](int t) {
      values(t, v[t % kWarp]);
      shares[t % kWarp] = {0, K};
    });
    fold<K, K, kWarp / 2>(warp, v, shares, store);
  }

 private:
  template <int K, int N, int Mask, class Store>
  void fold(int warp, float (*v)[K], Share* shares, const Store& store) const {
    if constexpr (Mask == 0) {
      each_lane(warp, [&](int t) {
        if (shares[t % kWarp].count > 0) store(shares[t % kWarp].first, v[t % kWarp][0]);
      });
    } else {
      float other[kWarp][halved(N)];
      for (int l = 0; l < kWarp; ++l) split<N>(v[l], (l & Mask) != 0, other[l]);
      for (int l = 0; l < kWarp; ++l) {
        for (int k = 0; k < halved(N); ++k) v[l][k] = v[l][k] + other[l ^ Mask][k];
        shares[l] = half_of<N>(shares[l], (l & Mask) != 0);
      }
      fold<K, halved(N), Mask / 2>(warp, v, shares, store);
    }
  }
};

inline void add_atomic(int32_t* to, int32_t value) { *to += value; }
inline void add_atomic(unsigned long long* to, unsigned long long value) { *to += value; }
inline void or_atomic(int32_t* to, int32_t value) { *to |= value; }
inline void max_atomic(int32_t* to, int32_t value) {
  if (*to < value) *to = value;
}

template <class Body>
void for_each(Queue&, int64_t count, const Body& body) {
  in_emulated_order(count, body);
}

template <class Body>
void run_blocks(Queue& q, int64_t blocks, const Body& body) {
  using Shared = typename Body::Shared;
  const std::unique_ptr<char[]> memory(new char[sizeof(Shared) + 64]);
  char* const start = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(memory.get()) + 63) & ~uintptr_t(63));
  in_emulated_order(blocks, [&](int64_t b) {
    memset(start, 0xcd, sizeof(Shared));
    SharedViews views(start, sizeof(Shared), Body::kThreads);
    const Block<Body::kThreads> block = {views};
    body(block, *reinterpret_cast<Shared*>(start), b);
    views.barrier();
    q.conflict = q.conflict || views.conflict();
  });
}

inline void fill_zero(Queue&, void* to, int64_t bytes) {
  if (bytes > 0) memset(to, 0, size_t(bytes));
}

#endif

// Bit scans that exist on both sides; `word` is not 0.
GSB_HD int lowest_bit(uint32_t word) {
#ifdef __CUDA_ARCH__
  return __ffs(int(word)) - 1;
#else
  return __builtin_ctz(word);
#endif
}
GSB_HD int highest_bit(uint32_t word) {
#ifdef __CUDA_ARCH__
  return 31 - __clz(int(word));
#else
  return 31 - __builtin_clz(word);
#endif
}
GSB_HD int count_bits(uint32_t word) {
#ifdef __CUDA_ARCH__
  return __popc(word);
#else
  return __builtin_popcount(word);
#endif
}

// 2^e for e in [-126, 0]: the device's own instruction (two units in the last place), the host's polynomial.
GSB_HD float alpha_exp2(float e) {
#ifdef __CUDA_ARCH__
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(e));
  return result;
#else
  return exp2_of(e);
#endif
}

}  // namespace cuda
}  // namespace gsb
