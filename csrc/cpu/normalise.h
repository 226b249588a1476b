// The normalisation of a row, forward and backward, with fixed orders of summation.
//
//   forward   n = (a - mean(a)) / sqrt(var(a) + epsilon),   y = gain n + shift
//   backward  da = (g - mean(g) - n mean(g n)) / sqrt(var(a) + epsilon),   g = gain dy
//
// A row's mean is summed first, then the squares of the distances from it: sums of squares alone lose all digits of a
// variance that is small beside the mean. The order of a sum depends on the row's length and the vector's width only,
// never on threads or neighbours.
// Not here: where rows stand and who normalises them (normalised_forward.h, normalised_backward.h).
#pragma once

#include "../math/functions.h"
#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr double kNormalEpsilon = 1e-5;

// The sum of f over `count` values that follow each other, in every lane.
template <class T, class Function>
RNNKERNELS_INLINE Vec<T> sum_of_row(const T* row, Index count, Function f) {
    using V = Vec<T>;
    constexpr int together = 4, lanes = V::lanes;
    V sum[together];
    for (V& s : sum) s = V(T(0));
    Index i = 0;
    for (; i + together * lanes <= count; i += together * lanes)
#pragma GCC unroll 4
        for (int v = 0; v < together; ++v) sum[v] = sum[v] + f(V::load(row + i + v * lanes));
    for (int v = 0; i < count; i += lanes, ++v)
        sum[v] = sum[v] + first_lanes(f(V::load(row + i, count - i)), count - i);
    return sum_of_lanes((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

// What a row is normalised by.
template <class T>
struct Moments {
    using V = Vec<T>;
    V mean;
    T scale;  // 1 / sqrt(variance + epsilon)

    RNNKERNELS_INLINE V normal(V a) const { return (a - mean) * V(scale); }
};

template <class T>
RNNKERNELS_INLINE Moments<T> moments_of(const T* row, Index count) {
    using V = Vec<T>;
    const V size(static_cast<T>(count));
    const V mean = sum_of_row(row, count, [](V a) RNNKERNELS_INLINED { return a; }) / size;
    const V variance =
        sum_of_row(row, count, [mean](V a) RNNKERNELS_INLINED { return (a - mean) * (a - mean); }) / size;
    return {mean, T(1) / square_root(variance.first_lane() + T(kNormalEpsilon))};
}

// The two sums of a row's backward, a block of units at a time, and what they give.
template <class T>
class NormalGradient {
public:
    using V = Vec<T>;

    // A block's part of them, sums over its gates: of g, and of g times what was normalised; of its first `valid`
    // lanes.
    RNNKERNELS_INLINE void add(V of_g, V of_product, Index valid) {
        g_ = g_ + first_lanes(of_g, valid);
        product_ = product_ + first_lanes(of_product, valid);
    }
    // Sums become means over `count` values.
    RNNKERNELS_INLINE void finish(Index count, T scale) {
        const V size(static_cast<T>(count));
        g_ = sum_of_lanes(g_) / size;
        product_ = sum_of_lanes(product_) / size;
        scale_ = V(scale);
    }
    RNNKERNELS_INLINE V through(V g, V normal) const { return fma(-normal, product_, g - g_) * scale_; }

private:
    V g_ = V(T(0)), product_ = V(T(0)), scale_ = V(T(0));
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
