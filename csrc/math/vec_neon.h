// NEON (AArch64): 128-bit vectors, 32 registers.
#pragma once

#include <arm_neon.h>

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 16;
inline constexpr int kRegisters = 32;

RNNKERNELS_INLINE float32x4_t raw_fma(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }
RNNKERNELS_INLINE float64x2_t raw_fma(float64x2_t a, float64x2_t b, float64x2_t c) { return vfmaq_f64(c, a, b); }

// The larger, the smaller of the two; a NaN where either is one.
RNNKERNELS_INLINE float32x4_t raw_max(float32x4_t a, float32x4_t b) { return vmaxq_f32(a, b); }
RNNKERNELS_INLINE float64x2_t raw_max(float64x2_t a, float64x2_t b) { return vmaxq_f64(a, b); }
RNNKERNELS_INLINE float32x4_t raw_min(float32x4_t a, float32x4_t b) { return vminq_f32(a, b); }
RNNKERNELS_INLINE float64x2_t raw_min(float64x2_t a, float64x2_t b) { return vminq_f64(a, b); }

RNNKERNELS_INLINE float32x4_t raw_sqrt(float32x4_t x) { return vsqrtq_f32(x); }
RNNKERNELS_INLINE float64x2_t raw_sqrt(float64x2_t x) { return vsqrtq_f64(x); }

inline constexpr bool kMaskedMemory = false;  // no loads and stores of some lanes: vec.h goes lane by lane

using RawWide = uint64x2_t;  // 64-bit integers
// The 64-bit products of the even 32-bit lanes.
RNNKERNELS_INLINE uint64x2_t raw_multiply_even(uint64x2_t a, uint64x2_t b) {
    return vmull_u32(vmovn_u64(a), vmovn_u64(b));
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
