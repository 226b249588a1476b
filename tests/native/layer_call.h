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
    LayerCall(const Layer& layer, unsigned seed)
        : layer_(layer),
          x_(rows() * G::inputs * layer.hidden),
          bias_(hiddens * layer.hidden),
          term_(layer.batch * G::inputs * layer.hidden),
          diagonal_(G::diagonals * layer.hidden),
          weight_(hiddens * layer.hidden * layer.hidden),
          direct_(rows() * layer.hidden) {
        const Index hidden = layer.hidden;
        std::mt19937 random(seed);
        const auto draw = [&] { return static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000; };
        for (std::vector<float>* array : {&x_, &bias_, &term_, &diagonal_})
            for (float& value : *array) value = draw();
        for (Word& value : direct_)
            value = is_half<Stored> ? Stored::bits(draw()) : static_cast<Word>(float_bits(draw()));
        for (Word& value : weight_) {
            const float given = draw() / std::sqrt(static_cast<float>(hidden));
            value = is_half<Stored> ? Stored::bits(given) : static_cast<Word>(float_bits(given));  // not rounded yet
        }
        for (Results& one : results_) {
            one.kept.assign(rows() * kept_row(), std::numeric_limits<float>::quiet_NaN());
            one.output.assign(rows() * hidden, static_cast<Word>(0x7fffffff));
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
        a.x = direct_.data(), a.x_row = layer_.hidden;
        for (float& setting : a.settings) setting = 0.75F;
        for (int k = 0; k < G::states; ++k) a.states[k] = results.states[k].data();
        a.output = results.output.data();
        a.to_save = results.kept.data(), a.kept_row = kept_row();
        if (G::states > 1) a.kept_states = results.kept.data() + G::saved * layer_.hidden;
        call.weight = static_cast<const std::uint16_t*>(static_cast<const void*>(weight_.data()));
        for (int i = 0; i < hiddens; ++i) call.gate_row[i] = i;
        call.batch = layer_.batch, call.steps = layer_.steps;
        call.starts = layer_.starts.empty() ? nullptr : layer_.starts.data();
        return call;
    }

    // (H) of a gate and a unit.
    const Word* weight(int gate, Index unit) const {
        return &weight_[static_cast<std::size_t>((gate * layer_.hidden + unit) * layer_.hidden)];
    }

    // expect(holds, what) for each kind of results: whether both have the same bits.
    template <class Expect>
    void compare(Expect expect) const {
        const auto same = [](const auto& a, const auto& b) {
            return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
        };
        expect(same(results_[0].output, results_[1].output), "output");
        expect(same(results_[0].kept, results_[1].kept), "what is kept");
        for (int k = 0; k < G::states; ++k) expect(same(results_[0].states[k], results_[1].states[k]), "states");
    }

private:
    struct Results {
        std::vector<float> kept, states[kMaxStates];
        std::vector<Word> output;
    };
    Index rows() const { return layer_.starts.empty() ? layer_.steps * layer_.batch : layer_.starts[layer_.steps]; }
    Index kept_row() const { return (G::saved + G::states - 1) * layer_.hidden; }

    const Layer& layer_;
    std::vector<float> x_, bias_, term_, diagonal_;
    std::vector<Word> weight_, direct_;
    Results results_[2];
};

// A forward of one product in a step, taken plainly; sum(gate, unit, vector): of the weight's row and a vector.
template <class Cell, class Stored, class Sum>
void plain_one_product(const ResidentCall& call, Index hidden, Sum sum) {
    using G = Geometry<Cell>;
    for (Index t = 0; t < call.steps; ++t)
        for (Index row = 0; row < call.count(t); ++row) {
            std::vector<WordOf<Stored>> h;
            for (Index k = 0; k < hidden; ++k) h.push_back(Stored::bits(call.a.states[0][row * hidden + k]));
            for (Index unit = 0; unit < hidden; ++unit) {
                Vec<float> xs[G::gates], us[G::hiddens], biases[G::hiddens], now[G::states], next[G::states];
                const Index at = call.first(t) + row;
                ResidentCellMaths<Cell>::begin(call, unit, biases);
                ResidentCellMaths<Cell>::fetch(call, at, row, unit, xs);
                for (int i = 0; i < G::hiddens; ++i) us[i] = sum(i, unit, h);
                for (int k = 0; k < G::states; ++k) now[k] = call.a.states[k][row * hidden + unit];
                ResidentCellMaths<Cell>::step(call, at, row, unit, xs, us, biases, now, next);
                for (int k = 0; k < G::states; ++k) call.a.states[k][row * hidden + unit] = next[k].raw;
            }
        }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
