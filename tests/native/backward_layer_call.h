// A layer's backward as a check puts it to a kernel that runs all steps: random numbers, and two sets of results that
// are NaN until they are written. One is the emulated kernel's; the other is taken by the engine's own bodies step by
// step, of sums that the check makes. Cells of one product in a step and of two; arrays of halves and of float32. Not
// here: in which order a kernel adds (the checks say so).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "cuda/options.h"
#include "cuda/resident/two_products_backward_cell_maths.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct BackwardLayer {
    Index steps, batch, hidden;
    Index split;                // steps of the first run from the end
    std::vector<Index> starts;  // ragged
    bool plain = false;         // each row in its own place, no initial h, no gradient of outputs

    Index first(Index t) const { return starts.empty() ? t * batch : starts[t]; }
    Index count(Index t) const { return t < 0 ? batch : t >= steps ? 0 : first(t + 1) - first(t); }
};

template <class Cell, class Stored>
class BackwardLayerCall {
    using Word = WordOf<Stored>;
    using G = Geometry<Cell>;
    static constexpr Layout layout = layout_of(table_of<Cell>());
    static constexpr int columns = layout.columns.count, gates = G::hiddens + G::gateds + G::feedbacks;
    static constexpr bool apart = own_feedback_weight<Cell>;

public:
    // With masks, where some noise is given.
    BackwardLayerCall(const BackwardLayer& layer, unsigned seed, const Noise* noise = nullptr)
        : layer_(layer), rows_(layer.first(layer.steps)), noise_(noise ? *noise : Noise{}), random_(seed) {
        const Index hidden = layer.hidden;
        fill(kept_, rows_ * kept_row());
        fill(first_states_, layer.batch * (G::states - 1) * hidden);
        fill(diagonal_, G::diagonals * hidden);
        fill_words(output_, rows_ * hidden, 1);
        fill_words(d_output_, rows_ * hidden, 1);
        fill_words(h_, layer.batch * hidden, 1);
        const float scale = 1 / std::sqrt(static_cast<float>(hidden));
        fill_words(weight_, gates * hidden * hidden, scale);
        if (apart) fill_words(fed_weight_, G::feedbacks * G::vectors * hidden * hidden, scale);
        places_.resize(rows_);
        std::iota(places_.begin(), places_.end(), 0);
        std::shuffle(places_.begin(), places_.end(), random_);
        std::vector<float> carried[G::states];
        for (std::vector<float>& one : carried) fill(one, layer.batch * hidden);
        for (Results& one : results_) {
            one.gradient.assign(rows_ * columns * hidden, kNaN), one.operand.assign(rows_ * hidden, kNaN);
            one.made.assign(two_products<Cell> ? rows_ * hidden : 0, kNaN);
            one.product.assign(layer.batch * hidden, std::numeric_limits<float>::quiet_NaN());
            for (int k = 0; k < G::states; ++k) one.carried[k] = carried[k];
        }
    }

    // run(call) for each of the runs from the last step down, into the first set of results.
    template <class Run>
    void run(Run run) {
        for (Index last = layer_.steps; last > 0;) {
            const Index first = last == layer_.steps && layer_.split < last ? last - layer_.split : 0;
            run(call_of(results_[0], first, last));
            last = first;
        }
    }
    // The second one. sum(gradient, first, count, column, vector): of a row's gate gradients (count, H) and a column of
    // weight_hh, of a product with so many gates from the first-th on; of fed gates a vector's.
    template <class Sum>
    void run_plainly(Sum sum) {
        const Masks<float> masks = plain_masks();
        std::vector<float> past(layer_.batch * G::states * layer_.hidden), made(layer_.batch * layer_.hidden);
        for (Index t = layer_.steps - 1; t >= 0; --t) {
            BackwardArrays<float> a = step_arrays(results_[1], t);
            if (masks.zones) {
                each(t, TakeIn<float>{a, 0, G::states, {a.d_output}, {}});
                a.product = nullptr, a.d_output = nullptr, a.past = past.data();
                each(t, Unzone<float>{a, 0, G::states, masks});
            }
            each(t, BackwardBody<Cell, float>{a});
            const auto* const gradient = static_cast<const Word*>(a.gradient);
            const auto product = [&](std::vector<float>& to, int first, int count, int column) {
                each(t, [&](Index row, Index unit) {
                    to[row * layer_.hidden + unit] =
                        sum(gradient + (row * columns + column) * layer_.hidden, first, count, unit, 0);
                });
            };
            if constexpr (two_products<Cell>) {
                std::vector<float> gated(layer_.batch * layer_.hidden);
                product(gated, G::hiddens, G::gateds, layout.gated);
                a.gated_part = gated.data(), a.past = nullptr;  // what went past the cell is added
                void* const to_multiply = a.made;
                if (masks.drops) {
                    each(t, Mask<float>{gated.data(), Dtype::float32, gated.data(), Dtype::float32, a.first,
                                        layer_.hidden, layer_.hidden, masks});
                    a.made = made.data(), a.made_dtype = Dtype::float32;
                }
                each(t, BackwardGatesBody<Cell, float>{a});
                if (masks.drops)
                    each(t, Mask<float>{made.data(), Dtype::float32, to_multiply, a.storage, a.first, layer_.hidden,
                                        layer_.hidden, masks});
            }
            if (!masks.drops) {
                product(results_[1].product, 0, G::hiddens, layout.hidden);
            } else {
                std::vector<float> through(layer_.batch * layer_.hidden);
                product(through, 0, G::hiddens, layout.hidden);
                each(t, CarryDropped<float>{through.data(), a.carried[0], a.first, layer_.hidden, masks});
            }
            if constexpr (G::vectors > 0) {
                std::vector<float> fed(layer_.batch * G::vectors * layer_.hidden);
                each(t, [&](Index row, Index unit) {
                    for (int k = 0; k < G::vectors; ++k)
                        fed[(row * G::vectors + k) * layer_.hidden + unit] =
                            sum(gradient + (row * columns + layout.feedback) * layer_.hidden, first_fed, G::feedbacks,
                                unit, k);
                });
                a.fed_part = fed.data(), a.product = results_[1].product.data();
                each(t, FeedbackBackwardBody<Cell, float>{a});
            }
        }
    }
    // Of a gate, from a unit to a column, as it is multiplied, of a fed gate a vector's; and a number that stands in
    // memory.
    float weight(Index gate, Index unit, Index column, int vector) const {
        if (apart && gate >= first_fed)
            return operand(
                fed_weight_[(((gate - first_fed) * layer_.hidden + unit) * G::vectors + vector) * layer_.hidden +
                            column]);
        return operand(weight_[(gate * layer_.hidden + unit) * layer_.hidden + column]);
    }
    static float operand(Word word) {
        if constexpr (is_half<Stored>)
            return Stored::number(word);
        else
            return Stored::number(Stored::bits(Full::number(word)));
    }

    // expect(holds, what) for each kind of results: whether both have the same bits.
    template <class Expect>
    void compare(Expect expect) const {
        const auto same = [](const auto& a, const auto& b) {
            return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
        };
        const Results &found = results_[0], &wanted = results_[1];
        expect(same(found.gradient, wanted.gradient), "gate gradients");
        expect(same(found.operand, wanted.operand), "h before");
        expect(same(found.made, wanted.made), "the gated state");
        for (int k = 0; k < G::states; ++k) expect(same(found.carried[k], wanted.carried[k]), "states");
        // Of vectors, and with recurrent dropout, it is added to the states' gradients, and stays NaN.
        if (layer_.steps > 0 && G::vectors == 0) expect(same(found.product, wanted.product), "what the products give");
        for (const Word bits : found.gradient) expect(std::isfinite(Stored::number(bits)), "not all is finite");
    }

private:
    static constexpr int first_fed = G::hiddens + G::gateds;
    static constexpr auto kNaN = static_cast<Word>(0x7fffffff);
    struct Results {
        std::vector<Word> gradient, operand, made;
        std::vector<float> carried[kMaxStates], product;
    };
    Masks<float> plain_masks() const {
        Inputs in{};
        in.shape.steps = layer_.steps, in.shape.batch = layer_.batch;
        in.starts = layer_.starts.empty() ? nullptr : layer_.starts.data();
        in.places = layer_.plain ? nullptr : places_.data();
        return Masks<float>(noise_, Rows(in));
    }
    bool drops() const { return noise_.recurrent > 0 && !noise_.expected; }
    // The maths' own, the states after h and, where masks keep others, all states as the cell made them.
    Index kept_row() const { return (G::saved + G::states - 1 + (noise_.zones ? G::states : 0)) * layer_.hidden; }
    float draw() { return static_cast<float>(static_cast<int>(random_() % 2001) - 1000) / 1000; }
    void fill(std::vector<float>& array, Index count) {
        for (Index i = 0; i < count; ++i) array.push_back(0.5F + draw() / 4);
    }
    // As they stand in memory: of float32 not rounded.
    void fill_words(std::vector<Word>& array, Index count, float scale) {
        for (Index i = 0; i < count; ++i) {
            const float value = draw() * scale;
            array.push_back(is_half<Stored> ? Stored::bits(value) : static_cast<Word>(float_bits(value)));
        }
    }
    // use(row, unit) for all of a step.
    template <class Use>
    void each(Index t, Use use) const {
        for (Index row = 0; row < layer_.count(t); ++row)
            for (Index unit = 0; unit < layer_.hidden; ++unit) use(row, unit);
    }
    // What does not depend on the step; rows from this one on.
    BackwardArrays<float> arrays(Results& to, Index row) const {
        const Index hidden = layer_.hidden;
        BackwardArrays<float> a{};
        a.first = row, a.hidden = a.width = hidden;
        a.storage = Dtype::float32;
        if constexpr (is_half<Stored>) a.storage = Stored::kBfloat16 ? Dtype::bfloat16 : Dtype::float16;
        a.places = layer_.plain ? nullptr : places_.data();
        a.diagonal = diagonal_.data();
        for (float& setting : a.settings) setting = 0.75F;
        for (int k = 0; k < G::states; ++k) a.carried[k] = to.carried[k].data();
        a.product = drops() || G::vectors > 0 ? nullptr : to.product.data();
        a.d_output = layer_.plain ? nullptr : d_output_.data();
        a.output = output_.data();
        a.saved = kept_.data() + row * kept_row(), a.kept_row = kept_row();
        for (int k = 1; k < G::states; ++k) a.after[k] = a.saved + (G::saved + k - 1) * hidden;
        if (noise_.zones)
            for (int k = 0; k < G::states; ++k) a.after[k] = a.saved + (G::saved + G::states - 1 + k) * hidden;
        a.gradient = to.gradient.data() + row * columns * hidden;
        a.operand = layer_.plain ? nullptr : to.operand.data() + row * hidden;
        if (two_products<Cell>) a.made = to.made.data() + row * hidden, a.made_dtype = a.storage;
        return a;
    }
    void set_begin(BackwardArrays<float>& a) const {
        a.h = layer_.plain ? nullptr : h_.data(), a.h_places = nullptr, a.h_first = 0;
        a.before_row = layer_.hidden;
        for (int k = 1; k < G::states; ++k) a.before[k] = first_states_.data() + (k - 1) * layer_.batch * layer_.hidden;
    }
    ResidentBackwardCall call_of(Results& to, Index first, Index last) const {
        ResidentBackwardCall call{};
        call.a = arrays(to, layer_.first(first));
        set_begin(call.a);
        call.to_step_before = to.product.data();
        call.weight = static_cast<const std::uint16_t*>(static_cast<const void*>(weight_.data()));
        call.fed_weight = static_cast<const std::uint16_t*>(static_cast<const void*>(fed_weight_.data()));
        for (int i = 0; i < gates; ++i) call.gate_row[i] = apart && i >= first_fed ? i - first_fed : i;
        call.batch = layer_.batch, call.steps = last - first;
        call.starts = layer_.starts.empty() ? nullptr : layer_.starts.data();
        call.first_step = first, call.behind = drops() || G::vectors > 0 ? 0 : layer_.count(last);
        call.masks = unit_masks(noise_, call.a.places);
        if (noise_.zones) call.set_made(G::states, G::saved);
        return call;
    }
    // As the engine has them (cuda/backward.h).
    BackwardArrays<float> step_arrays(Results& to, Index t) const {
        BackwardArrays<float> a = arrays(to, layer_.first(t));
        a.next = layer_.count(t + 1);
        set_begin(a);
        if (t == 0) return a;
        const Index before = layer_.first(t - 1);
        a.h = output_.data(), a.h_places = a.places, a.h_first = before, a.before_row = kept_row();
        for (int k = 1; k < G::states; ++k)
            a.before[k] = kept_.data() + before * kept_row() + (G::saved + k - 1) * layer_.hidden;
        return a;
    }

    const BackwardLayer& layer_;
    const Index rows_;
    const Noise noise_;
    std::mt19937 random_;
    std::vector<float> kept_, first_states_, diagonal_;
    std::vector<Word> output_, d_output_, h_, weight_, fed_weight_;
    std::vector<Index> places_;
    Results results_[2];
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
