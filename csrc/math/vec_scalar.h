// One lane per "vector": the set for processors without a vector header of their own, and the plainest
// thing to debug. There is no fused multiply-add: fma() rounds twice, so its results differ in the last
// bits from the other sets'.
#pragma once

#include "target.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kVectorBytes = 0;  // a register is one lane
inline constexpr int kRegisters = 16;

template <class T>
struct Register {
    using type = T;
    using in_memory = T;
    static constexpr int lanes = 1;
};

RNNKERNELS_INLINE float raw_fma(float a, float b, float c) { return a * b + c; }
RNNKERNELS_INLINE double raw_fma(double a, double b, double c) { return a * b + c; }

// The larger, the smaller of the two; b where either is a NaN.
RNNKERNELS_INLINE float raw_max(float a, float b) { return a > b ? a : b; }
RNNKERNELS_INLINE double raw_max(double a, double b) { return a > b ? a : b; }
RNNKERNELS_INLINE float raw_min(float a, float b) { return a < b ? a : b; }
RNNKERNELS_INLINE double raw_min(double a, double b) { return a < b ? a : b; }

RNNKERNELS_INLINE float raw_sqrt(float x) { return __builtin_sqrtf(x); }
RNNKERNELS_INLINE double raw_sqrt(double x) { return __builtin_sqrt(x); }

inline constexpr bool kMaskedMemory = false;  // no loads and stores of some lanes: vec.h goes lane by lane

using RawWide = std::uint64_t;
// The 64-bit product of the lower 32 bits.
RNNKERNELS_INLINE RawWide raw_multiply_even(RawWide a, RawWide b) { return (a & 0xffffffffU) * (b & 0xffffffffU); }

}  // namespace rnnkernels::RNNKERNELS_TARGET
