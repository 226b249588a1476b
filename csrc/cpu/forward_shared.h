// What all threads of a forward share: its plan, its weights in the layout of the products, its scratch memory.
// Not here: the work of a thread (forward.h).
#pragma once

#include "attending.h"
#include "low_rows.h"
#include "weights.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Scratch memory of one thread; null what the call does not need.
template <class T>
struct ForwardScratch {
    T* strip;   // (rows x blocks of a strip, gates of the widest product, lanes)
    T* fed;     // (rows x blocks of a strip, feedback gates, lanes)
    T* old;     // (rows x blocks of a strip, states after h, lanes): before the step, for a zoned call
    T* x_row;   // (blocks, input gates, lanes): a row of x, normalised
    T* u_row;   // (blocks, hidden gates, lanes): a row of u, normalised
    T* normal;  // (blocks, lanes): the value inside the cell, normalised
    T* panels;  // panels that are packed where they are used
    T* low;     // rows of x, or of what a step multiplies, for products in low precision
    AttendingScratch<T> attending;
};

// How a call without a prepared layer keeps its weights.
inline Kept kept_by(const ForwardCall& call) {
    return call.in.products == Products::full ? Kept{} : kept_as(WeightStorage::full, call.in.products);
}
// How a forward multiplies its recurrent weight: one with heads as floats. Not said by geometry.h's function, with
// which a vanilla RNN's call took five instructions more.
template <class T>
Kept recurrent_kept(const CellTable& table, const ForwardCall& call) {
    if (call.prepared) return static_cast<const PreparedWeights<T>*>(call.prepared)->weights.hidden.panels.kept;
    return table.heads > 1 ? Kept{} : kept_by(call);
}

template <class T>
struct ForwardShared {
    static constexpr int lanes = Vec<T>::lanes;

    ForwardShared(const EngineCell<T>& engine_cell, const ForwardCall& forward_call, Workspace& space)
        : cell(engine_cell),
          table(cell.table),
          call(forward_call),
          rows(forward_call.in),
          masks(call.in.noise, rows),
          workspace(space),
          watch(call.in.watch ? call.in.watch : cpu::unwatched()) {}

    const EngineCell<T>& cell;
    const CellTable& table;
    const ForwardCall& call;
    const Rows rows;
    const Masks<T> masks;
    Workspace& workspace;
    Watch* const watch;
    Plan plan{};
    Index blocks = 0;    // of units
    Index h_blocks = 0;  // of h
    CallClaims claims{};
    ForwardWeights<T> own_weights{};
    ForwardScratch<T>* scratch = nullptr;  // of each thread
    const T* initial[kMaxStates] = {};     // each (B, H)
    T* x_part = nullptr;                   // (chunk*B, blocks*inputs*lanes)
    T* others = nullptr;                   // (B, blocks*(states-1)*lanes): the states after h, updated in place
    T* saved = nullptr;                    // (B, blocks*saved*lanes): between the phases, when nothing is kept
    T* made = nullptr;                     // (B, blocks*lanes): the gated state, or what is normalised inside the cell
    T* u = nullptr;                        // (B, row of columns): W_hh h, until it is normalised
    T* feedback = nullptr;                 // (rows or 2*B, vectors*H): what step t reads, before it begins
    T* unprojected = nullptr;              // (rows or B, H): what becomes h, where it is projected
    T* scales = nullptr;                   // (rows, norms): 1 / sqrt(variance), for the backward; null: not kept
    T* masked = nullptr;                   // (2, B, H): h before even and odd steps, as the recurrent weight sees it
    T* one_hot = nullptr;                  // (2*H): zeros around a one: a token, for gates that take x itself
    DroppedWeights<T> dropped{};
    AttendingForward<T> attending{};
    T settings[kMaxSettings] = {};
    bool held = false;  // whether the call has settings
    // Where rows of the caller's arrays do not follow each other: copies that do.
    T* h = nullptr;                        // (2, B, H): h before even and odd steps
    T* x = nullptr;                        // (chunk*B, I)
    const std::int64_t* tokens = nullptr;  // (rows)

    // The threads that a call can use at all, so that no other is woken.
    int useful_threads(int threads) {
        plan = plan_of(cell, Pass::forward, call.in, threads, threads > 1 ? recurrent_kept<T>(table, call) : Kept{});
        return plan.threads;
    }
    // For the threads that it got.
    void prepare(int threads) {
        if (threads > 1 || plan.threads > 1)
            plan = plan_of(cell, Pass::forward, call.in, threads, recurrent_kept<T>(table, call));
        if (call.prepared && weights().input.panels.kept.storage == WeightStorage::int8) {
            const Index batch = call.in.shape.batch, steps = cpu::kInt8Rows / (batch > 0 ? batch : 1);
            plan.forward_chunk = least(plan.forward_chunk, steps > 0 ? steps : Index{1});
        }
        prepare();
    }

    const ForwardWeights<T>& weights() const {
        return call.prepared ? static_cast<const PreparedWeights<T>*>(call.prepared)->weights : own_weights;
    }

    // As the plan says.
    void prepare() {
        held = copy_settings(call.in, table, settings);
        const Shape& shape = call.in.shape;
        const Index width = width_of(table, shape);
        blocks = blocks_of<T>(shape.hidden);
        h_blocks = blocks_of<T>(width);
        claims.take(workspace, plan);
        Index panels = 0;
        if (!call.prepared) {
            // One group of rows: each panel has one user. One chunk: weight_ih is used once; one step: weight_hh.
            const bool alone = plan.row_groups == 1;
            const bool input_once = alone && rows.total() <= plan.forward_chunk * shape.batch;
            const bool recurrent_once = alone && shape.steps <= 1;
            const bool token_table = call.in.tokens && shape.input <= rows.total();
            Inputs in = call.in;
            if (in.attention) take_attending(shape, width);
            dropped.take(workspace, in, recurrent_row(table, shape), table.recurrents, table.gg_rows, table.gg_columns);
            own_weights.take(workspace, table, in,
                             {call.in.x && !input_once, token_table, !recurrent_once, kept_by(call)});
            if (input_once) {
                const Index of_hidden = width * cell.item_blocks(Pass::forward, shape.batch);
                const Index of_input = shape.input * cell.item_blocks(Pass::forward, rows.total());
                panels = (call.in.x && of_input > of_hidden ? of_input : of_hidden) * table.gates * lanes;
            }
        }
        take_arrays(shape, width);
        scratch = workspace.take<ForwardScratch<T>>(plan.threads);
        for (int thread = 0; thread < plan.threads; ++thread) scratch[thread] = take_scratch(panels);
    }

private:
    void take_attending(const Shape& shape, Index width) {
        T* const kept = call.reserve
                            ? behind_reserve(table, static_cast<T*>(call.reserve), shape, masks.zones, rows.total())
                            : nullptr;
        attending.take(workspace, table, call, width, kept);
    }
    // Lanes for rows of x in a chunk, or for those of a step's two products.
    Index low_size(Kept kept) const {
        const Shape& shape = call.in.shape;
        const Index width = width_of(table, shape), widest = shape.hidden > width ? shape.hidden : width;
        const Index of_row = kept.of_input(table.input.fine).row_lanes(shape.input);
        const Index of_x = call.in.x ? plan.forward_chunk * shape.batch * of_row : 0;
        const Index of_step = shape.batch * (kept.row_lanes(widest) + kept.row_lanes(table.vectors * shape.hidden));
        return of_x > of_step ? of_x : of_step;
    }
    ForwardScratch<T> take_scratch(Index panels) const {
        const Index strip = cell.strip_blocks(Pass::forward) * lanes, row = blocks * lanes;
        const int widest = table.hidden.count > table.gated.count ? table.hidden.count : table.gated.count;
        ForwardScratch<T> of{};
        if (attending.call) of.attending.take(workspace, attending);
        if (panels > 0) of.panels = workspace.take<T>(panels);
        // Of a cell with heads x alone is converted.
        const Kept of_h = weights().hidden.panels.kept, kept = of_h.low != 0 ? of_h : weights().input.panels.kept;
        if (kept.low != 0) of.low = workspace.take<T>(low_size(kept));
        if (table.norms > 0) {
            of.x_row = workspace.take<T>(row * table.input.count);
            of.u_row = workspace.take<T>(row * table.hidden.count);
            of.normal = workspace.take<T>(row);
            if (masks.zones) of.old = workspace.take<T>(row * (table.states - 1));
            return of;
        }
        of.strip = workspace.take<T>(strip * widest);
        if (table.vectors > 0) of.fed = workspace.take<T>(strip * table.feedback.count);
        if (masks.zones) of.old = workspace.take<T>(strip * (table.states - 1));
        return of;
    }
    // What a call keeps from step to step.
    void take_arrays(const Shape& shape, Index width) {
        const bool inner = table.form == Form::normalised_inner;
        if (!weights().token_table)
            x_part = workspace.take<T>(plan.forward_chunk * shape.batch * weights().input.columns.row());
        if (table.form == Form::two_products || inner) {
            made = workspace.take<T>(shape.batch * blocks * lanes);
            if (!call.reserve) saved = workspace.take<T>(shape.batch * blocks * table.saved * lanes);
        }
        if (table.norms > 0) u = workspace.take<T>(shape.batch * weights().hidden.columns.row());
        T* behind = nullptr;
        if (call.reserve)
            behind = behind_blocks_of(table, static_cast<T*>(call.reserve), shape, masks.zones, rows.total());
        if (table.vectors > 0)
            feedback = behind ? behind : workspace.take<T>(2 * shape.batch * table.vectors * shape.hidden);
        if (table.form == Form::projected)
            unprojected = behind ? behind : workspace.take<T>(shape.batch * shape.hidden);
        if (table.norms > 0) scales = behind;
        for (int s = 0; s < table.states; ++s)
            initial[s] = state_or_zeros<T>(workspace, call.in.state[s], shape.batch, s == 0 ? width : shape.hidden);
        if (table.states > 1) others = workspace.take<T>(shape.batch * blocks * (table.states - 1) * lanes);
        if (masks.drops) masked = workspace.take<T>(2 * shape.batch * width);
        if (table.directs > 0 && call.in.tokens) {
            one_hot = take_zeros<T>(workspace, 2 * shape.hidden);
            if (shape.hidden > 0) one_hot[shape.hidden] = T(1);
        }
        tokens = tokens_in_order(workspace, call.in.tokens, rows);
        if (!rows.of_rows) return;
        h = workspace.take<T>(2 * shape.batch * width);
        if (call.in.x) x = workspace.take<T>(plan.forward_chunk * shape.batch * shape.input);
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
