// Marks for functions that compile for the host and, under nvcc, for the device.
#pragma once

#ifdef __CUDACC__
#define GSB_HD __host__ __device__ __forceinline__
#else
// Always inlined: units for different instruction sets must not share an out-of-line copy.
#define GSB_HD inline __attribute__((always_inline))
#endif
