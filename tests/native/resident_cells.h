// What only the checks of resident kernels have: cells, and every number of gates that shapes are made for.
#pragma once

#include <vector>

#include "cells/cell.h"
#include "cuda/resident/geometry.h"
#include "math/functions.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline std::vector<TileGates> every_gates() {
    std::vector<TileGates> all;
    for (int gates = 1; gates <= kMostGates; ++gates) {
        all.push_back(gates);
        for (const int vectors : {1, 2, 3})
            for (int fed = 1; fed < gates && fed <= 4; ++fed) all.push_back({gates, vectors, fed});
    }
    return all;
}

// Six gates: two tiles for a unit. Its backward is none of its forward: numbers that depend on all that it reads.
template <class V>
struct SixGates {
    static constexpr const char* name = "six_gates";
    static constexpr const char* states[] = {"h", "c"};
    static constexpr Gate gates[] = {
        {"a", Input::projected, Operand::hidden, 0, 0}, {"b", Input::projected, Operand::hidden, 1, 1},
        {"c", Input::none, Operand::hidden, 2, 2},      {"d", Input::projected, Operand::hidden, 3, 3},
        {"e", Input::projected, Operand::hidden, 4, 4}, {"f", Input::projected, Operand::hidden, 5, 5}};
    static constexpr int saved_count = 1, slot_count = 6;
    RNNKERNELS_INLINE static void forward(const V* x, const V* u, const V*, const V* s, V* n, V* saved) {
        saved[0] = sigmoid(x[0] + u[0]);
        n[1] = fma(saved[0], s[1], tanh(x[1] + u[1]) * sigmoid(u[2]));
        n[0] = tanh(n[1] + x[3] + u[3]) * sigmoid(x[4] + u[4]) + sigmoid(x[5] + u[5]);
    }
    RNNKERNELS_INLINE static void backward(const V* saved, const V*, const V* s, const V* n, const V* dn, V* d, V* ds) {
        const V one(1.0F), h = n[0];
        for (int i = 0; i < 6; ++i) d[i] = (one - h * h) * dn[0] * V(0.125F * static_cast<float>(i + 1));
        d[0] = fma(saved[0], dn[1], d[0]);
        ds[0] = d[3] * s[0];
        ds[1] = saved[0] * dn[1] + s[1] * d[2];
    }
};

// One product of h and one of a vector, six gates: two tiles, each multiplied with both. What comes to the vector goes
// to both states.
template <class V>
struct FedSixGates : SixGates<V> {
    static constexpr const char* name = "fed_six_gates";
    static constexpr Gate gates[] = {
        {"a", Input::projected, Operand::hidden, 0, 0},   {"b", Input::projected, Operand::hidden, 1, 1},
        {"c", Input::none, Operand::hidden, 2, 2},        {"d", Input::projected, Operand::hidden, 3, 3},
        {"e", Input::projected, Operand::feedback, 4, 4}, {"f", Input::projected, Operand::feedback, 5, 5}};
    static constexpr int feedback_count = 1;
    RNNKERNELS_INLINE static void feedback(const V* n, V* vectors) { vectors[0] = tanh(n[0] - n[1]); }
    RNNKERNELS_INLINE static void feedback_backward(const V* n, const V* d_vectors, V* dn) {
        const V t = tanh(n[0] - n[1]), d = d_vectors[0] * fma(-t, t, V(1.0F));
        dn[0] = dn[0] + d, dn[1] = dn[1] - d;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
