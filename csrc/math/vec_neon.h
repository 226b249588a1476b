// NEON (AArch64): 128-bit vectors, 32 registers.
#pragma once

#include <arm_neon.h>

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 16;
inline constexpr int kRegisters = 32;

RNNKERNELS_INLINE float32x4_t raw_fma(float32x4_t a, float32x4_t b, float32x4_t c) { return vfmaq_f32(c, a, b); }
RNNKERNELS_INLINE float64x2_t raw_fma(float64x2_t a, float64x2_t b, float64x2_t c) { return vfmaq_f64(c, a, b); }

inline constexpr bool kMaskedMemory = false;  // no loads and stores of some lanes: vec.h goes lane by lane

}  // namespace rnnkernels::RNNKERNELS_TARGET
