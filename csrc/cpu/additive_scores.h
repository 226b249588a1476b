// Additive scores of a row's places in one step, forward and backward, where no location joins the tanh. With
//
//   tanh(key + q) = 1 - 2u,    its slope = 4 (u - u^2),    u = 1 / (e^2key e^2q + 1)
//
// a value costs a division and no exponential: e^2key is the same in all steps, e^2q at all places. The error of such a
// tanh is some units in the last place of 1, also where the tanh is small; a score is a sum of many.
// In range are keys and queries of at most half of what exp takes. What is made of two of them may overflow, or vanish:
// u is 0 or 1 then, as it should be.
// Not here: scores that are out of range, or know of locations (attention_row.h).
#pragma once

#include "../math/functions.h"
#include "place_groups.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class AdditiveScores {
    using V = Vec<T>;

public:
    // keys: (L, A); exp_keys: likewise, by put_exp_keys, or null: made where they are used. score: (query_row(A)).
    AdditiveScores(const T* keys, const T* exp_keys, const T* score, Index size)
        : keys_(keys), exp_keys_(exp_keys), score_(score), size_(size) {}

    // e^2key of one place, or -1 first where the place is out of range.
    static void put_exp_keys(const T* key, Index size, T* to) {
        if (in_range(key, size))
            each_vector<T>(size, [&](Index k, Index valid)
                                     RNNKERNELS_INLINED { twice_exp(V::load(key + k, valid)).store(to + k, valid); });
        else
            to[0] = T(-1);
    }
    // e^2q (query_row(A)), and whether q is in range.
    bool put_exp_query(const T* q, T* to) const {
        if (!in_range(q, size_)) return false;
        for (Index k = 0; k < size_; k += V::lanes) twice_exp(V::load(q + k, size_ - k)).store(to + k);
        return true;
    }
    bool in_range(Index place) const {
        return exp_keys_ ? !(exp_keys_[place * size_] < T(0)) : in_range(keys_ + place * size_, size_);
    }

    // to[p] = sum over the units of score u, at place at[p].
    template <int count>
    RNNKERNELS_INLINE void sums(const Index* at, const T* exp_q, T* to) const {
        if constexpr (count > 1)
            if (together()) return sums_together<count>(at, exp_q, to);
        for (int p = 0; p < count; ++p) to[p] = sum(at[p], exp_q);
    }
    // With d[p] = dL/de of place at[p]: dkeys (L, A) is added to; so are, for finish_backward, dslope and du
    // (query_row(A)), sums over the places of d (u - u^2) and of d u.
    template <int count>
    RNNKERNELS_INLINE void backward(const Index* at, const T* d, const T* exp_q, T* dslope, T* du, T* dkeys) const {
        if constexpr (count > 1)
            if (together()) return backward_together<count>(at, d, exp_q, dslope, du, dkeys);
        for (int p = 0; p < count; ++p) backward_alone(at + p, d + p, exp_q, dslope, du, dkeys);
    }
    // dq and dscore (query_row(A)) += what these sums and d_sum, that of d, say.
    void finish_backward(T d_sum, const T* dslope, const T* du, T* dq, T* dscore) const {
        for (Index k = 0; k < size_; k += V::lanes) {
            fma(V(T(4)) * V::load(score_ + k), V::load(dslope + k), V::load(dq + k)).store(dq + k);
            (V::load(dscore + k) + fma(V(T(-2)), V::load(du + k), V(d_sum))).store(dscore + k);
        }
    }

private:
    static RNNKERNELS_INLINE V twice_exp(V x) { return exp(x + x); }
    // A NaN is: what it gives is one.
    static bool in_range(const T* x, Index size) {
        V beyond(T(0));
        each_vector<T>(size, [&](Index k, Index valid) RNNKERNELS_INLINED {
            const V over = abs(V::load(x + k, valid)) - V(ExpTable<T>::limit / 2);
            beyond = where_positive(over, V(T(1)), beyond);
        });
        return sum_of_lanes(beyond).first_lane() == T(0);
    }
    bool together() const { return exp_keys_ && side_by_side<T>(size_); }
    static RNNKERNELS_INLINE V u(V exp_key, V exp_q) { return V(T(1)) / fma(exp_key, exp_q, V(T(1))); }
    // use(k, how many, e^2key) for the vectors of a place.
    template <class Use>
    RNNKERNELS_INLINE void each_exp_key(Index place, Use use) const {
        const Index first = place * size_;
        for (Index k = 0; k < size_; k += V::lanes) {
            const Index valid = size_ - k;
            use(k, valid,
                exp_keys_ ? V::load(exp_keys_ + first + k, valid) : twice_exp(V::load(keys_ + first + k, valid)));
        }
    }
    __attribute__((noinline)) T sum(Index place, const T* exp_q) const {
        V all(T(0));
        each_exp_key(place, [&](Index k, Index, V exp_key) RNNKERNELS_INLINED {
            all = fma(V::load(score_ + k), u(exp_key, V::load(exp_q + k)), all);
        });
        return sum_of_lanes(all).first_lane();
    }
    template <int count>
    RNNKERNELS_INLINE void sums_together(const Index* at, const T* exp_q, T* to) const {
        V sum[count];
        for (V& s : sum) s = V(T(0));
        each_vector<T>(size_, [&](Index k, Index valid) RNNKERNELS_INLINED {
            const V of_q = V::load(exp_q + k), score = V::load(score_ + k);
#pragma GCC unroll 4
            for (int p = 0; p < count; ++p) {
                const T* const exp_key = exp_keys_ + at[p] * size_ + k;
                ask_for(exp_key + count * size_);
                sum[p] = fma(score, u(V::load(exp_key, valid), of_q), sum[p]);
            }
        });
        sums_of_lanes<T>(sum, to);
    }
    // A vector of a place: what it adds to `slope` and `all`, and to the gradient of its keys.
    static RNNKERNELS_INLINE void add(V d, V here, V four, V& slope, V& all, T* dkeys, Index valid) {
        const V of_place = d * fma(-here, here, here);
        all = fma(d, here, all);
        slope = slope + of_place;
        fma(four, of_place, V::load(dkeys, valid)).store(dkeys, valid);
    }
    __attribute__((noinline)) void backward_alone(const Index* at, const T* d, const T* exp_q, T* dslope, T* du,
                                                  T* dkeys) const {
        T* const to = dkeys + *at * size_;
        each_exp_key(*at, [&](Index k, Index valid, V exp_key) RNNKERNELS_INLINED {
            V slope = V::load(dslope + k), all = V::load(du + k);
            add(V(*d), u(exp_key, V::load(exp_q + k)), V(T(4)) * V::load(score_ + k), slope, all, to + k, valid);
            slope.store(dslope + k);
            all.store(du + k);
        });
    }
    template <int count>
    RNNKERNELS_INLINE void backward_together(const Index* at, const T* d, const T* exp_q, T* dslope, T* du,
                                             T* dkeys) const {
        each_vector<T>(size_, [&](Index k, Index valid) RNNKERNELS_INLINED {
            const V of_q = V::load(exp_q + k), four = V(T(4)) * V::load(score_ + k);
            V slope = V::load(dslope + k), all = V::load(du + k);
#pragma GCC unroll 4
            for (int p = 0; p < count; ++p) {
                const Index place = at[p] * size_ + k;
                add(V(d[p]), u(V::load(exp_keys_ + place, valid), of_q), four, slope, all, dkeys + place, valid);
            }
            slope.store(dslope + k);
            all.store(du + k);
        });
    }

    const T* const keys_;
    const T* const exp_keys_;
    const T* const score_;
    const Index size_;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
