// What a call's random masks (problem.h: Noise) do to values in registers.
//
//   zoneout            n = d s + (1 - d) n, d in {0, 1} for each unit of a state (Krueger et al. 2017); in evaluation
//                      d is its expectation, the rate
//   recurrent dropout  W_hh (m v), m in {0, 1/(1 - rate)} for each unit, whichever vector v a gate multiplies: h, the
//                      gated state or what is fed back; per step, or the same for all of a row's steps (Gal and
//                      Ghahramani 2016)
//   weight dropout     (m W_hh) v, m for each weight, the same in all steps (Wan et al. 2013; Merity et al. 2018)
//
// A mask belongs to a step and a row of the caller's arrays, never to a thread or to who else is in the batch; and to a
// seed, never to a backend. Not here: who applies weight dropout (cpu/dropped_weights.h, cuda/convert.h).
#pragma once

#include "../math/philox.h"
#include "rows.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What a stream of random words is for: the lowest byte of Counter::stream, below the layer.
enum class Stream : std::uint32_t {
    zoneout = 0,  // and 1: a word for each state
    recurrent_step = 2,
    recurrent_sequence = 3,
    weight_hh = 4,
    weight_gg = 5,
    elements = 6,
    places = 7,  // of hard attention
};

RNNKERNELS_INLINE std::uint32_t stream_of(const Noise& noise, Stream stream) {
    return noise.layer << 8 | static_cast<std::uint32_t>(stream);
}

// A random bit that is 1 with probability `rate`, in every lane of a word.
template <class T>
class Chance {
public:
    using V = Vec<T>;
    Chance() : Chance(0) {}
    explicit Chance(double rate) : limit_(static_cast<typename V::BitsLane>(rate * 4294967296.0)) {}
    // `yes` where the word says 1, else `no`.
    RNNKERNELS_INLINE V choose(typename V::Bits word, V yes, V no) const {
        return V(word < typename V::Bits{} + limit_ ? yes.raw : no.raw);
    }

private:
    typename V::BitsLane limit_;
};

template <class T>
class Masks {
public:
    using V = Vec<T>;

    Masks(const Noise& noise, const Rows& rows)
        : zones(noise.zones),
          drops(noise.recurrent > 0 && !noise.expected),
          noise_(noise),
          rows_(rows),
          dropped_(noise.recurrent) {
        for (int k = 0; k < kMaxStates; ++k) zoned_[k] = Chance<T>(noise.zoneout[k]);
        scale_ = static_cast<T>(1 / (1 - noise.recurrent));
    }

    bool zones = false;  // zoneout
    bool drops = false;  // recurrent dropout

    // n[] becomes what of s[] and n[] each unit of `states` states keeps. `row`: among those of all steps.
    RNNKERNELS_INLINE void zone(int states, Index row, Index block, const V* s, V* n) const {
        if (noise_.expected) {
            RNNKERNELS_UNROLL(8)
            for (int k = 0; k < states; ++k) n[k] = fma(V(static_cast<T>(noise_.zoneout[k])), s[k] - n[k], n[k]);
            return;
        }
        Words<T> words{};
        RNNKERNELS_UNROLL(8)  // so that on a GPU s[] and n[] stay in registers
        for (int k = 0; k < states; ++k) {
            if (k % 4 == 0) words = words_of(row, block, static_cast<std::uint32_t>(k / 4));
            n[k] = zoned_[k].choose(words.word[k % 4], s[k], n[k]);
        }
    }
    // The backward of zone: dn[] is divided into what goes on to the cell and what goes to the states before, ds[].
    RNNKERNELS_INLINE void unzone(int states, Index row, Index block, V* dn, V* ds) const {
        if (noise_.expected) {
            RNNKERNELS_UNROLL(8)
            for (int k = 0; k < states; ++k) {
                ds[k] = V(static_cast<T>(noise_.zoneout[k])) * dn[k];
                dn[k] = dn[k] - ds[k];
            }
            return;
        }
        Words<T> words{};
        RNNKERNELS_UNROLL(8)  // so that on a GPU s[] and n[] stay in registers
        for (int k = 0; k < states; ++k) {
            if (k % 4 == 0) words = words_of(row, block, static_cast<std::uint32_t>(k / 4));
            ds[k] = zoned_[k].choose(words.word[k % 4], dn[k], V(T(0)));
            dn[k] = zoned_[k].choose(words.word[k % 4], V(T(0)), dn[k]);
        }
    }
    // What a recurrent weight's operand is multiplied by in a row's step.
    RNNKERNELS_INLINE V factor(Index row, Index block) const {
        Counter c = counter(row, block, noise_.per_step ? Stream::recurrent_step : Stream::recurrent_sequence);
        if (!noise_.per_step) c.step = 0;
        return dropped_.choose(random_words<T>(noise_.seed, c).word[0], V(T(0)), V(scale_));
    }

private:
    RNNKERNELS_DEVICE Counter counter(Index row, Index block, Stream stream) const {
        const Index place = noise_.places ? noise_.places[row] : rows_.place(row);
        return {static_cast<std::uint32_t>(block * V::lanes),
                static_cast<std::uint32_t>(noise_.first_step + place / noise_.batch),
                static_cast<std::uint32_t>(place % noise_.batch), stream_of(noise_, stream)};
    }
    RNNKERNELS_DEVICE Words<T> words_of(Index row, Index block, std::uint32_t more) const {
        Counter c = counter(row, block, Stream::zoneout);
        c.stream += more;
        return random_words<T>(noise_.seed, c);
    }

    Noise noise_;
    Rows rows_;
    Chance<T> zoned_[kMaxStates], dropped_;
    T scale_ = 1;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
