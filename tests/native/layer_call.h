// A layer's forward as check_resident and check_grid put it to a kernel that runs all steps: random numbers, and two
// sets of results that are NaN until they are written. One is the emulated kernel's; the other is taken plainly, of
// the same sums. Not here: in which order a kernel adds (the checks say so).
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "cuda/resident/cell_maths.h"
#include "cuda/resident/operands.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct Layer {
    Index steps, batch, hidden;
    std::vector<Index> starts;  // ragged
};

// Of a cell with so many gates in its products of h.
template <class Cell, class Stored, int hiddens>
class LayerCall {
    using G = Geometry<Cell>;
    using Word = WordOf<Stored>;

public:
    // With masks, where some noise is given.
    LayerCall(const Layer& layer, unsigned seed, const Noise* noise = nullptr)
        : layer_(layer),
          noise_(noise),
          x_(rows() * G::inputs * layer.hidden),
          bias_(hiddens * layer.hidden),
          term_(layer.batch * G::inputs * layer.hidden),
          diagonal_(G::diagonals * layer.hidden),
          weight_(hiddens * layer.hidden * layer.hidden),
          fed_weight_(G::gg_rows * G::gg_columns * layer.hidden * layer.hidden),
          direct_(rows() * layer.hidden) {
        const Index hidden = layer.hidden;
        std::mt19937 random(seed);
        const auto draw = [&] { return static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000; };
        for (std::vector<float>* array : {&x_, &bias_, &term_, &diagonal_})
            for (float& value : *array) value = draw();
        for (Word& value : direct_)
            value = is_half<Stored> ? Stored::bits(draw()) : static_cast<Word>(float_bits(draw()));
        for (std::vector<Word>* array : {&weight_, &fed_weight_})
            for (Word& value : *array) {
                const float given = draw() / std::sqrt(static_cast<float>(hidden));
                value =
                    is_half<Stored> ? Stored::bits(given) : static_cast<Word>(float_bits(given));  // not rounded yet
            }
        for (Results& one : results_) {
            one.kept.assign(rows() * kept_row(), std::numeric_limits<float>::quiet_NaN());
            if (noise) one.made.assign(rows() * G::states * hidden, std::numeric_limits<float>::quiet_NaN());
            one.output.assign(rows() * hidden, static_cast<Word>(0x7fffffff));
            one.fed.assign(rows() * G::vectors * hidden, static_cast<Word>(0x7fffffff));
            std::mt19937 again(seed + 1);
            for (int k = 0; k < G::states; ++k)
                for (Index i = 0; i < layer.batch * hidden; ++i)
                    one.states[k].push_back(static_cast<float>(again() % 1000) / 1000 - (k == 0 ? 0.5F : 0));
        }
    }

    // With one of the two sets of results.
    ResidentCall to(int which) {
        Results& results = results_[which];
        ResidentCall call{};
        ForwardArrays<float>& a = call.a;
        a.hidden = a.width = layer_.hidden;
        a.storage = Dtype::float32;
        if constexpr (is_half<Stored>) a.storage = Stored::kBfloat16 ? Dtype::bfloat16 : Dtype::float16;
        a.x_part = x_.data(), a.bias_u = bias_.data(), a.term = term_.data(), a.diagonal = diagonal_.data();
        a.bias_gated = bias_.data() + G::hiddens * layer_.hidden;
        if (!own_feedback_weight<Cell>) a.bias_fed = bias_.data() + first_fed * layer_.hidden;
        a.fed = results.fed.data(), a.fed_dtype = a.storage;
        if (noise_) {
            call.masks = unit_masks(*noise_, nullptr);
            if (noise_->zones) a.made_states = results.made.data(), a.made_row = G::states * layer_.hidden;
        }
        a.x = direct_.data(), a.x_row = layer_.hidden;
        for (float& setting : a.settings) setting = 0.75F;
        for (int k = 0; k < G::states; ++k) a.states[k] = results.states[k].data();
        a.output = results.output.data();
        a.to_save = results.kept.data(), a.kept_row = kept_row();
        if (G::states > 1) a.kept_states = results.kept.data() + G::saved * layer_.hidden;
        call.weight = static_cast<const std::uint16_t*>(static_cast<const void*>(weight_.data()));
        call.fed_weight = static_cast<const std::uint16_t*>(static_cast<const void*>(fed_weight_.data()));
        for (int i = 0; i < hiddens; ++i)
            call.gate_row[i] = own_feedback_weight<Cell> && i >= first_fed ? i - first_fed : i;
        call.batch = layer_.batch, call.steps = layer_.steps;
        call.starts = layer_.starts.empty() ? nullptr : layer_.starts.data();
        return call;
    }

    // (H) of a gate and a unit.
    const Word* weight(int gate, Index unit) const {
        return &weight_[static_cast<std::size_t>((gate * layer_.hidden + unit) * layer_.hidden)];
    }

    // Of weight_gg, (H) of a gate that is fed back, a unit and a vector.
    const Word* fed_weight(int gate, Index unit, int vector) const {
        const Index row = (gate - first_fed) * layer_.hidden + unit;
        return &fed_weight_[static_cast<std::size_t>((row * G::vectors + vector) * layer_.hidden)];
    }

    // expect(holds, what) for each kind of results: whether both have the same bits.
    template <class Expect>
    void compare(Expect expect) const {
        const auto same = [](const auto& a, const auto& b) {
            return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
        };
        expect(same(results_[0].output, results_[1].output), "output");
        expect(same(results_[0].kept, results_[1].kept), "what is kept");
        expect(same(results_[0].made, results_[1].made), "what the cell made");
        expect(same(results_[0].fed, results_[1].fed), "what is fed back");
        for (int k = 0; k < G::states; ++k) expect(same(results_[0].states[k], results_[1].states[k]), "states");
    }

private:
    struct Results {
        std::vector<float> kept, made, states[kMaxStates];
        std::vector<Word> output, fed;
    };
    static constexpr int first_fed = G::hiddens + G::gateds;
    Index rows() const { return layer_.starts.empty() ? layer_.steps * layer_.batch : layer_.starts[layer_.steps]; }
    Index kept_row() const { return (G::saved + G::states - 1) * layer_.hidden; }

    const Layer& layer_;
    const Noise* noise_;
    std::vector<float> x_, bias_, term_, diagonal_;
    std::vector<Word> weight_, fed_weight_, direct_;
    Results results_[2];
};

// What masks do to a step of a plain forward, by recurrence/masks.h; null: nothing.
using PlainMasks = const Masks<float>*;
inline float plain_operand(PlainMasks masks, Index at, Index unit, float value) {
    return masks && masks->drops ? (Vec<float>(value) * masks->factor(at, unit)).raw : value;
}
template <class Cell, class Maths>
void plain_zone(PlainMasks masks, const ResidentCall& call, Index at, Index row, Index unit, const Vec<float>* now,
                Vec<float>* next) {
    using G = Geometry<Cell>;
    if (!masks || !masks->zones) return;
    for (int k = 0; k < G::states; ++k)
        call.a.made_states[at * call.a.made_row + k * call.a.hidden + unit] = next[k].raw;
    masks->zone(G::states, at, unit, now, next);
    Maths::keep(call, at, row, unit, next);
}

// The vectors that are fed back to a row's step, as they are multiplied; kept for a backward.
template <class Cell, class Stored, class Maths>
std::vector<std::vector<WordOf<Stored>>> plain_vectors(const ResidentCall& call, Index hidden, Index at, Index row,
                                                       PlainMasks masks) {
    using G = Geometry<Cell>;
    std::vector<std::vector<WordOf<Stored>>> vectors(G::vectors);
    for (Index unit = 0; unit < hidden; ++unit) {
        Vec<float> now[G::states], fed[G::vectors + 1];
        for (int k = 0; k < G::states; ++k) now[k] = call.a.states[k][row * hidden + unit];
        Maths::feed(call, at, row, unit, now, fed);
        for (int k = 0; k < G::vectors; ++k) {
            fed[k] = Vec<float>(plain_operand(masks, at, unit, fed[k].raw));
            vectors[k].push_back(Stored::bits(fed[k].raw));
            call.a.store(call.a.fed, (at * G::vectors + k) * hidden + unit, fed[k]);
        }
    }
    return vectors;
}

// A forward of one product in a step, taken plainly; sum(gate, unit, vector): of the weight's row and a vector, or of
// several.
template <class Cell, class Stored, class Sum>
void plain_one_product(const ResidentCall& call, Index hidden, Sum sum, PlainMasks masks = nullptr) {
    using G = Geometry<Cell>;
    using Maths = ResidentCellMaths<Cell>;
    for (Index t = 0; t < call.steps; ++t)
        for (Index row = 0; row < call.count(t); ++row) {
            std::vector<WordOf<Stored>> h;
            const Index at = call.first(t) + row;
            for (Index k = 0; k < hidden; ++k)
                h.push_back(Stored::bits(plain_operand(masks, at, k, call.a.states[0][row * hidden + k])));
            const auto vectors = plain_vectors<Cell, Stored, Maths>(call, hidden, at, row, masks);
            for (Index unit = 0; unit < hidden; ++unit) {
                Vec<float> xs[G::gates], us[Maths::hiddens], biases[Maths::hiddens], now[G::states], next[G::states];
                Maths::begin(call, unit, biases);
                Maths::fetch(call, at, row, unit, xs);
                for (int i = 0; i < G::hiddens; ++i) us[i] = sum(i, unit, h);
                if constexpr (G::feedbacks > 0)
                    for (int i = G::hiddens; i < Maths::hiddens; ++i) us[i] = sum(i, unit, vectors);
                for (int k = 0; k < G::states; ++k) now[k] = call.a.states[k][row * hidden + unit];
                Maths::step(call, at, row, unit, xs, us, biases, now, next);
                plain_zone<Cell, Maths>(masks, call, at, row, unit, now, next);
                for (int k = 0; k < G::states; ++k) call.a.states[k][row * hidden + unit] = next[k].raw;
            }
        }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
