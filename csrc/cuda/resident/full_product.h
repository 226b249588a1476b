// The product of a step in float32, by multiply-adds: weights in registers, h (in a backward gate gradients) in the
// block's memory.
//
// A lane has the four values of its units for every eighth four of k (geometry.h: weight_place), for all rows of its
// group. One load of four numbers of h serves 16 multiply-adds: a processor's memory gives them about as fast as
// they are used. Then eight lanes' sums become one, and each lane has the values of one row.
//
// A sum's order is fixed: eight chains of fma from zero in ascending k, added by halves. It is the same for any number
// of rows, so a row's bits do not depend on the batch.
#pragma once

#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Machine>
struct FullProduct {
    template <class Value>
    using Own = typename Machine::template Own<Value>;
    using Sums = Own<float>[kGroup][kLaneValues];

    const Machine& m;

    RNNKERNELS_INLINE void clear(Sums& sum) const {
        m.lanes([&](int lane) RNNKERNELS_INLINED {
            RNNKERNELS_IN_REGISTERS
            for (int i = 0; i < kGroup * kLaneValues; ++i) sum[i / kLaneValues][i % kLaneValues][lane] = 0.0F;
        });
    }

    // Four tiles along k of one tile's weights, with the numbers from a column of the buffer on; wanted(value): whether
    // a value is anything.
    template <class Wanted>
    RNNKERNELS_INLINE void add(Sums& sum, const Own<unsigned> (*weight)[kLaneValues], int buffer, int column,
                               Wanted wanted) const {
        RNNKERNELS_IN_REGISTERS
        for (int row = 0; row < resident_of(m.shape()).rows; ++row)
            m.lanes([&](int lane) RNNKERNELS_INLINED {
                float h[4];
                m.load_numbers(lane, buffer, row, column + weight_place(resident_of(m.shape()), lane, 0, 0).k, h);
                RNNKERNELS_IN_REGISTERS
                for (int i = 0; i < 4; ++i) RNNKERNELS_IN_REGISTERS
                for (int value = 0; value < kLaneValues; ++value) {
                    if (!wanted(value)) continue;
                    const float w = __builtin_bit_cast(float, weight[i][value][lane]);
                    sum[row][value][lane] = raw_fma(w, h[i], sum[row][value][lane]);
                }
            });
    }

    // Each lane's sums of its row, in the first of `sum`.
    template <class Wanted>
    RNNKERNELS_INLINE void reduce(Sums& sum, Wanted wanted) const {
        RNNKERNELS_IN_REGISTERS
        for (int round = 0; round < 3; ++round) {
            const int distance = round_distance(round), left = resident_of(m.shape()).rows >> round;
            RNNKERNELS_IN_REGISTERS
            for (int row = 0; row < kGroup / 2; ++row) RNNKERNELS_IN_REGISTERS
            for (int value = 0; value < kLaneValues; ++value) {
                if ((row > 0 && row >= left / 2) || !wanted(value))
                    continue;  // no bound of the loop: that is a constant
                const Own<float>& lower = sum[left > 1 ? 2 * row : 0][value];
                const Own<float>& upper = sum[left > 1 ? 2 * row + 1 : 0][value];
                Own<float> given, kept;
                m.lanes([&](int lane) RNNKERNELS_INLINED {
                    given[lane] = lane & distance ? lower[lane] : upper[lane];
                    kept[lane] = lane & distance ? upper[lane] : lower[lane];
                });
                m.shuffle(given, distance);
                m.lanes([&](int lane) RNNKERNELS_INLINED { sum[row][value][lane] = kept[lane] + given[lane]; });
            }
        }
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
