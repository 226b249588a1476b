// What a resident kernel makes of a float32 number before it is multiplied, beside storage.h's of the halves: how
// weights and h stand in registers and in a block's memory. Not here: where (geometry.h).
//
//   bits(value), number(bits)   a number as it is kept, and back
//   weight(array, at)           the same of the caller's weights
#pragma once

#include "../storage.h"
#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// An operand's bits: of a half 16, of float32 32.
template <class Stored>
using WordOf = decltype(Stored::bits(0.0F));
template <class Stored>
inline constexpr bool is_half = sizeof(WordOf<Stored>) == 2;

RNNKERNELS_INLINE std::uint32_t float_bits(float value) { return __builtin_bit_cast(std::uint32_t, value); }

// The weights of a call lie behind a pointer to halves, whatever they are.
RNNKERNELS_INLINE float float_weight(const std::uint16_t* array, Index at) {
    return static_cast<const float*>(static_cast<const void*>(array))[at];
}

// To the nearest with 10 bits of mantissa, ties away from zero; a NaN stays one. The caller's arrays keep what is not
// rounded.
struct Tf32 : Whole<float> {
    static constexpr bool kFull = false;
    RNNKERNELS_INLINE static std::uint32_t bits(float value) {
#if defined(__CUDA_ARCH__)
        std::uint32_t rounded;
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
        return rounded;
#else
        const std::uint32_t given = float_bits(value);
        if ((given & 0x7fffffffU) > 0x7f800000U) return 0x7fffffffU;
        return (given & 0x7fffffffU) == 0x7f800000U ? given : (given + 0x1000U) & 0xffffe000U;
#endif
    }
    RNNKERNELS_INLINE static float number(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }
    RNNKERNELS_INLINE static std::uint32_t weight(const std::uint16_t* array, Index at) {
        return bits(float_weight(array, at));
    }
};

// As it is.
struct Full : Whole<float> {
    static constexpr bool kFull = true;
    RNNKERNELS_INLINE static std::uint32_t bits(float value) { return float_bits(value); }
    RNNKERNELS_INLINE static float number(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }
    RNNKERNELS_INLINE static std::uint32_t weight(const std::uint16_t* array, Index at) {
        return float_bits(float_weight(array, at));
    }
};

// A number as it is behind the caller's arrays.
template <class Stored>
RNNKERNELS_INLINE float as_kept(float value) {
    if constexpr (is_half<Stored>)
        return Stored::number(Stored::bits(value));
    else
        return value;
}

// Whether operands are float32 as they are.
template <class Stored>
constexpr bool find_full() {
    if constexpr (is_half<Stored>)
        return false;
    else
        return Stored::kFull;
}
template <class Stored>
inline constexpr bool is_full = find_full<Stored>();

// Of arrays of a dtype.
constexpr Operands operands_of(Dtype storage, bool tf32) {
    if (storage != Dtype::float32) return Operands::halves;
    return tf32 ? Operands::tf32 : Operands::full;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
