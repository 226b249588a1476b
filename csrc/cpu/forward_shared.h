// What all threads of a forward share: its plan, its weights in the layout of the products, its scratch memory.
// Not here: the work of a thread (forward.h).
#pragma once

#include "dropped_weights.h"
#include "weights.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
struct ForwardShared {
    using G = Geometry<Cell>;
    static constexpr int lanes = Vec<T>::lanes;

    ForwardShared(const ForwardCall& forward_call, Workspace& space)
        : call(forward_call), rows(forward_call.in), masks(call.in.noise, rows), workspace(space) {}

    const ForwardCall& call;
    const Rows rows;
    const Masks<T, G::states> masks;
    Workspace& workspace;
    Plan plan{};
    Index blocks = 0;    // of units
    Index h_blocks = 0;  // of h
    Barrier* barriers = nullptr;
    ForwardWeights<Plain<Cell>, T> weights{};
    T* items = nullptr;  // (threads, item_size): panels that are packed where they are used
    Index item_size = 0;
    const T* initial[G::states] = {};  // each (B, H)
    T* x_part = nullptr;               // (chunk*B, blocks*inputs*lanes)
    T* extra = nullptr;                // (B, blocks*(states-1)*lanes): the states after h, updated in place
    T* saved = nullptr;                // (B, blocks*saved*lanes): between the phases, when nothing is kept
    T* gated = nullptr;                // (B, blocks*lanes)
    T* u = nullptr;                    // (B, row of columns): W_hh h, until it is normalised
    T* inner = nullptr;                // (B, blocks*lanes): what is normalised inside the cell
    T* feedback = nullptr;             // (rows or 2*B, vectors*H): what step t reads, before it begins
    T* unprojected = nullptr;          // (rows or B, H): what becomes h, where it is projected
    T* masked = nullptr;               // (2, B, H): h before even and odd steps, as the recurrent weight sees it
    DroppedWeights<T> dropped{};
    T settings[G::settings + 1] = {};
    // Where rows of the caller's arrays do not follow each other: copies that do.
    T* h = nullptr;                        // (2, B, H): h before even and odd steps
    T* x = nullptr;                        // (chunk*B, I)
    const std::int64_t* tokens = nullptr;  // (rows)

    void prepare(int threads) { prepare(plan_of<Cell, T>(Pass::forward, call.in, threads)); }

    T* item_scratch(int thread) const { return items + thread * item_size; }
    bool drop_weights(int thread, int threads) const { return dropped.fill(thread, threads); }

    void prepare(const Plan& cut) {
        for (int k = 0; k < G::settings; ++k) settings[k] = static_cast<T>(call.in.settings[k]);
        const Shape& shape = call.in.shape;
        plan = cut;
        blocks = blocks_of<T>(shape.hidden);
        h_blocks = blocks_of<T>(width_of<Cell>(shape));
        barriers = take_barriers(workspace, plan);
        if (call.prepared) {
            weights = static_cast<const PreparedWeights<Plain<Cell>, T>*>(call.prepared)->weights;
        } else {
            // One group of rows: each panel has one user. One chunk: weight_ih is used once; one step: weight_hh.
            const bool alone = plan.row_groups == 1;
            const bool input_once = alone && rows.total() <= plan.forward_chunk * shape.batch;
            const bool recurrent_once = alone && shape.steps <= 1;
            const bool table = call.in.tokens && shape.input <= rows.total();
            Inputs in = call.in;
            dropped.take(workspace, in, width_of<Cell>(shape), G::recurrents, G::gg_rows, G::gg_columns);
            weights.take(workspace, in, {call.in.x && !input_once, table, !recurrent_once, WeightStorage::full});
            if (input_once) {
                const Index of_hidden = width_of<Cell>(shape) * item_blocks<Cell>(Pass::forward, shape.batch);
                const Index of_input = shape.input * item_blocks<Cell>(Pass::forward, rows.total());
                item_size = (call.in.x && of_input > of_hidden ? of_input : of_hidden) * G::gates * lanes;
                items = workspace.take<T>(plan.threads * item_size);
            }
        }
        if (!weights.token_table)
            x_part = workspace.take<T>(plan.forward_chunk * shape.batch * weights.input.columns.row());
        if constexpr (two_products<Cell>) {
            gated = workspace.take<T>(shape.batch * blocks * lanes);
            if (!call.reserve) saved = workspace.take<T>(shape.batch * blocks * G::saved * lanes);
        }
        if constexpr (normalised<Cell>) {
            u = workspace.take<T>(shape.batch * weights.hidden.columns.row());
            if constexpr (normalises_inner<Cell>) {
                inner = workspace.take<T>(shape.batch * blocks * lanes);
                if (!call.reserve) saved = workspace.take<T>(shape.batch * blocks * G::saved * lanes);
            }
        }
        if constexpr (G::vectors > 0)
            feedback = call.reserve
                           ? behind_blocks_of<Cell>(static_cast<T*>(call.reserve), shape, masks.zones, rows.total())
                           : workspace.take<T>(2 * shape.batch * G::vectors * shape.hidden);
        if constexpr (projected<Cell>)
            unprojected = call.reserve
                              ? behind_blocks_of<Cell>(static_cast<T*>(call.reserve), shape, masks.zones, rows.total())
                              : workspace.take<T>(shape.batch * shape.hidden);
        const Index width = width_of<Cell>(shape);
        for (int s = 0; s < G::states; ++s)
            initial[s] = state_or_zeros<T>(workspace, call.in.state[s], shape.batch, s == 0 ? width : shape.hidden);
        if (G::states > 1) extra = workspace.take<T>(shape.batch * blocks * (G::states - 1) * lanes);
        if (masks.drops) masked = workspace.take<T>(2 * shape.batch * width);
        tokens = tokens_in_order(workspace, call.in.tokens, rows);
        if (!rows.of_rows) return;
        h = workspace.take<T>(2 * shape.batch * width);
        if (call.in.x) x = workspace.take<T>(plan.forward_chunk * shape.batch * shape.input);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
