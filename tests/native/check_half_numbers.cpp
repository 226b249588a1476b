// The host's numbers of half precision (csrc/binding/half_numbers.h) by what the formats are: it compiles where each
// half is its sign, exponent and fraction, and each float becomes the nearest half, of two as near the even one.
#include <bit>
#include <cstdint>
#include <limits>

#include "binding/half_numbers.h"

namespace {

using rnnkernels::Dtype;
using rnnkernels::binding::half_of_number;
using rnnkernels::binding::number_of_half;

struct Format {
    Dtype dtype;
    int fraction_bits, exponent_bits;
};
constexpr Format kFloat16{Dtype::float16, 10, 5}, kBfloat16{Dtype::bfloat16, 7, 8};

constexpr double power(int of) {
    double value = 1;
    for (; of > 0; --of) value *= 2;
    for (; of < 0; ++of) value /= 2;
    return value;
}

// A finite half that is not negative, in double.
constexpr double value_of(const Format& f, int half) {
    const int bias = (1 << (f.exponent_bits - 1)) - 1, exponent = half >> f.fraction_bits;
    const int fraction = half & ((1 << f.fraction_bits) - 1), whole = 1 << f.fraction_bits;
    if (exponent == 0) return fraction * power(1 - bias - f.fraction_bits);
    return (whole + fraction) * power(exponent - bias - f.fraction_bits);
}

constexpr bool is(const Format& f, float number, int half) {
    const int sign = 1 << 15;
    return half_of_number(f.dtype, number) == half && half_of_number(f.dtype, -number) == (half | sign);
}

// All of a format whose number is `first` and a multiple of `stride` behind it.
constexpr bool holds(const Format& f, int first, int stride) {
    const int infinity = ((1 << f.exponent_bits) - 1) << f.fraction_bits;
    for (int half = first; half < infinity; half += stride) {
        const double here = value_of(f, half);
        const auto number = static_cast<float>(here);
        if (number_of_half(f.dtype, static_cast<std::uint16_t>(half)) != number) return false;
        if (number_of_half(f.dtype, static_cast<std::uint16_t>(half | 1 << 15)) != -number) return false;
        if (!is(f, number, half)) return false;
        // Behind the largest there would be one more, which is infinity.
        const double next = half + 1 < infinity ? value_of(f, half + 1) : 2 * here - value_of(f, half - 1);
        const auto middle = static_cast<float>((here + next) / 2);
        if (!is(f, middle, half % 2 == 0 ? half : half + 1)) return false;
        const auto bits = std::bit_cast<std::uint32_t>(middle);
        if (!is(f, std::bit_cast<float>(bits - 1), half) || !is(f, std::bit_cast<float>(bits + 1), half + 1))
            return false;
    }
    return true;
}

constexpr bool ends(const Format& f) {
    constexpr float infinite = std::numeric_limits<float>::infinity();
    const int infinity = ((1 << f.exponent_bits) - 1) << f.fraction_bits;
    const float nan = number_of_half(f.dtype, static_cast<std::uint16_t>(infinity + 1));
    const auto still = half_of_number(f.dtype, std::numeric_limits<float>::quiet_NaN());
    // A NaN whose bits are all below the half's.
    const auto low = half_of_number(f.dtype, std::bit_cast<float>(0x7f800001U));
    return is(f, infinite, infinity) && number_of_half(f.dtype, static_cast<std::uint16_t>(infinity)) == infinite &&
           nan != nan && (still & 0x7fff) > infinity && (low & 0x7fff) > infinity &&
           is(f, std::numeric_limits<float>::max(), infinity);
}

// In parts: a compiler counts the steps of each.
static_assert(ends(kFloat16) && ends(kBfloat16));
static_assert(holds(kFloat16, 0, 7) && holds(kBfloat16, 1, 61));
static_assert(holds(kFloat16, 30 * 1024 - 40, 1) && holds(kFloat16, 1000, 1021));
static_assert(holds(kBfloat16, 254 * 128, 1));

}  // namespace
