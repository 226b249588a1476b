// The forward's weights in the layout of its products: packed for one call (in the call's scratch memory), or
// once for many (a prepared layer, which owns its memory).
// Not here: the backward's, which are other products' (backward.h).
#pragma once

#include "geometry.h"
#include "token_rows.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
struct ForwardWeights {
    using G = Geometry<Cell>;

    Panels<T> input{}, hidden{}, gated{};
    const T *b_input = nullptr, *b_hidden = nullptr, *b_gated = nullptr;
    TokenRows<T> token_rows{};

    // Which weights get room, beside the biases and weight_hh.
    struct Wanted {
        bool input;   // weight_ih, for vectors
        bool tokens;  // the table of weight_ih's columns, for tokens
    };

    void take(Workspace& workspace, const Inputs& in, Wanted wanted, WeightStorage storage) {
        const Shape& shape = in.shape;
        const T* bias_ih = static_cast<const T*>(in.bias_ih);
        const T* bias_hh = static_cast<const T*>(in.bias_hh);
        b_input = pack_bias(workspace, bias_ih, input_rows<Cell>.row, input_columns(shape));
        b_hidden = pack_bias(workspace, bias_hh, hidden_rows<Cell>.row, hidden_columns(shape));
        hidden = take_panels<T>(workspace, shape.hidden, G::hiddens, hidden_columns(shape).vectors(), storage);
        if constexpr (two_products<Cell>) {
            b_gated = pack_bias(workspace, bias_hh, gated_rows<Cell>.row, gated_columns(shape));
            gated = take_panels<T>(workspace, shape.hidden, G::gateds, gated_columns(shape).vectors(), storage);
        }
        if (wanted.input)
            input = take_panels<T>(workspace, shape.input, G::inputs, input_columns(shape).vectors(), storage);
        if (wanted.tokens) token_rows = take_token_rows<T>(workspace, shape.input, input_columns(shape).row());
    }

    // This thread's share of the packing.
    void pack(const Inputs& in, int thread, int threads) const {
        const T* weight_ih = static_cast<const T*>(in.weight_ih);
        const T* weight_hh = static_cast<const T*>(in.weight_hh);
        if (token_rows.table)
            fill_token_table(token_rows, in.shape.input, weight_ih, input_rows<Cell>.row, b_input,
                             input_columns(in.shape), hidden.storage, thread, threads);
        pack_share(input, weight_ih, input_rows<Cell>.row, input_columns(in.shape), thread, threads);
        pack_share(hidden, weight_hh, hidden_rows<Cell>.row, hidden_columns(in.shape), thread, threads);
        if constexpr (two_products<Cell>)
            pack_share(gated, weight_hh, gated_rows<Cell>.row, gated_columns(in.shape), thread, threads);
    }

    static UnitColumns<T> input_columns(const Shape& shape) { return {shape.hidden, G::inputs}; }
    static UnitColumns<T> hidden_columns(const Shape& shape) { return {shape.hidden, G::hiddens}; }
    static UnitColumns<T> gated_columns(const Shape& shape) { return {shape.hidden, G::gateds}; }

private:
    static void pack_share(const Panels<T>& to, const T* weight, const int* row, const UnitColumns<T>& columns,
                           int thread, int threads) {
        if (!to.data) return;
        const Index count = to.count();
        pack_gates(to, 0, weight, row, columns, count * thread / threads, count * (thread + 1) / threads);
    }
};

// Weights that stay packed, in memory of their own: what ForwardCall::prepared points to.
template <class Cell, class T>
struct PreparedWeights {
    Workspace workspace{Workspace::kFresh};
    ForwardWeights<Cell, T> weights{};
    const Inputs* in = nullptr;  // only while they are being packed
    int threads = 1;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
