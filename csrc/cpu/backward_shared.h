// What all threads of a backward share: its plan, its weights in the layout of the products, its scratch memory.
// Not here: the work of a thread (backward.h).
#pragma once

#include "attending.h"
#include "geometry.h"
#include "gradient_norms.h"
#include "head_gradients.h"
#include "low_weight_gradients.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Blocks of columns of a product that belongs to no gates (a projected cell's, attention's) that are made before they
// are used: whole panels, in a strip that stays in the L1 cache.
inline constexpr Index kStripBlocks = 4 * blocks_per_edge(1, 1);

// Scratch memory of one thread; null what the call does not need.
template <class T>
struct BackwardScratch {
    T* product;   // (rows x blocks of a strip, 1 + vectors that are fed back, lanes)
    T* past;      // (rows x blocks of a strip, states, lanes): what goes past the cell in a zoned call
    T* normal;    // (blocks, lanes): a row of the value inside the cell, normalised
    T* d_normal;  // (blocks, lanes): its gradient
    T* low;       // gradient rows for products of bfloat16: those of a step's, or of a part of dx
    AttendingScratch<T> attending;
};

template <class T>
struct BackwardShared {
    static constexpr int lanes = Vec<T>::lanes;

    BackwardShared(const EngineCell<T>& engine_cell, const BackwardCall& backward_call, Workspace& space)
        : cell(engine_cell),
          table(cell.table),
          call(backward_call),
          in(call.in),
          rows(call.in),
          masks(call.in.noise, rows),
          workspace(space),
          watch(call.in.watch ? call.in.watch : cpu::unwatched()) {}

    const EngineCell<T>& cell;
    const CellTable& table;
    const BackwardCall& call;
    Inputs in;  // with the weights that are multiplied: some of their elements may have been dropped
    const Rows rows;
    const Masks<T> masks;
    Workspace& workspace;
    Watch* const watch;
    Plan plan{};
    Kept kept{};                // how weights without heads are multiplied
    Index blocks = 0;           // of units
    Index h_blocks = 0;         // of h
    Index gradient_values = 0;  // of a gradient row
    CallClaims claims{};
    // Transposed: k runs over gates and units. The recurrent ones: h's, then the feedback vectors', one for each.
    Panels<T> w_recurrent[1 + kMaxStates] = {}, w_gated{}, w_input{}, w_projection{};
    // Of a cell with heads: those of h, of what was fed back and of the gated state, in the place of the dense ones.
    HeadProduct<T> w_heads[3] = {};
    // Offsets, in a gradient row, of the slots that each product sums over, of the biases', and of the element-wise
    // weights'.
    Index hidden_slots[kMaxGates] = {}, feedback_slots[kMaxGates] = {}, gated_slots[kMaxGates] = {};
    Index input_slots[kMaxGates] = {}, input_bias_slots[kMaxGates] = {}, hidden_bias_slots[kMaxGates] = {};
    Index direct_slots[kMaxGates] = {}, diagonal_slots[kMaxGates] = {};
    BackwardScratch<T>* scratch = nullptr;  // of each thread
    const T* zeros = nullptr;
    const T* initial_h = nullptr;       // (B, width)
    const T* initial[kMaxStates] = {};  // of the states after h, each (B, blocks*lanes)
    T* gradient = nullptr;              // ((chunk+1)*B, gradient_values): (slots, blocks*lanes) of each row
    T* carried = nullptr;               // (B, blocks*states*lanes): dL/ds on its way to the step before
    T* gated = nullptr;                 // (chunk*B, blocks*lanes)
    T* dh = nullptr;                    // (chunk*B, h_blocks*lanes): dL/dh, where h is projected
    const T* unprojected = nullptr;     // (rows, H), the forward's
    T* masked = nullptr;                // (chunk*B, h_blocks*lanes): h as the recurrent weight saw it
    DroppedWeights<T> dropped{};
    T settings[kMaxSettings] = {};
    bool held = false;     // whether the call has settings
    bool options = false;  // whether it asks for anything of strip_options.h
    GradientNorms<T> norms{};
    const T* feedback = nullptr;           // (rows, vectors*H), the forward's
    const T* scales = nullptr;             // (rows, norms): 1 / sqrt(variance), the forward's
    const std::int64_t* tokens = nullptr;  // (rows)
    const Index* step_of = nullptr;        // (rows): which step a row belongs to; null where the batch is dense
    const T* diagonal = nullptr;           // (D, blocks*lanes)
    T* slot_sums = nullptr;                // (slots, blocks*lanes)
    T* token_sums = nullptr;               // (I, inputs, blocks*lanes)
    T* term_sums = nullptr;                // (B, inputs, blocks*lanes)
    OuterProduct<T> outer{};
    AttendingBackward<T> attending{};

    // How the recurrent weight is multiplied.
    Kept of_recurrent() const { return recurrent_kept(table, kept); }
    Index padded() const { return blocks * lanes; }
    Index h_padded() const { return h_blocks * lanes; }
    Index gradient_row() const { return gradient_values; }

    // The threads that a call can use at all, so that no other is woken.
    int useful_threads(int threads) {
        if (kMayHavePairs<T> && in.products != Products::full && !in.attention)
            kept = kept_as(WeightStorage::full, in.products);
        plan = plan_of(cell, Pass::backward, call.in, threads, of_recurrent());
        return plan.threads;
    }
    void prepare(int threads) {
        held = copy_settings(call.in, table, settings);
        options = masks.zones || masks.drops || call.norms[0];
        for (const void* sequence : call.d_sequence) options = options || sequence;
        const Shape& shape = call.in.shape;
        if (threads > 1 || plan.threads > 1) plan = plan_of(cell, Pass::backward, call.in, threads, of_recurrent());
        const Index width = width_of(table, shape);
        blocks = blocks_of<T>(shape.hidden);
        h_blocks = blocks_of<T>(width);
        // Rows whole pages apart would all be in one set of the L1 cache: these have a vector more, which nobody reads.
        const Index values = table.slots * padded(), page = 4096 / static_cast<Index>(sizeof(T));
        gradient_values = values % page == 0 ? values + lanes : values;
        claims.take(workspace, plan);
        find_slots();
        if (in.attention) take_attending(shape, width);
        take_weights(shape, width);
        take_arrays(shape, width);
        take_sums(shape, width);
        scratch = workspace.take<BackwardScratch<T>>(plan.threads);
        for (int thread = 0; thread < plan.threads; ++thread) scratch[thread] = take_scratch();
    }

    // A share of the packing.
    void pack_weights(int share, int shares) const {
        const Index hidden = in.shape.hidden, width = width_of(table, in.shape), inputs = in.shape.input;
        const auto pack = [&](const Panels<T>& to, const void* weight, Index skip, const ProductGates& gates,
                              Index units, Index columns, Index stride) {
            if (to.data)
                pack_transposed(to, static_cast<const T*>(weight) + skip, gates.row, units, columns, stride, share,
                                shares);
        };
        pack(w_recurrent[0], in.weight_hh, 0, table.hidden, hidden, width, width);
        pack(w_projection, in.weight_hr, 0, kOneGate, width, hidden, hidden);
        for (int k = 0; k < table.vectors; ++k)
            pack(w_recurrent[1 + k], table.own_feedback_weight ? in.weight_gg : in.weight_hh, k * hidden,
                 table.feedback, hidden, hidden, table.vectors * hidden);
        pack(w_gated, in.weight_hh, 0, table.gated, hidden, hidden, hidden);
        if (table.heads > 1) pack_heads(share, shares);
        pack(w_input, in.weight_ih, 0, table.input, hidden, inputs, input_row(in));
        if (!in.attention) return;
        const AttendingBackward<T>& a = attending;
        pack(a.w_query, a.call->weight_query, 0, kOneGate, a.call->size, width, width);
        pack(a.w_context, in.weight_ih, inputs, table.input, hidden, a.call->features, input_row(in));
    }

private:
    void find_slots() {
        const auto offsets = [&](const int* slots, int count, Index* to) {
            for (int i = 0; i < count; ++i) to[i] = slots[i] * padded();
        };
        offsets(table.input.slot, table.input.count, input_slots);
        offsets(table.input.bias_slot, table.input.count, input_bias_slots);
        offsets(table.hidden.slot, table.hidden.count, hidden_slots);
        offsets(table.hidden.bias_slot, table.hidden.count, hidden_bias_slots);
        offsets(table.feedback.slot, table.feedback.count, feedback_slots);
        offsets(table.gated.slot, table.gated.count, gated_slots);
        offsets(table.direct_slot, table.directs, direct_slots);
        offsets(table.diagonal_slot, table.diagonals, diagonal_slots);
    }

    void take_attending(const Shape& shape, Index width) {
        const T* const kept =
            behind_reserve(table, static_cast<const T*>(call.reserve), shape, masks.zones, rows.total());
        attending.take(workspace, table, in, rows, plan.backward_chunk * shape.batch, width, kept);
    }
    void take_weights(const Shape& shape, Index width) {
        const auto panels = [&](int gates, Index columns) {
            return take_transposed<T>(workspace, gates, shape.hidden, columns, kept);
        };
        if (table.heads > 1) {
            take_heads(shape);
        } else {
            w_recurrent[0] = panels(table.hidden.count, h_blocks);
            for (int k = 0; k < table.vectors; ++k) w_recurrent[1 + k] = panels(table.feedback.count, blocks);
            if (table.gated.count > 0) w_gated = panels(table.gated.count, blocks);
        }
        if (table.form == Form::projected) w_projection = take_transposed<T>(workspace, 1, width, blocks, kept);
        Index widest = h_blocks > blocks ? h_blocks : blocks;
        if (attending.feature_blocks > widest) widest = attending.feature_blocks;
        if (call.dx) {
            w_input = panels(table.input.count, blocks_of<T>(shape.input));
            widest = w_input.vectors > widest ? w_input.vectors : widest;
        }
        zeros = take_zeros<T>(workspace, widest * lanes);
        dropped.take(workspace, in, recurrent_row(table, shape), table.recurrents, table.gg_rows, table.gg_columns);
        if (table.diagonals > 0)
            diagonal = padded_rows(workspace, static_cast<const T*>(in.weight_diagonal), table.diagonals, shape.hidden);
    }

    const ProductGates& gates_of_heads(int product) const {
        return product == 0 ? table.hidden : product == 1 ? table.feedback : table.gated;
    }
    [[gnu::noinline]] void take_heads(const Shape& shape) {
        const Index size = shape.hidden / table.heads;
        const Panels<T> like{nullptr, 0, blocks, panel_vectors(1)};
        for (int i = 0; i < 3; ++i)
            if (const int gates = gates_of_heads(i).count; gates > 0 || i == 0)  // without gates h's product is zero
                w_heads[i] = take_head_product<T>(workspace, like, size, gates * size, 1);
    }
    [[gnu::noinline]] void pack_heads(int share, int shares) const {
        for (int i = 0; i < 3; ++i)
            if (w_heads[i].head_of)
                w_heads[i].pack_transposed(static_cast<const T*>(in.weight_hh), gates_of_heads(i).row, in.shape.hidden,
                                           share, shares);
    }

    // What a chunk's steps leave, and what goes from step to step.
    void take_arrays(const Shape& shape, Index width) {
        const Index chunk = plan.backward_chunk * shape.batch;
        const T* behind =
            behind_blocks_of(table, static_cast<const T*>(call.reserve), shape, masks.zones, rows.total());
        if (table.form == Form::projected) {
            // A row more than there are: the last tile of a sum reads beyond the units it needs.
            dh = workspace.take<T>((chunk + 1) * h_padded());
            unprojected = behind;
        }
        if (table.vectors > 0) feedback = behind;
        if (table.norms > 0) scales = behind;
        if (table.gated.count > 0) gated = workspace.take<T>(chunk * padded());
        initial_h = state_or_zeros<T>(workspace, call.in.state[0], shape.batch, width);
        for (int k = 1; k < table.states; ++k)
            initial[k] = call.in.state[k] ? padded_rows(workspace, static_cast<const T*>(call.in.state[k]), shape.batch,
                                                        shape.hidden)
                                          : take_zeros<T>(workspace, shape.batch * padded());
        gradient = workspace.take<T>((chunk + shape.batch) * gradient_row());
        carried = workspace.take<T>(shape.batch * padded() * table.states);
        if (masks.drops) masked = workspace.take<T>(chunk * h_padded());
        if (call.norms[0]) norms.take(workspace, table.states, chunk, h_blocks, blocks);
        tokens = tokens_in_order(workspace, call.in.tokens, rows);
        if (!rows.ragged()) return;
        Index* steps = workspace.take<Index>(rows.total());
        for (Index t = 0; t < rows.steps; ++t)
            for (Index row = rows.first(t); row < rows.first(t + 1); ++row) steps[row] = t;
        step_of = steps;
    }

    void take_sums(const Shape& shape, Index width) {
        const int inputs = table.input.count;
        slot_sums = take_zeros<T>(workspace, gradient_row());
        if (call.in.tokens) token_sums = workspace.take<T>(shape.input * inputs * padded());
        if (call.dterm) term_sums = take_zeros<T>(workspace, shape.batch * inputs * padded());
        const Index own = (table.vectors > 1 ? table.vectors : 1) * shape.hidden, recurrent = own > width ? own : width;
        const Index of_heads = table.heads > 1 ? head_columns<T>(shape.hidden, table.heads) : 0;
        const Index features = in.attention ? in.attention->features : 0;
        Index widest = shape.input > features ? shape.input : features;
        widest = of_heads > widest ? of_heads : widest;
        outer = take_outer_product<T>(workspace, widest > recurrent ? widest : recurrent, kept);
    }

    // Lanes for the gradient rows of a step's products, or for as many as are converted at a time for dx.
    Index low_size() const {
        const Index of_gate = kept.row_lanes(in.shape.hidden), of_h = kept.row_lanes(width_of(table, in.shape));
        const Index gates = table.hidden.count + table.feedback.count + table.gated.count;
        const Index of_step = in.shape.batch * (of_gate * gates + of_h), of_dx = kLowRows * of_gate * table.input.count;
        return of_step > of_dx ? of_step : of_dx;
    }
    BackwardScratch<T> take_scratch() const {
        BackwardScratch<T> of{};
        if (kept.low != 0) of.low = workspace.take<T>(low_size());
        Index strip = cell.strip_blocks(Pass::backward);
        const bool in_strips = table.form == Form::projected || in.attention;
        if (in_strips && strip < kMostRows * kStripBlocks) strip = kMostRows * kStripBlocks;
        if (in.attention) {
            of.attending.take(workspace, attending);
            of.attending.take_sums(workspace, attending);
        }
        of.product = workspace.take<T>(strip * (1 + table.vectors) * lanes);
        if (table.norms > 0) {
            of.normal = workspace.take<T>(padded());
            of.d_normal = workspace.take<T>(padded());
            if (strip < blocks) strip = blocks;  // its strips are whole rows
        }
        if (masks.zones) of.past = workspace.take<T>(strip * table.states * lanes);
        return of;
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
