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
            .convert(a + rows.first * stride, rows.step * stride, rows.count, w.k, w.kept.block(),
                     room + rows.first * lanes, rows.step * lanes);
    return {room, lanes};
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
