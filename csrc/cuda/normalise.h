// What a normalised cell has between product and maths: sums over a row, made by the threads of one team, and back
// through them. The cell's own bodies run before and after, unit by unit; what is kept is what the CPU keeps. A matrix
// of some vectors per row is gone through as one row of all of them.
#pragma once

#include "arrays.h"
#include "queue.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr double kNormalEpsilon = 1e-5;

// What a row is normalised by.
template <class T>
struct Moments {
    T mean;
    T scale;  // 1 / sqrt(variance + epsilon)

    RNNKERNELS_INLINE T normal(T a) const { return (a - mean) * scale; }
};

template <class T>
RNNKERNELS_INLINE Moments<T> moments_of(const Team& team, const T* row, Index count) {
    const T size = static_cast<T>(count);
    const T mean = team.sum<T>(count, [row](Index i) { return row[i]; }) / size;
    const T variance = team.sum<T>(count, [row, mean](Index i) { return (row[i] - mean) * (row[i] - mean); }) / size;
    return {mean, T(1) / square_root(variance + T(kNormalEpsilon))};
}

// Rows of a matrix become gain * normal + shift.
template <class T>
struct Normalised {
    const T* from;
    T* to;  // may be from
    Index count;
    const T* gain;
    const T* shift;  // null: none
    T* normals;      // kept for the backward, rows `kept_row` apart; null: not kept
    Index kept_row;
    T* scales;  // likewise, `scales_row` apart
    Index scales_row;
};

// Over rows. `from`: the row of it.
template <class T>
RNNKERNELS_INLINE void normalise_row(const Normalised<T>& of, const T* from, Index row, const Team& team) {
    const Moments<T> moments = moments_of(team, from, of.count);
    T* const to = of.to + row * of.count;
    team.each(of.count, [&](Index i) {
        const Vec<T> normal(moments.normal(from[i]));
        to[i] = fma(Vec<T>(of.gain[i]), normal, Vec<T>(of.shift ? of.shift[i] : T(0))).raw;
        if (of.normals) of.normals[row * of.kept_row + i] = normal.raw;
    });
    if (of.scales) team.each(1, [&](Index) { of.scales[row * of.scales_row] = moments.scale; });
}

template <class T>
struct NormaliseRows {
    Normalised<T> of;

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        normalise_row(of, of.from + row * of.count, row, team);
    }
};

// The x part: rows of a table of tokens where there is one; NaN for a token that there is not.
template <class T>
struct NormaliseX {
    ForwardArrays<T> a;
    Normalised<T> of;

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        const T* from = a.x_part + row * of.count;
        if (a.table) {
            const std::int64_t token = a.tokens[a.place(row)];
            from = token >= 0 && token < a.input ? a.table + token * of.count : nullptr;
        }
        if (from) return normalise_row(of, from, row, team);
        const T nan = T(__builtin_nanf(""));
        team.each(of.count, [&](Index i) {
            of.to[row * of.count + i] = nan;
            if (of.normals) of.normals[row * of.kept_row + i] = nan;
        });
        if (of.scales) team.each(1, [&](Index) { of.scales[row * of.scales_row] = nan; });
    }
};

// Back through it: from the gradients dy of what was normalised, moved and scaled to those of what it was. dy stands in
// `gates` columns of the rows of gradients from `from` on; what becomes of it in as many from `to` on or, where that is
// null, in `result`.
template <class T>
struct NormaliseBackward {
    BackwardArrays<T> a;
    Index columns;  // of a row of gradients
    int gates, from, to;
    const T* gain;     // (gates*H)
    const T* normals;  // rows a.kept_row apart
    const T* scales;   // rows `scales_row` apart
    Index scales_row;
    T* result;  // (rows, gates*H)

    RNNKERNELS_INLINE void operator()(Index row, const Team& team) const {
        const auto g = [&](int i, Index unit) { return dy(row, i, unit) * Vec<T>(gain[i * a.hidden + unit]); };
        const auto mean = [&](auto use) {
            return team.sum<T>(a.hidden, [&](Index unit) {
                T part = 0;
                for (int i = 0; i < gates; ++i) part += use(i, unit).raw;
                return part;
            }) / static_cast<T>(gates * a.hidden);
        };
        const T of_g = mean(g);
        const T of_product = mean([&](int i, Index unit) { return g(i, unit) * normal(row, i, unit); });
        const Vec<T> scale(scales[row * scales_row]);
        team.each(a.hidden, [&](Index unit) {
            for (int i = 0; i < gates; ++i) {
                const Vec<T> d = fma(-normal(row, i, unit), Vec<T>(of_product), g(i, unit) - Vec<T>(of_g)) * scale;
                if (result)
                    result[(row * gates + i) * a.hidden + unit] = d.raw;
                else
                    a.store(a.gradient, (row * columns + to + i) * a.hidden + unit, d);
            }
        });
    }

private:
    RNNKERNELS_INLINE Vec<T> dy(Index row, int i, Index unit) const {
        return a.load(a.gradient, (row * columns + from + i) * a.hidden + unit);
    }
    RNNKERNELS_INLINE Vec<T> normal(Index row, int i, Index unit) const {
        return Vec<T>(normals[row * a.kept_row + i * a.hidden + unit]);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
