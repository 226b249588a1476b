// Numbers of half precision on the host, where a few of them are summed: read as float, rounded once when written. No
// type of the compiler's: not every one that builds this has them. Not here: the kernels' own (cuda/storage.h).
#pragma once

#include <bit>
#include <cstdint>

#include "../recurrence/problem.h"

namespace rnnkernels::binding {

// Whether calls have such arrays: a GPU's alone.
#if defined(RNNKERNELS_DEVICE_ARRAYS)
inline constexpr bool kHasHalves = true;
#else
inline constexpr bool kHasHalves = false;
#endif

constexpr bool is_half(Dtype dtype) { return dtype == Dtype::bfloat16 || dtype == Dtype::float16; }

constexpr float number_of_half(Dtype dtype, std::uint16_t half) {
    const std::uint32_t bits = half;
    if (dtype == Dtype::bfloat16) return std::bit_cast<float>(bits << 16);
    const std::uint32_t sign = (bits & 0x8000U) << 16, exponent = bits >> 10 & 0x1fU, fraction = bits & 0x3ffU;
    if (exponent == 0) return (sign ? -0x1p-24f : 0x1p-24f) * static_cast<float>(fraction);
    return std::bit_cast<float>(sign | (exponent == 0x1fU ? 0xffU : exponent + 112) << 23 | fraction << 13);
}

// The nearest, ties to even; a NaN stays one.
constexpr std::uint16_t half_of_number(Dtype dtype, float number) {
    const auto bits = std::bit_cast<std::uint32_t>(number);
    const std::uint32_t sign = bits & 0x80000000U, size = bits & 0x7fffffffU;
    const bool nan = size > 0x7f800000U;
    if (dtype == Dtype::bfloat16)
        return static_cast<std::uint16_t>((nan ? bits | 0x400000U : bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
    std::uint32_t half = 0;
    if (nan)
        half = 0x7e00U;
    else if (size >= 0x477ff000U)  // 65520, which is nearer to 65536 than to the largest
        half = 0x7c00U;
    else if (size < 0x38800000U)  // below 2^-14: multiples of 2^-24, as the sum with 0.5 is
        half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(size) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
    else
        half = (size - (112U << 23) + 0xfffU + (size >> 13 & 1U)) >> 13;
    return static_cast<std::uint16_t>(sign >> 16 | half);
}

}  // namespace rnnkernels::binding
