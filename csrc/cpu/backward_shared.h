// What all threads of a backward share: its plan, its weights in the layout of the products, its scratch memory.
// Not here: the work of a thread (backward.h).
#pragma once

#include "dropped_weights.h"
#include "geometry.h"
#include "gradient_norms.h"
#include "weight_gradients.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
struct BackwardShared {
    using G = Geometry<Cell>;
    static constexpr int lanes = Vec<T>::lanes;

    BackwardShared(const BackwardCall& backward_call, Workspace& space)
        : call(backward_call), in(call.in), rows(call.in), masks(call.in.noise, rows), workspace(space) {}

    const BackwardCall& call;
    Inputs in;  // with the weights that are multiplied: some of their elements may have been dropped
    const Rows rows;
    const Masks<T, G::states> masks;
    Workspace& workspace;
    Plan plan{};
    Index blocks = 0;    // of units
    Index h_blocks = 0;  // of h
    Barrier* barriers = nullptr;
    // Transposed: k runs over gates and units. The recurrent ones: h's, then the feedback vectors', one for each.
    Panels<T> w_recurrent[1 + G::vectors] = {}, w_gated{}, w_input{}, w_projection{};
    // Offsets, in a gradient row, of the slots that each product sums over.
    Index hidden_slots[16] = {}, feedback_slots[16] = {}, gated_slots[16] = {}, input_slots[16] = {};
    Index direct_slots[16] = {}, diagonal_slots[16] = {};
    // Those of the biases: the same, but for a bias that stands behind a normalisation.
    Index input_bias_slots[16] = {}, hidden_bias_slots[16] = {};
    const T* zeros = nullptr;
    const T* initial[G::states] = {};  // each (B, H)
    T* gradient = nullptr;             // ((chunk+1)*B, slots, blocks*lanes)
    T* carried = nullptr;              // (B, blocks*states*lanes): dL/ds on its way to the step before
    T* gated = nullptr;                // (chunk*B, blocks*lanes)
    T* dh = nullptr;                   // (chunk*B, h_blocks*lanes): dL/dh, where h is projected
    const T* unprojected = nullptr;    // (rows, H), the forward's
    T* masked = nullptr;               // (chunk*B, h_blocks*lanes): h as the recurrent weight saw it
    DroppedWeights<T> dropped{};
    T settings[G::settings + 1] = {};
    GradientNorms<T, G::states> norms{};
    const T* feedback = nullptr;           // (rows, vectors*H), the forward's
    const std::int64_t* tokens = nullptr;  // (rows)
    const Index* step_of = nullptr;        // (rows): which step a row belongs to; null where the batch is dense
    const T* diagonal = nullptr;           // (D, blocks*lanes)
    T* slot_sums = nullptr;                // (slots, blocks*lanes)
    T* token_sums = nullptr;               // (I, inputs, blocks*lanes)
    T* term_sums = nullptr;                // (B, inputs, blocks*lanes)
    OuterProduct<T> outer{};

    Index padded() const { return blocks * lanes; }
    Index h_padded() const { return h_blocks * lanes; }
    Index gradient_row() const { return G::slots * padded(); }

    void prepare(int threads) {
        for (int k = 0; k < G::settings; ++k) settings[k] = static_cast<T>(call.in.settings[k]);
        const Shape& shape = call.in.shape;
        plan = plan_of<Cell, T>(Pass::backward, call.in, threads);
        const Index width = width_of<Cell>(shape);
        blocks = blocks_of<T>(shape.hidden);
        h_blocks = blocks_of<T>(width);
        barriers = take_barriers(workspace, plan);
        w_recurrent[0] = take_panels<T>(workspace, G::hiddens * shape.hidden, 1, h_blocks);
        if constexpr (projected<Cell>) {
            w_projection = take_panels<T>(workspace, width, 1, blocks);
            // A row more than there are: the last tile of a sum reads beyond the units it needs.
            dh = workspace.take<T>((plan.backward_chunk * shape.batch + 1) * h_padded());
            unprojected = behind_blocks_of<Cell>(static_cast<const T*>(call.reserve), shape, masks.zones, rows.total());
        }
        for (int k = 0; k < G::vectors; ++k)
            w_recurrent[1 + k] = take_panels<T>(workspace, G::feedbacks * shape.hidden, 1, blocks);
        Index widest = h_blocks > blocks ? h_blocks : blocks;
        for (int i = 0; i < G::hiddens; ++i) {
            hidden_bias_slots[i] = Cell::gates[hidden_gates<Cell>.gate[i]].du * padded();
            hidden_slots[i] = normalised<Cell> ? (Cell::slot_count + G::inputs + i) * padded() : hidden_bias_slots[i];
        }
        for (int i = 0; i < G::feedbacks; ++i)
            feedback_slots[i] = Cell::gates[feedback_gates<Cell>.gate[i]].du * padded();
        for (int i = 0; i < G::directs; ++i) direct_slots[i] = Cell::gates[direct_gates<Cell>.gate[i]].dx * padded();
        if constexpr (G::diagonals > 0) {
            for (int k = 0; k < G::diagonals; ++k) diagonal_slots[k] = Cell::diagonals.diagonal[k].slot * padded();
            diagonal =
                padded_rows(workspace, static_cast<const T*>(call.in.weight_diagonal), G::diagonals, shape.hidden);
        }
        if constexpr (G::vectors > 0)
            feedback = behind_blocks_of<Cell>(static_cast<const T*>(call.reserve), shape, masks.zones, rows.total());
        for (int i = 0; i < G::inputs; ++i) {
            input_bias_slots[i] = Cell::gates[input_gates<Cell>.gate[i]].dx * padded();
            input_slots[i] = normalised<Cell> ? (Cell::slot_count + i) * padded() : input_bias_slots[i];
        }
        if constexpr (two_products<Cell>) {
            w_gated = take_panels<T>(workspace, G::gateds * shape.hidden, 1, blocks);
            for (int i = 0; i < G::gateds; ++i) gated_slots[i] = Cell::gates[gated_gates<Cell>.gate[i]].du * padded();
            gated = workspace.take<T>(plan.backward_chunk * shape.batch * padded());
        }
        if (call.dx) {
            w_input = take_panels<T>(workspace, G::inputs * shape.hidden, 1, blocks_of<T>(shape.input));
            widest = w_input.vectors > widest ? w_input.vectors : widest;
        }
        zeros = take_zeros<T>(workspace, widest * lanes);
        for (int s = 0; s < G::states; ++s)
            initial[s] = state_or_zeros<T>(workspace, call.in.state[s], shape.batch, s == 0 ? width : shape.hidden);
        gradient = workspace.take<T>((plan.backward_chunk + 1) * shape.batch * gradient_row());
        carried = workspace.take<T>(shape.batch * blocks * G::states * lanes);
        slot_sums = take_zeros<T>(workspace, gradient_row());
        if (masks.drops) masked = workspace.take<T>(plan.backward_chunk * shape.batch * h_padded());
        dropped.take(workspace, in, width, G::recurrents, G::gg_rows, G::gg_columns);
        if (call.norms[0]) norms.take(workspace, plan.backward_chunk * shape.batch, h_blocks, blocks);
        if (call.in.tokens) token_sums = workspace.take<T>(shape.input * G::inputs * padded());
        if (call.dterm) term_sums = take_zeros<T>(workspace, shape.batch * G::inputs * padded());
        const Index own = (G::vectors > 1 ? G::vectors : 1) * shape.hidden, recurrent = own > width ? own : width;
        outer = take_outer_product<T>(workspace, shape.input > recurrent ? shape.input : recurrent);
        tokens = tokens_in_order(workspace, call.in.tokens, rows);
        if (!rows.ragged()) return;
        Index* steps = workspace.take<Index>(rows.total());
        for (Index t = 0; t < rows.steps; ++t)
            for (Index row = rows.first(t); row < rows.first(t + 1); ++row) steps[row] = t;
        step_of = steps;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
