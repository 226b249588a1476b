// A layer's forward of two products in a step, taken plainly: what the resident kernel of such a cell is held to, bit
// for bit (check_resident.cpp).
#pragma once

#include <vector>

#include "cuda/resident/two_products_cell_maths.h"
#include "layer_call.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// sum(gate, unit, vector): of the weight's row and a vector of H halves.
template <class Cell, class Stored, class Sum>
void plain_two_products(const ResidentCall& call, Index hidden, Sum sum, PlainMasks masks = nullptr) {
    using G = Geometry<Cell>;
    using Maths = TwoProductsCellMaths<Cell>;
    constexpr int first_fed = G::hiddens + G::gateds;
    struct Unit {
        Vec<float> x[G::gates], u[Maths::hiddens], bias[Maths::hiddens], now[G::states], next[G::states];
        Vec<float> saved[G::saved], gated;
    };
    for (Index t = 0; t < call.steps; ++t)
        for (Index row = 0; row < call.count(t); ++row) {
            const Index at = call.first(t) + row;
            std::vector<Unit> units(hidden);
            std::vector<WordOf<Stored>> h, gated;
            for (Index k = 0; k < hidden; ++k)
                h.push_back(Stored::bits(plain_operand(masks, at, k, call.a.states[0][row * hidden + k])));
            const auto vectors = plain_vectors<Cell, Stored, Maths>(call, hidden, at, row, masks);
            for (Index k = 0; k < hidden; ++k) {
                Unit& unit = units[k];
                Maths::begin(call, k, unit.bias);
                Maths::fetch(call, at, row, k, unit.x);
                for (int i = 0; i < Maths::hiddens; ++i) unit.u[i] = std::numeric_limits<float>::quiet_NaN();
                for (int i = 0; i < G::hiddens; ++i) unit.u[i] = sum(i, k, h);
                if constexpr (G::feedbacks > 0)
                    for (int i = first_fed; i < Maths::hiddens; ++i) unit.u[i] = sum(i, k, vectors);
                for (int s = 0; s < G::states; ++s) unit.now[s] = call.a.states[s][row * hidden + k];
                Maths::gates(call, at, row, k, unit.x, unit.u, unit.bias, unit.now, unit.saved, unit.gated);
                gated.push_back(Stored::bits(plain_operand(masks, at, k, unit.gated.raw)));
            }
            for (Index k = 0; k < hidden; ++k) {
                Unit& unit = units[k];
                for (int i = G::hiddens; i < first_fed; ++i) unit.u[i] = sum(i, k, gated);
                Maths::state(call, at, row, k, unit.x, unit.u, unit.bias, unit.now, unit.saved, unit.next);
                plain_zone<Cell, Maths>(masks, call, at, row, k, unit.now, unit.next);
                for (int s = 0; s < G::states; ++s) call.a.states[s][row * hidden + k] = unit.next[s].raw;
            }
        }
}

// Five gates of two products, two states: two tiles for a unit, and a state that is not sent.
template <class V>
struct FiveGates {
    static constexpr const char* name = "five_gates";
    static constexpr const char* states[] = {"h", "c"};
    static constexpr Gate gates[] = {{"a", Input::projected, Operand::gated, 0, 0},
                                     {"b", Input::projected, Operand::gated, 3, 3},
                                     {"c", Input::projected, Operand::hidden, 1, 1},
                                     {"d", Input::none, Operand::hidden, 2, 2},
                                     {"e", Input::projected, Operand::hidden, 4, 4}};
    static constexpr int saved_count = 3, slot_count = 5;
    static void forward_gates(const V* x, const V* u, const V* s, V* saved, V& gated) {
        saved[0] = sigmoid(x[2] + u[2]), saved[1] = tanh(u[3]);
        gated = fma(saved[0], s[0], saved[1] * s[1]) + sigmoid(x[4] + u[4]);
    }
    static void forward_state(const V* x, const V* u, const V* s, V* saved, V* n) {
        saved[2] = tanh(x[0] + u[0]);
        n[1] = fma(saved[0], s[1], saved[2] * saved[1]);
        n[0] = tanh(n[1]) * sigmoid(x[1] + u[1]);
    }
    // None of its forward: numbers that depend on all that is read. Slots of both products are completed by the second
    // half, which reads what the first one left in them.
    static void backward_state(const V* saved, const V* s, const V* n, const V* dn, V* d, V* ds) {
        d[0] = fma(-saved[2], saved[2], V(1.0F)) * dn[1], d[3] = dn[0] * n[0] * V(0.25F);
        d[1] = dn[1] * s[1], d[4] = dn[0] * n[1];
        ds[0] = dn[0] * saved[0], ds[1] = dn[1] * saved[1];
    }
    static void backward_gates(const V* saved, const V* s, V d_gated, V* d, V* ds, V& gated) {
        d[1] = fma(d_gated, s[0], d[1]), d[2] = fma(d_gated, s[1], d[3]), d[4] = d_gated * d[4];
        ds[0] = fma(d_gated, saved[0], ds[0]), ds[1] = fma(d_gated, saved[1], ds[1]);
        gated = fma(saved[0], s[0], saved[1] * s[1]);
    }
};

// Two products and two vectors, whose gates stand apart.
template <class V>
struct FedGates {
    static constexpr const char* name = "fed_gates";
    static constexpr const char* states[] = {"h", "c"};
    static constexpr Gate gates[] = {{"a", Input::projected, Operand::gated, 0, 0},
                                     {"b", Input::projected, Operand::hidden, 1, 1},
                                     {"c", Input::none, Operand::feedback, 2, 2},
                                     {"d", Input::projected, Operand::feedback, 3, 3}};
    static constexpr int saved_count = 3, slot_count = 4, feedback_count = 2;
    static void forward_gates(const V* x, const V* u, const V* s, V* saved, V& gated) {
        saved[0] = sigmoid(x[1] + u[1]), saved[1] = tanh(u[2]);
        gated = fma(saved[0], s[0], saved[1] * s[1]) + sigmoid(x[3] + u[3]);
    }
    static void forward_state(const V* x, const V* u, const V* s, V* saved, V* n) {
        saved[2] = tanh(x[0] + u[0]);
        n[1] = fma(saved[0], s[1], saved[2] * saved[1]);
        n[0] = tanh(n[1] + s[0]);
    }
    static void feedback(const V* n, V* vectors) { vectors[0] = n[1] * n[0], vectors[1] = sigmoid(n[1]); }
    // As of FiveGates: the second half completes slots of fed gates, too.
    static void backward_state(const V* saved, const V* s, const V* n, const V* dn, V* d, V* ds) {
        d[0] = fma(-saved[2], saved[2], V(1.0F)) * dn[1], d[1] = dn[0] * n[0] * V(0.25F);
        d[2] = dn[1] * s[1] * V(0.5F), d[3] = dn[0] * n[1];
        ds[0] = dn[0] * saved[0], ds[1] = dn[1] * saved[1];
    }
    static void backward_gates(const V* saved, const V* s, V d_gated, V* d, V* ds, V& gated) {
        d[1] = fma(d_gated, s[0], d[1]), d[3] = d_gated * d[3];
        ds[0] = fma(d_gated, saved[0], ds[0]), ds[1] = fma(d_gated, saved[1], ds[1]);
        gated = fma(saved[0], s[0], saved[1] * s[1]);
    }
    static void feedback_backward(const V* n, const V* d_vectors, V* dn) {
        const V f = sigmoid(n[1]);
        dn[0] = fma(d_vectors[0], n[1], dn[0]);
        dn[1] = fma(d_vectors[0], n[0], fma(d_vectors[1], f * (V(1.0F) - f), dn[1]));
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
