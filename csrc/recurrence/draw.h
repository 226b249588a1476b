// What hard attention draws: a place in each step and row, by a counter, or the likeliest. The same on every backend.
// Not here: the weights of the places (cpu/attention_row.h, cuda/attention_forward_bodies.h).
#pragma once

#include "masks.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// A uniform number in [0, 1) for a row of the caller's arrays (T*B); -1 where nothing is drawn.
template <class T>
RNNKERNELS_INLINE double uniform_of(const Attention& a, Index place) {
    if (a.greedy) return -1;
    const Counter counter{0, static_cast<std::uint32_t>(a.first_step + place / a.batch),
                          static_cast<std::uint32_t>(place % a.batch), static_cast<std::uint32_t>(Stream::places)};
    const auto words = random_words<T>(a.seed, counter).word[0];
    typename Vec<T>::BitsLane word[Vec<T>::lanes];
    std::memcpy(word, &words, sizeof word);
    return static_cast<double>(static_cast<std::uint32_t>(word[0])) / 4294967296.0;
}

// The place that it draws of those that may be looked at, looks(i), whose weights, weight(i), sum to 1: of one that
// rounding leaves beyond the sum the last with a weight. Of -1: the likeliest, the first of several.
template <class Looks, class Weight>
RNNKERNELS_INLINE Index draw_place(Index places, double uniform, Looks looks, Weight weight) {
    Index last = 0;
    double sum = 0, most = 0;
    for (Index i = 0; i < places; ++i) {
        if (!looks(i)) continue;
        const double here = static_cast<double>(weight(i));
        if (uniform < 0) {
            if (here > most) most = here, last = i;
            continue;
        }
        sum += here;
        if (here > 0) last = i;
        if (sum > uniform) break;
    }
    return last;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
