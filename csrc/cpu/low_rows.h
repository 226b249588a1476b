// The rows of a product as it reads them: where they stand or, for products in low precision, converted before a phase
// into the thread's scratch memory. How they are converted is the kernels' own (low/kernels.h).
#pragma once

#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The name of this set, for cpu/low/kernels.h.
#define RNNKERNELS_NAME_(set) #set
#define RNNKERNELS_NAME(set) RNNKERNELS_NAME_(set)
inline constexpr const char* kSetName = RNNKERNELS_NAME(RNNKERNELS_TARGET);

// How a call or a preparation keeps its weights (float only). Without an instruction for bfloat16 products are those of
// floats, with weights as they are kept.
inline Kept kept_as(WeightStorage storage, Products products) {
    if (storage == WeightStorage::int8)
        return {storage, static_cast<std::int8_t>(cpu::low_kernels_of(kSetName, storage))};
    if (products == Products::full) return {storage};
    const int low = cpu::low_kernels_of(kSetName, WeightStorage::bfloat16);
    return low == 0 ? Kept{storage} : Kept{WeightStorage::bfloat16, static_cast<std::int8_t>(low)};
}

template <class T>
struct ProductRows {
    const T* data;
    Index stride;

    RNNKERNELS_INLINE const T* at(Index row) const { return data + row * stride; }
};

__attribute__((noinline)) inline ProductRows<float> convert_rows(const Panels<float>& w, const float* a, Index stride,
                                                                 RowSet rows, float* room) {
    const Index lanes = w.kept.row_lanes(w.k);
    if (rows.count > 0)
        cpu::low_kernels(w.kept.low)
            .convert(a + rows.first * stride, rows.step * stride, rows.count, w.k, w.kept.planes,
                     room + rows.first * lanes, rows.step * lanes);
    return {room, lanes};
}

// The rows of a product with panels that were packed in pairs (pack_transposed): segment after segment, each from a
// lane on. a.data: row 0. room: for all rows up to the last.
__attribute__((noinline)) inline ProductRows<float> convert_segments(const Kept& kept, const RowBlock<float>& a,
                                                                     RowSet rows, float* room) {
    const Index of_segment = kept.row_lanes(a.length), lanes = a.segments * of_segment;
    for (int i = 0; i < a.segments && rows.count > 0; ++i)
        cpu::low_kernels(kept.low).convert(a.data + rows.first * a.row_stride + a.offsets[i], rows.step * a.row_stride,
                                           rows.count, a.length, kept.planes,
                                           room + rows.first * lanes + i * of_segment, rows.step * lanes);
    return {room, lanes};
}

// `rows` of them, one after the other, times panels; any number (low/kernels.h).
RNNKERNELS_INLINE void product_of_pairs(const float* a, Index a_row, Index rows, const Panels<float>& w,
                                        const float* init, float* out, Index out_stride) {
    cpu::low_kernels(w.kept.low)
        .product({a, a_row, static_cast<int>(rows), w.width, w.data, w.panel_size(), w.k, w.kept.planes, w.vectors,
                  init, 0, out, out_stride});
}

// These rows of `a` as products with `w` read them; room: for all rows up to the last of them.
template <class T>
RNNKERNELS_INLINE ProductRows<T> operand_of(const Panels<T>& w, const T* a, Index stride, RowSet rows, T* room) {
    if constexpr (sizeof(T) == 4)
        if (w.kept.low != 0) [[unlikely]]
            return convert_rows(w, a, stride, rows, room);
    return {a, stride};
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
