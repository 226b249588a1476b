// What the backward engine does before the steps of a call and of a chunk.
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
inline void BackwardEngine<T>::begin() {
    if (shared_.dropped.any() || attends())
        phases_.everyone([&](int share, int shares) {
            shared_.dropped.fill(share, shares);
            if (attends()) begin_attending(share, shares);
        });
    phases_.everyone([&](int share, int shares) {
        shared_.pack_weights(share, shares);
        begin_rows(split_range(shape_.batch, 1, shares, share));
    });
}

template <class T>
inline void BackwardEngine<T>::begin_rows(Range rows) {
    for (Index row = rows.first; row < rows.last; ++row)
        for (int k = projected() ? 1 : 0; k < table_.states; ++k) {
            const T* from = static_cast<const T*>(shared_.call.d_final_state[k]);
            for (Index block = 0; block < shared_.blocks; ++block) {
                const V d = from ? V::load(from + row * shape_.hidden + block * lanes, valid(block)) : V(T(0));
                d.store(carried(row) + (block * table_.states + k) * lanes);
            }
        }
}

template <class T>
inline void BackwardEngine<T>::begin_steps(Index first, Index last) {
    if (last == shape_.steps) return;
    const Index behind = rows_.first(last) - rows_.first(first), size = shared_.gradient_row();
    each_part(0, [&] {
        part_.rows_of_step(rows_, last).each([&](Index row) {
            for (int i = 0; i < table_.slots; ++i)
                for (Index block = part_.blocks.first; block < part_.blocks.last; ++block) {
                    T* const at = shared_.gradient + row * size + i * shared_.padded() + block * lanes;
                    V::load(at).store(at + behind * size);
                }
        });
    });
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
