// Attention of one row in one step, forward and backward: scores, their softmax, the context (recurrence/attention.h
// has the equations). Sums run in one fixed order, which depends on the vector's width alone.
// Not here: the products with h and with the context, who does which row (attending_forward.h, attending_backward.h),
// the gradient of the features (features_gradient.h).
#pragma once

#include "../recurrence/draw.h"
#include "additive_scores.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What a row looks at, and what all rows of a call have in common.
template <class T>
struct AttentionOfRow {
    const Attention* call;
    const T* keys;      // (L, A)
    const T* exp_keys;  // (L, A): as AdditiveScores has them, or null
    const T* values;    // (L, D)
    const T* mask;      // (L) or null
    const T* score;     // (query_row(A)), zeros behind A; null: products
    T score_sum;        // of its values
    const T* location;  // (C, K, query_row(A)): weight_location, turned; null: none
    const T* before;    // (C, L padded on both sides): s before the step
};

// Values of a row of places with room for whole vectors.
RNNKERNELS_INLINE Index place_row(Index places) { return query_row(places); }
// The same with zeros for the taps that reach beyond the ends.
RNNKERNELS_INLINE Index tapped_row(const Attention& a) { return place_row(a.places + a.taps); }

template <class T>
class AttentionRow {
    using V = Vec<T>;
    static constexpr int lanes = V::lanes;

public:
    explicit AttentionRow(const AttentionOfRow<T>& of)
        : of_(of),
          a_(*of.call),
          size_(a_.size),
          scale_(static_cast<T>(a_.scale)),
          additive_(of.keys, of.exp_keys, of.score, size_) {}

    // alpha, zeros behind L. q: (query_row(A)); exp_q likewise: scratch.
    void weigh(const T* q, T* exp_q, T* alpha) const {
        for (Index i = 0; i < place_row(a_.places); i += lanes)
            V(static_cast<T>(-__builtin_huge_val())).store(alpha + i);
        score(q, exp_q, alpha);
        const T most = greatest(alpha);
        V sum(T(0));
        for (Index i = 0; i < place_row(a_.places); i += lanes) {
            V e = first_lanes(exp(V::load(alpha + i) - V(most)), a_.places - i);
            if (of_.mask) e = e * V::load(of_.mask + i, a_.places - i);
            e.store(alpha + i);
            sum = sum + e;
        }
        sum = sum_of_lanes(sum);
        for (Index i = 0; i < place_row(a_.places); i += lanes) (V::load(alpha + i) / sum).store(alpha + i);
    }

    // The place that a uniform number in [0, 1) draws.
    Index draw(const T* alpha, double uniform) const {
        return draw_place(a_.places, uniform, [&](Index i) { return looks(i); }, [&](Index i) { return alpha[i]; });
    }

    // context (D padded) = beta sum_i alpha_i value_i.
    void look(const T* alpha, T beta, T* context) const {
        const Index width = a_.features;
        for (Index at = 0; at < width; at += lanes) V(T(0)).store(context + at);
        each_group([&](auto together, const Index* at) RNNKERNELS_INLINED {
            T weights[together];
            for (int p = 0; p < together; ++p) weights[p] = alpha[at[p]];
            add_rows<together>(of_.values, width, at, weights, context);
        });
        for (Index at = 0; at < width; at += lanes) (V(beta) * V::load(context + at)).store(context + at);
    }
    void look_at_place(Index place, T beta, T* context) const {
        const Index width = a_.features;
        for (Index at = 0; at < width; at += lanes)
            (V(beta) * V::load(of_.values + place * width + at, width - at)).store(context + at);
    }

    // given[i] = value_i . dcontext, what sum_i alpha_i value_i has of it.
    void look_backward(const T* dcontext, T* given) const {
        each_group([&](auto together, const Index* at) RNNKERNELS_INLINED {
            T sums[together];
            dots<together>(of_.values, a_.features, at, dcontext, sums);
            for (int p = 0; p < together; ++p) given[at[p]] = sums[p];
        });
    }
    T look_at_place_backward(Index place, T beta, const T* dcontext, T* dvalues) const {
        add_scaled(beta, dcontext, a_.features, dvalues + place * a_.features);
        return dot(of_.values + place * a_.features, dcontext, a_.features);
    }

    // The sum over the places of x[i] y[i].
    T of_places(const T* x, const T* y) const {
        if (!of_.mask) return dot(x, y, a_.places);
        T sum = T(0);
        each_place([&](Index i) RNNKERNELS_INLINED { sum += x[i] * y[i]; });
        return sum;
    }

    // What the scores pass on. de (L): dL/dalpha, then dL/de; dq (query_row(A)), dscore likewise and dkeys (L, A) are
    // added to. scratch (3, query_row(A)); dlocation and dbefore as `location` and `before`, added to.
    void weigh_backward(const T* q, const T* alpha, T* de, T* dq, T* dkeys, T* dscore, T* scratch, T* dlocation,
                        T* dbefore) const {
        const T sum = of_places(alpha, de);
        each_place([&](Index i) RNNKERNELS_INLINED { de[i] = alpha[i] * (de[i] - sum) * scale_; });
        if (!of_.score)
            each_place([&](Index i) RNNKERNELS_INLINED {
                add_scaled(de[i], of_.keys + i * size_, size_, dq);
                add_scaled(de[i], q, size_, dkeys + i * size_);
            });
        else if (by_exponentials(q, scratch))
            additive_backward(q, de, dq, dkeys, dscore, scratch);
        else
            each_place([&](Index i) RNNKERNELS_INLINED {
                tanh_backward(q, i, de[i], dq, dkeys, dscore, scratch);
                if (of_.location) locate_backward(i, scratch, dlocation, dbefore);
            });
    }

    // A sum over `count` values that follow each other.
    static RNNKERNELS_INLINE T dot(const T* x, const T* y, Index count) {
        return sum_of_lanes(dot_in_lanes(x, y, count)).first_lane();
    }
    static RNNKERNELS_INLINE void add_scaled(T factor, const T* x, Index count, T* to) {
        for (Index at = 0; at < count; at += lanes)
            fma(V(factor), V::load(x + at, count - at), V::load(to + at, count - at)).store(to + at, count - at);
    }

private:
    RNNKERNELS_INLINE bool looks(Index i) const { return !of_.mask || of_.mask[i] != T(0); }
    template <class Use>
    RNNKERNELS_INLINE void each_place(Use use) const {
        for (Index i = 0; i < a_.places; ++i)
            if (looks(i)) use(i);
    }
    template <class Use>
    RNNKERNELS_INLINE void each_group(Use use) const {
        each_group_of_places(a_.places, [&](Index i) RNNKERNELS_INLINED { return looks(i); }, use);
    }
    // The same of additive scores; out_of_range(i) for the places whose keys are.
    template <class Use, class OutOfRange>
    RNNKERNELS_INLINE void each_group_in_range(Use use, OutOfRange out_of_range) const {
        const auto usual = [&](Index i) RNNKERNELS_INLINED {
            if (!looks(i)) return false;
            if (additive_.in_range(i)) return true;
            out_of_range(i);
            return false;
        };
        each_group_of_places(a_.places, usual, use);
    }
    T greatest(const T* of_places) const {
        V most = V::load(of_places);
        for (Index i = lanes; i < place_row(a_.places); i += lanes) most = max(most, V::load(of_places + i));
        T lane[lanes];
        most.store(lane);
        T all = lane[0];
        for (const T one : lane) all = one > all ? one : all;
        return all;
    }

    void score(const T* q, T* exp_q, T* e) const {
        if (!of_.score)
            each_group([&](auto together, const Index* at) RNNKERNELS_INLINED {
                T sums[together];
                dots<together>(of_.keys, size_, at, q, sums);
                for (int p = 0; p < together; ++p) e[at[p]] = sums[p] * scale_;
            });
        else if (by_exponentials(q, exp_q))
            each_group_in_range(
                [&](auto together, const Index* at) RNNKERNELS_INLINED {
                    T sums[together];
                    additive_.template sums<together>(at, exp_q, sums);
                    for (int p = 0; p < together; ++p) e[at[p]] = (of_.score_sum - T(2) * sums[p]) * scale_;
                },
                [&](Index i) { e[i] = by_tanh(q, i); });
        else
            each_place([&](Index i) { e[i] = by_tanh(q, i); });
    }
    bool by_exponentials(const T* q, T* exp_q) const { return !of_.location && additive_.put_exp_query(q, exp_q); }
    // scratch (3, query_row(A)): e^2q, then what places add to each other.
    void additive_backward(const T* q, const T* de, T* dq, T* dkeys, T* dscore, T* scratch) const {
        T *const dslope = scratch + query_row(size_), *const du = dslope + query_row(size_);
        std::memset(dslope, 0, static_cast<std::size_t>(2 * query_row(size_)) * sizeof(T));
        T sum = T(0);
        each_group_in_range(
            [&](auto together, const Index* at) RNNKERNELS_INLINED {
                T d[together];
                for (int p = 0; p < together; ++p) sum += d[p] = de[at[p]];
                additive_.template backward<together>(at, d, scratch, dslope, du, dkeys);
            },
            [&](Index i) { tanh_backward(q, i, de[i], dq, dkeys, dscore, nullptr); });
        additive_.finish_backward(sum, dslope, du, dq, dscore);
    }
    // Where locations count, or keys or the query are large.
    T by_tanh(const T* q, Index i) const {
        V sum(T(0));
        const T* const key = of_.keys + i * size_;
        for (Index at = 0; at < size_; at += lanes)
            sum = fma(V::load(of_.score + at), tanh(located(V::load(key + at, size_ - at) + V::load(q + at), i, at)),
                      sum);
        return sum_of_lanes(sum).first_lane() * scale_;
    }
    // made (query_row(A)), or null: dL/d(the tanh's argument).
    void tanh_backward(const T* q, Index i, T de, T* dq, T* dkeys, T* dscore, T* made) const {
        const V d(de);
        for (Index at = 0; at < size_; at += lanes) {
            const V key = V::load(of_.keys + i * size_ + at, size_ - at), v = V::load(of_.score + at);
            const V y = tanh(located(key + V::load(q + at), i, at));
            const V p = d * v * fma(-y, y, V(T(1)));
            fma(d, y, V::load(dscore + at)).store(dscore + at);
            (V::load(dq + at) + p).store(dq + at);
            T* const to = dkeys + i * size_ + at;
            (V::load(to, size_ - at) + p).store(to, size_ - at);
            if (made) p.store(made + at);
        }
    }
    // And what the places that were looked at before add.
    RNNKERNELS_INLINE V located(V sum, Index i, Index at) const {
        if (!of_.location) return sum;
        for (Index line = 0; line < a_.channels * a_.taps; ++line)
            sum = fma(V(tap(of_.before, i, line)), V::load(of_.location + line * query_row(size_) + at), sum);
        return sum;
    }
    // s_c[i + k - K/2], which stands K/2 further in its row; line: c*K + k.
    template <class P>
    RNNKERNELS_INLINE auto& tap(P* before, Index i, Index line) const {
        return before[line / a_.taps * tapped_row(a_) + i + line % a_.taps];
    }
    void locate_backward(Index i, const T* made, T* dlocation, T* dbefore) const {
        const Index row = query_row(size_);
        for (Index line = 0; line < a_.channels * a_.taps; ++line) {
            tap(dbefore, i, line) += dot(of_.location + line * row, made, size_);
            add_scaled(tap(of_.before, i, line), made, size_, dlocation + line * row);
        }
    }

    const AttentionOfRow<T> of_;
    const Attention& a_;
    const Index size_;
    const T scale_;
    const AdditiveScores<T> additive_;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
