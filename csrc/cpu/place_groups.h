// A few places of a row at a time: their sums of lanes are made together, and where their values are few they share
// what is read of the row. What a place gets is the same, to the last bit, in any company. Not here: which places a row
// looks at (attention_row.h).
#pragma once

#include <type_traits>

#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kPlacesTogether = 4;
template <int count>
using Together = std::integral_constant<int, count>;

// use(how many, their numbers) for the places of which looks(i) is true: as many together as can be, the rest alone.
template <class Looks, class Use>
RNNKERNELS_INLINE void each_group_of_places(Index places, Looks looks, Use use) {
    Index at[kPlacesTogether];
    int count = 0;
    for (Index i = 0; i < places; ++i) {
        if (!looks(i)) continue;
        at[count++] = i;
        if (count < kPlacesTogether) continue;
        use(Together<kPlacesTogether>{}, at);
        count = 0;
    }
    for (int k = 0; k < count; ++k) use(Together<1>{}, at + k);
}

// Whether places are read side by side: so many bytes of each lie near each other. Longer ones are read one after the
// other, which is how memory gives them fastest: side by side took up to 1.7 times as long (values of 2 KB).
template <class T>
RNNKERNELS_INLINE bool side_by_side(Index size) {
    return size * static_cast<Index>(sizeof(T)) <= 1024;
}

// use(first value, how many) for vectors of `size` values: of all but the last the number is known to the compiler.
template <class T, class Use>
RNNKERNELS_INLINE void each_vector(Index size, Use use) {
    constexpr Index lanes = Vec<T>::lanes;
    Index at = 0;
    for (; at + lanes <= size; at += lanes) use(at, lanes);
    if (at < size) use(at, size - at);
}

// The sum of the lanes of each vector, as sum_of_lanes makes it.
template <class T, int count>
RNNKERNELS_INLINE void sums_of_lanes(const Vec<T> (&of)[count], T* sums) {
    using V = Vec<T>;
    if constexpr (count == 4 && V::lanes >= 4) {
        const auto neighbours = [](V a, V b) RNNKERNELS_INLINED {
            return V::template unzip<0, 1, V::lanes>(a, b) + V::template unzip<1, 1, V::lanes>(a, b);
        };
        V all = neighbours(neighbours(of[0], of[1]), neighbours(of[2], of[3]));
#pragma GCC unroll 4
        for (int left = V::lanes / 4; left > 1; left /= 2) all = neighbours(all, all);
        all.store(sums, 4);
    } else {
        for (int p = 0; p < count; ++p) sums[p] = sum_of_lanes(of[p]).first_lane();
    }
}

// Places side by side are as many streams as there are places, too short for the processor to foresee: what the next
// group will read is asked for.
RNNKERNELS_INLINE void ask_for(const void* memory) { __builtin_prefetch(memory); }

// A sum over `count` products of values that follow each other, of which each lane has a part.
template <class T>
RNNKERNELS_INLINE Vec<T> dot_in_lanes(const T* x, const T* y, Index count) {
    using V = Vec<T>;
    constexpr int together = 4;
    V sum[together];
    for (V& s : sum) s = V(T(0));
    Index at = 0;
    for (; at + together * V::lanes <= count; at += together * V::lanes)
#pragma GCC unroll 4
        for (int k = 0; k < together; ++k)
            sum[k] = fma(V::load(x + at + k * V::lanes), V::load(y + at + k * V::lanes), sum[k]);
    for (int k = 0; at < count; at += V::lanes, ++k)
        sum[k] = fma(V::load(x + at, count - at), V::load(y + at, count - at), sum[k]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// sums[p] = rows[at[p]] . x, of rows (L, size).
template <int count, class T>
RNNKERNELS_INLINE void dots(const T* rows, Index size, const Index* at, const T* x, T* sums) {
    Vec<T> sum[count];
    for (int p = 0; p < count; ++p) sum[p] = dot_in_lanes(rows + at[p] * size, x, size);
    sums_of_lanes<T>(sum, sums);
}

// to (size, whole vectors) += the sum over p of factors[p] rows[at[p]], in the order of p.
template <int count, class T>
RNNKERNELS_INLINE void add_rows(const T* rows, Index size, const Index* at, const T* factors, T* to) {
    using V = Vec<T>;
    if constexpr (count > 1)
        if (!side_by_side<T>(size)) {
            for (int p = 0; p < count; ++p) add_rows<1>(rows, size, at + p, factors + p, to);
            return;
        }
    each_vector<T>(size, [&](Index k, Index valid) RNNKERNELS_INLINED {
        V sum = V::load(to + k);
#pragma GCC unroll 4
        for (int p = 0; p < count; ++p) {
            const T* const from = rows + at[p] * size + k;
            if constexpr (count > 1) ask_for(from + count * size);
            sum = fma(V(factors[p]), V::load(from, valid), sum);
        }
        sum.store(to + k);
    });
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
