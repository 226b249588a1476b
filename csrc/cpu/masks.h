// What a call's random masks (recurrence/problem.h: Noise) do to values in registers and to whole matrices.
//
//   zoneout            n = d s + (1 - d) n, d in {0, 1} for each unit of a state (Krueger et al. 2017); in evaluation
//                      d is its expectation, the rate
//   recurrent dropout  W_hh (m v), m in {0, 1/(1 - rate)} for each unit, whichever vector v a gate multiplies: h, the
//                      gated state or what is fed back; per step, or the same for all of a row's steps (Gal and
//                      Ghahramani 2016)
//   weight dropout     (m W_hh) v, m for each weight, the same in all steps (Wan et al. 2013; Merity et al. 2018)
//
// A mask belongs to a step and a row of the caller's arrays, never to a thread or to who else is in the batch.
#pragma once

#include "../math/philox.h"
#include "../recurrence/rows.h"
#include "workspace.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Workspace;

// What a stream of random words is for: the lowest byte of Counter::stream, below the layer.
enum class Stream : std::uint32_t {
    zoneout = 0,  // and 1: a word for each state
    recurrent_step = 2,
    recurrent_sequence = 3,
    weight_hh = 4,
    weight_gg = 5,
    elements = 6,
};

inline std::uint32_t stream_of(const Noise& noise, Stream stream) {
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

template <class T, int states>
class Masks {
public:
    using V = Vec<T>;

    Masks(const Noise& noise, const Rows& rows)
        : zones(noise.zones),
          drops(noise.recurrent > 0 && !noise.expected),
          noise_(&noise),
          rows_(&rows),
          dropped_(noise.recurrent) {
        for (int k = 0; k < states; ++k) zoned_[k] = Chance<T>(noise.zoneout[k]);
        scale_ = static_cast<T>(1 / (1 - noise.recurrent));
    }

    bool zones = false;  // zoneout
    bool drops = false;  // recurrent dropout

    // n becomes what of s and n each unit keeps. `row`: among those of all steps.
    RNNKERNELS_INLINE void zone(Index row, Index block, const V* s, V* n) const {
        if (noise_->expected) {
            for (int k = 0; k < states; ++k) n[k] = fma(V(static_cast<T>(noise_->zoneout[k])), s[k] - n[k], n[k]);
            return;
        }
        Words<T> words{};
        for (int k = 0; k < states; ++k) {
            if (k % 4 == 0) words = words_of(row, block, static_cast<std::uint32_t>(k / 4));
            n[k] = zoned_[k].choose(words.word[k % 4], s[k], n[k]);
        }
    }
    // Its backward: dn is divided into what goes on to the cell and what to the states before, ds.
    RNNKERNELS_INLINE void unzone(Index row, Index block, V* dn, V* ds) const {
        if (noise_->expected) {
            for (int k = 0; k < states; ++k) {
                ds[k] = V(static_cast<T>(noise_->zoneout[k])) * dn[k];
                dn[k] = dn[k] - ds[k];
            }
            return;
        }
        Words<T> words{};
        for (int k = 0; k < states; ++k) {
            if (k % 4 == 0) words = words_of(row, block, static_cast<std::uint32_t>(k / 4));
            ds[k] = zoned_[k].choose(words.word[k % 4], dn[k], V(T(0)));
            dn[k] = zoned_[k].choose(words.word[k % 4], V(T(0)), dn[k]);
        }
    }
    // What a recurrent weight's operand is multiplied by in a row's step.
    RNNKERNELS_INLINE V factor(Index row, Index block) const {
        Counter c = counter(row, block, noise_->per_step ? Stream::recurrent_step : Stream::recurrent_sequence);
        if (!noise_->per_step) c.step = 0;
        return dropped_.choose(random_words<T>(noise_->seed, c).word[0], V(T(0)), V(scale_));
    }

private:
    Counter counter(Index row, Index block, Stream stream) const {
        const Index place = noise_->places ? noise_->places[row] : rows_->place(row);
        return {static_cast<std::uint32_t>(block * V::lanes),
                static_cast<std::uint32_t>(noise_->first_step + place / noise_->batch),
                static_cast<std::uint32_t>(place % noise_->batch), stream_of(*noise_, stream)};
    }
    Words<T> words_of(Index row, Index block, std::uint32_t more) const {
        Counter c = counter(row, block, Stream::zoneout);
        c.stream += more;
        return random_words<T>(noise_->seed, c);
    }

    const Noise* noise_;
    const Rows* rows_;
    Chance<T> zoned_[states], dropped_;
    T scale_ = 1;
};

// to = from with each element dropped with probability `rate`, the others divided by 1 - rate; this thread's share of
// the rows. to may be from. An evaluation of the generator serves four rows.
template <class T>
void drop_elements(const T* from, T* to, Index rows, Index columns, double rate, std::uint64_t key,
                   std::uint32_t stream, int thread, int threads) {
    using V = Vec<T>;
    const Chance<T> dropped(rate);
    const V scale(static_cast<T>(1 / (1 - rate)));
    const Index groups = (rows + 3) / 4;
    for (Index group = groups * thread / threads; group < groups * (thread + 1) / threads; ++group)
        for (Index column = 0; column < columns; column += V::lanes) {
            const auto words = random_words<T>(
                key, {static_cast<std::uint32_t>(column), static_cast<std::uint32_t>(group), 0, stream});
            for (Index i = 0; i < 4 && group * 4 + i < rows; ++i) {
                const Index at = (group * 4 + i) * columns + column;
                const V kept = V::load(from + at, columns - column) * scale;
                dropped.choose(words.word[i], V(T(0)), kept).store(to + at, columns - column);
            }
        }
}

// Weight dropout: copies of a call's recurrent weights with some elements dropped, which take their place.
template <class T>
class DroppedWeights {
public:
    // `in` then has the copies. Rows, and columns of weight_gg, in units of H; none: the cell has no such weight.
    // `width`: columns of weight_hh.
    void take(Workspace& workspace, Inputs& in, Index width, int hidden_rows, int gate_rows, int gate_columns) {
        noise_ = in.noise;
        if (noise_.weights <= 0 || noise_.expected) return;
        const Index hidden = in.shape.hidden;
        hh_ = copy_of(workspace, in.weight_hh, hidden_rows * hidden, width);
        gg_ = copy_of(workspace, in.weight_gg, gate_rows * hidden, gate_columns * hidden);
    }
    // This thread's share of the copies; false where there are none to wait for.
    bool fill(int thread, int threads) const {
        drop(hh_, Stream::weight_hh, hh_.from, hh_.to, thread, threads);
        drop(gg_, Stream::weight_gg, gg_.from, gg_.to, thread, threads);
        return hh_.to != nullptr;
    }
    // The gradients of the copies become those of the weights.
    void backward(void* dweight_hh, void* dweight_gg, int thread, int threads) const {
        drop(hh_, Stream::weight_hh, static_cast<T*>(dweight_hh), static_cast<T*>(dweight_hh), thread, threads);
        drop(gg_, Stream::weight_gg, static_cast<T*>(dweight_gg), static_cast<T*>(dweight_gg), thread, threads);
    }

private:
    struct Copy {
        const T* from;
        T* to;  // null: there is none
        Index rows, columns;
    };
    static Copy copy_of(Workspace& workspace, const void*& weight, Index rows, Index columns) {
        if (rows * columns == 0) return {};
        const Copy copy{static_cast<const T*>(weight), workspace.take<T>(rows * columns), rows, columns};
        weight = copy.to;
        return copy;
    }
    void drop(const Copy& copy, Stream stream, const T* from, T* to, int thread, int threads) const {
        if (copy.to)
            drop_elements(from, to, copy.rows, copy.columns, noise_.weights, noise_.seed, stream_of(noise_, stream),
                          thread, threads);
    }

    Noise noise_{};
    Copy hh_{}, gg_{};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
