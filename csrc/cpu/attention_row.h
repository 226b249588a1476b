// Attention of one row in one step, forward and backward: scores, their softmax, the context (recurrence/attention.h
// has the equations). Sums run in one fixed order, which depends on the vector's width alone.
// Not here: the products with h and with the context, who does which row (attending_forward.h, attending_backward.h).
#pragma once

#include "../math/functions.h"
#include "../recurrence/draw.h"
#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What a row looks at, and what all rows of a call have in common.
template <class T>
struct AttentionOfRow {
    const Attention* call;
    const T* keys;      // (L, A)
    const T* values;    // (L, D)
    const T* mask;      // (L) or null
    const T* score;     // (query_row(A)), zeros behind A; null: products
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
        : of_(of), a_(*of.call), size_(a_.size), scale_(static_cast<T>(a_.scale)) {}

    // alpha, zeros behind L. q: (query_row(A)).
    void weigh(const T* q, T* alpha) const {
        T most = T(0);
        bool any = false;
        if (of_.mask)
            for (Index i = 0; i < a_.places; ++i) alpha[i] = T(0);
        each_place([&](Index i) RNNKERNELS_INLINED {
            alpha[i] = of_.score ? additive(q, i) : dot(of_.keys + i * size_, q, size_) * scale_;
            most = !any || alpha[i] > most ? alpha[i] : most;
            any = true;
        });
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
        each_place([&](Index i) RNNKERNELS_INLINED {
            const V weight(alpha[i]);
            const T* value = of_.values + i * width;
            for (Index at = 0; at < width; at += lanes)
                fma(weight, V::load(value + at, width - at), V::load(context + at)).store(context + at);
        });
        for (Index at = 0; at < width; at += lanes) (V(beta) * V::load(context + at)).store(context + at);
    }
    void look_at_place(Index place, T beta, T* context) const {
        const Index width = a_.features;
        for (Index at = 0; at < width; at += lanes)
            (V(beta) * V::load(of_.values + place * width + at, width - at)).store(context + at);
    }

    // dvalues (L, D) += beta alpha_i dcontext; given[i] = value_i . dcontext, what sum_i alpha_i value_i has of it.
    void look_backward(const T* alpha, T beta, const T* dcontext, T* given, T* dvalues) const {
        const Index width = a_.features;
        each_place([&](Index i) RNNKERNELS_INLINED {
            given[i] = dot(of_.values + i * width, dcontext, width);
            add_scaled(beta * alpha[i], dcontext, width, dvalues + i * width);
        });
    }
    T look_at_place_backward(Index place, T beta, const T* dcontext, T* dvalues) const {
        add_scaled(beta, dcontext, a_.features, dvalues + place * a_.features);
        return dot(of_.values + place * a_.features, dcontext, a_.features);
    }

    // The sum over the places of x[i] y[i].
    T of_places(const T* x, const T* y) const {
        T sum = T(0);
        each_place([&](Index i) RNNKERNELS_INLINED { sum += x[i] * y[i]; });
        return sum;
    }

    // What the scores pass on. de (L): dL/dalpha, then dL/de; dq (query_row(A)), dscore likewise and dkeys (L, A) are
    // added to. made (query_row(A)): scratch; dlocation and dbefore as `location` and `before`, added to.
    void weigh_backward(const T* q, const T* alpha, T* de, T* dq, T* dkeys, T* dscore, T* made, T* dlocation,
                        T* dbefore) const {
        const T sum = of_places(alpha, de);
        each_place([&](Index i) RNNKERNELS_INLINED {
            de[i] = alpha[i] * (de[i] - sum) * scale_;
            if (!of_.score) {
                add_scaled(de[i], of_.keys + i * size_, size_, dq);
                add_scaled(de[i], q, size_, dkeys + i * size_);
                return;
            }
            const V d(de[i]);
            for (Index at = 0; at < size_; at += lanes) {
                const V th = V::load(of_.keys + i * size_ + at, size_ - at), v = V::load(of_.score + at);
                const V y = tanh(located(th + V::load(q + at), i, at));
                const V p = d * v * fma(-y, y, V(T(1)));
                fma(d, y, V::load(dscore + at)).store(dscore + at);
                (V::load(dq + at) + p).store(dq + at);
                T* const to = dkeys + i * size_ + at;
                (V::load(to, size_ - at) + p).store(to, size_ - at);
                if (of_.location) p.store(made + at);
            }
            if (of_.location) locate_backward(i, made, dlocation, dbefore);
        });
    }

    // A sum over `count` values that follow each other.
    static RNNKERNELS_INLINE T dot(const T* x, const T* y, Index count) {
        constexpr int together = 4;
        V sum[together];
        for (V& s : sum) s = V(T(0));
        Index at = 0;
        for (; at + together * lanes <= count; at += together * lanes)
#pragma GCC unroll 4
            for (int k = 0; k < together; ++k)
                sum[k] = fma(V::load(x + at + k * lanes), V::load(y + at + k * lanes), sum[k]);
        for (int k = 0; at < count; at += lanes, ++k)
            sum[k] = fma(V::load(x + at, count - at), V::load(y + at, count - at), sum[k]);
        return sum_of_lanes((sum[0] + sum[1]) + (sum[2] + sum[3])).first_lane();
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
    RNNKERNELS_INLINE T additive(const T* q, Index i) const {
        V sum(T(0));
        const T* const key = of_.keys + i * size_;
        for (Index at = 0; at < size_; at += lanes)
            sum = fma(V::load(of_.score + at), tanh(located(V::load(key + at, size_ - at) + V::load(q + at), i, at)),
                      sum);
        return sum_of_lanes(sum).first_lane() * scale_;
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
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
