// Panels of int8, as low/kernels.h describes them: q = round half even(w / scale) in [-127, 127], a scale for each
// column. Not here: the products with them (low/), floats and bfloat16 (panels.h).
#pragma once

#include "panels.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Scales of a vector of columns: those of the weight's rows where they are given, else the largest magnitude / 127. 0
// where the largest is below kLeastScaled or a given one is no normal number, and then the column counts as zeros; a
// NaN where the largest is not finite.
__attribute__((noinline)) inline Vec<float> column_scales(const ColumnRows<float>& from,
                                                          const UnitColumns<float>& columns, Index vector,
                                                          const int* row, Index k, const float* given) {
    using V = Vec<float>;
    V scale(0.0F);
    if (given) {
        float lane_scale[V::lanes];
        columns.each_lane(vector, [&](int lane, int gate, Index unit) {
            lane_scale[lane] = gate < 0 ? 0.0F : given[row[gate] * columns.units + unit];
        });
        scale = V::load(lane_scale);
    } else {
        V column[kPackedAtOnce<float>];
        for (Index first = 0; first < k; first += kPackedAtOnce<float>) {
            const Index count = k - first < kPackedAtOnce<float> ? k - first : kPackedAtOnce<float>;
            from.load(first, count, column);
            for (Index i = 0; i < count; ++i) scale = max(scale, abs(column[i]));
        }
        scale = where_gt(V(cpu::kLeastScaled), scale, V(0.0F), scale / V(127.0F));
    }
    constexpr float largest = 0x1.fffffep127F, least = 0x1p-126F;
    const V finite = where_gt(scale, V(largest), V(__builtin_nanf("")), scale);  // a NaN stays one
    return where_gt(V(least), finite, V(0.0F), finite);
}

// q of weights, as floats; 0 where the scale is 0.
RNNKERNELS_INLINE Vec<float> quantised(Vec<float> weight, Vec<float> scale) {
    using V = Vec<float>;
    const V zero(0.0F);
    const V exact = clamp(weight / where_eq(scale, zero, V(1.0F), scale), V(-127.0F), V(127.0F));
    constexpr float whole = 0x1.8p23F;  // added, it leaves no digits behind the point
    return where_eq(scale, zero, zero, (exact + V(whole)) - V(whole));
}

// The lowest byte of each lane: q + offset, of q as floats.
RNNKERNELS_INLINE Vec<float>::Bits byte_of(Vec<float> q, int offset) {
    const Vec<float> shifted = q + Vec<float>(0x1.8p23F + static_cast<float>(offset));
    return shifted.bits() & 0xffU;
}

// Packs panels [first, last), whose columns are those of all gates (panels.h: pack_gates).
// fine: the gates that the second plane of a row is multiplied with, where rows have one.
inline void pack_int8_gates(const Panels<float>& to, const float* weight, Index weight_row, const int* row,
                            const UnitColumns<float>& columns, unsigned fine, const float* scales, Index first,
                            Index last) {
    using V = Vec<float>;
    constexpr Index together = V::lanes > 4 ? V::lanes : 4;  // k
    const int offset = cpu::low_kernels(to.kept.low).offset;
    for (Index p = first; p < last; ++p) {
        const int width = to.width_of(p);
        for (int v = 0; v < width; ++v) {
            const Index vector = p * to.width + v;
            const ColumnRows<float> from(columns, vector, weight, row, weight_row);
            const V scale = column_scales(from, columns, vector, row, to.k, scales);
            float* target = to.data + p * to.panel_size() + v * V::lanes;
            scale.store(target);
            if (to.kept.planes == 2) {
                target += width * V::lanes;
                columns.each_lane(vector, [&](int lane, int gate, Index) {
                    target[lane] = gate >= 0 && (fine >> gate & 1U) != 0 ? 1.0F / cpu::kSecondPlane : 0.0F;
                });
            }
            for (Index k = 0; k < to.k; k += together) {
                V column[together];
                const Index here = to.k - k < together ? to.k - k : together;
                from.load(k, here, column);
                for (Index i = here; i < together; ++i) column[i] = V(0.0F);
                for (Index i = 0; i < here; i += 4) {
                    typename V::Bits four{};
                    for (int b = 0; b < 4; ++b) four |= byte_of(quantised(column[i + b], scale), offset) << (8 * b);
                    target += width * V::lanes;
                    V::from_bits(four).store(target);
                }
            }
        }
    }
}
// Of double, which is never kept so.
inline void pack_int8_gates(const Panels<double>&, const double*, Index, const int*, const UnitColumns<double>&,
                            unsigned, const float*, Index, Index) {}

}  // namespace rnnkernels::RNNKERNELS_TARGET
