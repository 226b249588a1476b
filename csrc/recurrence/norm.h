// A Euclidean norm whose squares leave the range of T though the norm itself does not: in float32 that is below 1e-19
// and above 2e19. The sum of squares is made three times, of the numbers as they are and of the numbers times 2^k and
// 2^-k; the result is the root of the one that neither lost nor overflowed. A factor of 2^k changes no bit of a sum,
// so that the three agree wherever more than one of them is in range.
#pragma once

#include "../math/functions.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
struct NormScale {
    static constexpr bool single = sizeof(T) == sizeof(float);
    // The squares of numbers times `up` are normal numbers, even of the smallest normal number.
    static constexpr T up = single ? T(0x1p96) : T(0x1p700);
    static constexpr T down = single ? T(0x1p-96) : T(0x1p-700);
    // Above it a sum of plain squares has lost nothing that its last bit would show.
    static constexpr T least = single ? T(0x1p-80) : T(0x1p-900);
    static constexpr T most = single ? T(0x1p126) : T(0x1p1022);
};

// The norm, from the sums of the squares: as they are, of numbers times `up`, of numbers times `down`.
template <class T>
RNNKERNELS_INLINE T norm_of_sums(T plain, T raised, T lowered) {
    using S = NormScale<T>;
    if (plain < S::least) return square_root(raised) * S::down;
    if (plain > S::most) return square_root(lowered) * S::up;
    return square_root(plain);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
