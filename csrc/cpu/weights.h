// The forward's weights in the layout of its products: packed for one call (in the call's scratch memory), or
// once for many (a prepared layer, which owns its memory).
// Not here: the backward's, which are other products' (backward.h).
#pragma once

#include "geometry.h"
#include "token_rows.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
struct ForwardWeights {
    GateProduct<T> input{}, hidden{}, feedback{}, gated{}, projection{};
    const T* diagonal = nullptr;  // (D, blocks*lanes)
    const T* shift[2] = {};       // (Gx, blocks*lanes), (Gh, blocks*lanes): biases that stand behind a normalisation
    T* token_table = nullptr;     // (tokens, row of columns): a row for each token
    Index tokens = 0;             // I

    // Which of them get room for all of their panels. A weight that each of its panels is used once of is packed
    // where it is used, an item at a time: it never leaves the cache.
    struct Wanted {
        bool input;      // weight_ih, for vectors
        bool tokens;     // the table of weight_ih's columns, for tokens
        bool recurrent;  // weight_hh
        Kept kept;
    };

    void take(Workspace& workspace, const CellTable& table, const Inputs& in, const Wanted& wanted) {
        const Shape& shape = in.shape;
        const Index row = recurrent_row(table, shape);
        const bool dense = table.heads == 1, packed = wanted.recurrent && dense;
        const bool normalised = table.norms > 0;
        const void* bias_ih = normalised ? nullptr : in.bias_ih;
        const void* bias_hh = normalised ? nullptr : in.bias_hh;
        // Heads are multiplied as floats.
        const Kept recurrent = dense || wanted.kept.low == 0 ? wanted.kept : Kept{};
        input = take_gate_product<T>(workspace, shape.hidden, in.weight_ih, bias_ih, shape.input - input_apart(in),
                                     table.input, wanted.input, wanted.kept.of_input(table.input.fine), input_row(in));
        hidden = take_gate_product<T>(workspace, shape.hidden, in.weight_hh, bias_hh, row, table.hidden, packed,
                                      recurrent, row);
        if (normalised) {
            shift[0] = shift_rows(workspace, in.bias_ih, table.input.count, shape.hidden);
            shift[1] = shift_rows(workspace, in.bias_hh, table.hidden.count, shape.hidden);
        }
        if (table.gated.count > 0)
            gated = take_gate_product<T>(workspace, shape.hidden, in.weight_hh, in.bias_hh, row, table.gated, packed,
                                         recurrent, row);
        if (table.vectors > 0) {  // always packed: few cells have it
            const bool own = table.own_feedback_weight;
            const Index fed_row = own ? table.vectors * shape.hidden : row;
            feedback =
                take_gate_product<T>(workspace, shape.hidden, own ? in.weight_gg : in.weight_hh,
                                     own ? nullptr : in.bias_hh, fed_row, table.feedback, dense, recurrent, fed_row);
        }
        if (!dense)
            for (GateProduct<T>* const product : {&hidden, &feedback, &gated})
                if (product->columns.gates > 0) take_heads(workspace, *product);
        if (table.form == Form::projected)
            projection = take_gate_product<T>(workspace, shape.projection, in.weight_hr, nullptr, shape.hidden,
                                              kOneGate, true, wanted.kept, shape.hidden);
        if (table.diagonals > 0)
            diagonal = padded_rows(workspace, static_cast<const T*>(in.weight_diagonal), table.diagonals, shape.hidden);
        tokens = shape.input;
        if (wanted.tokens) token_table = workspace.take<T>(tokens * input.columns.row());
    }

    // A share of the packing.
    void pack(int share, int shares) const {
        if (token_table) fill_token_table(token_table, input, tokens, share, shares);
        const GateProduct<T>* const products[] = {&input, &hidden, &feedback, &gated, &projection};
        for (const GateProduct<T>* product : products) product->pack_share(share, shares);
    }

    // The same of weights that are kept as int8; `how` has their scales.
    [[gnu::noinline]] void pack_int8(const CellTable& table, const Preparation& how, int share, int shares) const {
        if (token_table) fill_int8_token_table(token_table, input, how.scale_ih, share, shares);
        input.pack_int8_share(how.scale_ih, share, shares);
        hidden.pack_int8_share(how.scale_hh, share, shares);
        feedback.pack_int8_share(table.own_feedback_weight ? how.scale_gg : how.scale_hh, share, shares);
        gated.pack_int8_share(how.scale_hh, share, shares);
        projection.pack_int8_share(how.scale_hr, share, shares);
    }

private:
    static const T* shift_rows(Workspace& workspace, const void* bias, Index gates, Index hidden) {
        if (bias) return padded_rows(workspace, static_cast<const T*>(bias), gates, hidden);
        return take_zeros<T>(workspace, gates * blocks_of<T>(hidden) * Vec<T>::lanes);
    }
};

// Weights that stay packed, in memory of their own: what ForwardCall::prepared points to.
template <class T>
struct PreparedWeights {
    Workspace workspace{Workspace::kFresh};
    ForwardWeights<T> weights{};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
