// How packed weights are stored: as they are, or as bfloat16 (the upper half of a float, rounded to nearest
// even; Kalamkar et al. 2019), two consecutive k in one 32-bit lane, the first in its lower half; or as int8, four k in
// a lane (int8_panels.h).
//
// Of bfloat16 only the memory is smaller where floats multiply: a tile turns each pair back into two floats and sums in
// float. A product with bfloat16 panels is then bit for bit the product with weights that were rounded beforehand.
#pragma once

#include "../math/vec.h"
#include "../recurrence/problem.h"
#include "low/kernels.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// How the weights of a product are kept, and by which kernels of low/kernels.h they are multiplied; 0: as floats.
struct Kept {
    WeightStorage storage = WeightStorage::full;
    std::int8_t low = 0;
    std::int16_t planes = 1;  // of the rows that int8 is multiplied with (low/kernels.h)

    // The same for the product with x. fine: its gates whose sums are to be finer (cell_table.h).
    RNNKERNELS_INLINE Kept of_input(unsigned fine) const {
        return {storage, low, static_cast<std::int16_t>(storage == WeightStorage::int8 && fine != 0 ? 2 : 1)};
    }
    // Bytes of a weight in panels, where one in full precision has so many.
    RNNKERNELS_INLINE Index bytes(Index full) const {
        return storage == WeightStorage::full ? full : storage == WeightStorage::int8 ? 1 : 2;
    }
    RNNKERNELS_INLINE Index row_lanes(Index k) const { return cpu::row_lanes(k, storage, planes); }
};

// Whether a set and dtype may have kernels for bfloat16 (low/sets.h): those of avx512 and of NEON. The backward, which
// has no other low precision, is compiled without them for all others.
template <class T>
inline constexpr bool kMayHavePairs = sizeof(T) == 4 && (Vec<T>::lanes == 16 || Vec<T>::lanes == 4);

// Rows of a panel in memory; the first of int8 hold scales.
constexpr Index stored_rows(Index k, WeightStorage storage, int planes = 1) {
    if (storage == WeightStorage::full) return k;
    return cpu::panel_head(storage, planes) + cpu::groups_of(k, storage);
}

// x rounded to the nearest bfloat16, as a float; a NaN stays a NaN.
RNNKERNELS_INLINE Vec<float> round_to_bfloat16(Vec<float> x) {
    using V = Vec<float>;
    const V::Bits bits = x.bits();
    const V::Bits rounded = (bits + 0x7fffU + ((bits >> 16) & 1U)) & 0xffff0000U;
    const V::Bits quiet = (bits | 0x00400000U) & 0xffff0000U;
    return V::from_bits(x.raw == x.raw ? rounded : quiet);
}

// The two floats of a lane.
RNNKERNELS_INLINE Vec<float> first_of_pair(Vec<float> pair) { return Vec<float>::from_bits(pair.bits() << 16); }
RNNKERNELS_INLINE Vec<float> second_of_pair(Vec<float> pair) {
    return Vec<float>::from_bits(pair.bits() & 0xffff0000U);
}

RNNKERNELS_INLINE float round_to_bfloat16(float x) {
    const auto bits = __builtin_bit_cast(std::uint32_t, x);
    const std::uint32_t rounded = bits + 0x7fffU + ((bits >> 16) & 1U);
    return __builtin_bit_cast(float, (x == x ? rounded : bits | 0x00400000U) & 0xffff0000U);
}

// What a weight is worth once it has been stored.
template <class T>
RNNKERNELS_INLINE Vec<T> as_stored(WeightStorage storage, Vec<T> weight) {
    if constexpr (sizeof(T) == 4) return storage == WeightStorage::bfloat16 ? round_to_bfloat16(weight) : weight;
    return weight;
}

// Stores `count` consecutive rows of a panel, one vector of columns each, `stride` apart; count is even but for
// the panel's last rows. Returns where the next row goes.
template <class T>
RNNKERNELS_INLINE T* store_panel_rows(WeightStorage storage, const Vec<T>* row, Index count, T* to, Index stride) {
    if constexpr (sizeof(T) == 4) {
        if (storage == WeightStorage::bfloat16) {
            for (Index k = 0; k < count; k += 2, to += stride) {
                const Vec<T> first = round_to_bfloat16(row[k]);
                const Vec<T> second = k + 1 < count ? round_to_bfloat16(row[k + 1]) : Vec<T>(T(0));
                Vec<T>::from_bits((first.bits() >> 16) | second.bits()).store(to);
            }
            return to;
        }
    }
    for (Index k = 0; k < count; ++k, to += stride) row[k].store(to);
    return to;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
