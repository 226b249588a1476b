// The instruction set a translation unit is compiled for, and the words every per-set header uses.
//
// math/, cells/, recurrence/ and cpu/ are compiled once per set, each time into a namespace of its own
// (rnnkernels::avx2, rnnkernels::avx512, ...): were they in one namespace, the linker would merge the
// copies of an inline function and run AVX-512 code on a machine that has none. The target cuda is a GPU: there a
// "vector" is one number, and a thread works on one unit of one row; its namespace also keeps cuda/ apart.
// Not here: what a vector can do (vec.h), or which set a machine has (cpu/select.cpp).
#pragma once

#ifndef RNNKERNELS_TARGET
#error "compile with -DRNNKERNELS_TARGET=scalar, avx2, avx512, neon or cuda"
#endif

#define RNNKERNELS_SET_scalar 1
#define RNNKERNELS_SET_avx2 2
#define RNNKERNELS_SET_avx512 3
#define RNNKERNELS_SET_neon 4
#define RNNKERNELS_SET_cuda 5
#define RNNKERNELS_JOIN_(a, b) a##b
#define RNNKERNELS_JOIN(a, b) RNNKERNELS_JOIN_(a, b)
// 1 to 5: the number of the set, so that the preprocessor can compare it.
#define RNNKERNELS_SET RNNKERNELS_JOIN(RNNKERNELS_SET_, RNNKERNELS_TARGET)

// For lambdas: [&](...) RNNKERNELS_INLINED { ... }
#define RNNKERNELS_INLINED __attribute__((always_inline))
#define RNNKERNELS_PRAGMA(text) _Pragma(#text)
#if defined(__CUDACC__)
// RNNKERNELS_DEVICE: for a function that kernels call, too.
#define RNNKERNELS_DEVICE __host__ __device__
#define RNNKERNELS_INLINE __host__ __device__ __forceinline__
#define RNNKERNELS_NOINLINE __host__ __device__ __forceinline__  // a call would pass its values through memory
#define RNNKERNELS_UNROLL(count) RNNKERNELS_PRAGMA(unroll)
#else
#define RNNKERNELS_DEVICE
#define RNNKERNELS_INLINE inline __attribute__((always_inline))
#define RNNKERNELS_NOINLINE __attribute__((noinline, const))
#define RNNKERNELS_UNROLL(count) RNNKERNELS_PRAGMA(GCC unroll count)
#endif
