// What all threads of an attending call share beside the rest: the weights that attention has, its scratch memory.
// Not here: the work of a thread (attending_forward.h, attending_backward.h), a row's attention (attention_row.h).
#pragma once

#include "attention_row.h"
#include "dropped_weights.h"
#include "weight_gradients.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// What forward and backward read alike.
template <class T>
struct AttentionArrays {
    static constexpr int lanes = Vec<T>::lanes;
    const Attention* call = nullptr;  // null: the recurrence does not attend
    T* score = nullptr;               // (query_row(A))
    T score_sum = T(0);               // of its values
    T* exp_keys = nullptr;            // (B, L, A): what additive_scores.h reads in every step
    T* location = nullptr;            // (C, K, query_row(A))
    Index feature_blocks = 0, query_blocks = 0;

    void take(Workspace& workspace, const Attention& attention, Index steps) {
        call = &attention;
        const Index size = attention.size, row = query_row(size), lines = attention.channels * attention.taps;
        feature_blocks = blocks_of<T>(attention.features);
        query_blocks = blocks_of<T>(size);
        if (attention.score) {
            score = take_zeros<T>(workspace, row);
            for (Index i = 0; i < size; ++i) score_sum += score[i] = static_cast<const T*>(attention.score)[i];
            if (steps > 1 && lines == 0) exp_keys = workspace.take<T>(attention.batch * attention.places * size);
        }
        if (lines == 0) return;
        location = take_zeros<T>(workspace, lines * row);
        for (Index i = 0; i < size; ++i)
            for (Index line = 0; line < lines; ++line)
                location[line * row + i] = static_cast<const T*>(attention.weight_location)[i * lines + line];
    }
    // A share of what is made of the keys once.
    void put_exp_keys(int share, int shares) const {
        if (!exp_keys) return;
        const Range mine = split_range(call->batch * call->places, 1, shares, share);
        for (Index i = mine.first * call->size; i < mine.last * call->size; i += call->size)
            AdditiveScores<T>::put_exp_keys(static_cast<const T*>(call->keys) + i, call->size, exp_keys + i);
    }
    // Of row b of the batch; before: (C, tapped_row).
    AttentionRow<T> row(Index b, const T* before) const {
        const Attention& a = *call;
        const auto at = [&](const void* array, Index size) {
            return array ? static_cast<const T*>(array) + b * a.places * size : nullptr;
        };
        return AttentionRow<T>({call, at(a.keys, a.size), at(exp_keys, a.size), at(a.values, a.features), at(a.mask, 1),
                                score, score_sum, location, before});
    }
    Index feature_row() const { return feature_blocks * lanes; }
    Index before_size() const { return call->channels * tapped_row(*call); }
    // sigmoid(w_b . h + b_b), or 1.
    T beta(const T* h, Index width) const {
        if (!call->weight_gate) return T(1);
        const T bias = call->bias_gate ? *static_cast<const T*>(call->bias_gate) : T(0);
        const T sum = AttentionRow<T>::dot(static_cast<const T*>(call->weight_gate), h, width) + bias;
        return sigmoid(Vec<T>(sum)).first_lane();
    }
};

template <class T>
struct AttendingForward : AttentionArrays<T> {
    GateProduct<T> query{}, context{};
    T* q = nullptr;         // (B, query_row(A)), or of all rows where a backward will need them
    bool keeps = false;     // of all rows
    Index of_x = 0;         // the last columns of x: their products are made with the context's
    T* contexts = nullptr;  // (B, context_row): of the step at work, and before each the end of x
    T* x_part = nullptr;    // (B, row of columns): what the cells see of x and of the context
    T* before = nullptr;    // (B, C, tapped_row): s before the next step

    void take(Workspace& workspace, const CellTable& table, const ForwardCall& call, Index width, T* kept) {
        const Attention& a = *call.in.attention;
        const Index batch = call.in.shape.batch, hidden = call.in.shape.hidden;
        AttentionArrays<T>::take(workspace, a, call.in.shape.steps);
        // What a call of few rows uses once is read where it stands (ItemProduct).
        const bool all = call.in.shape.steps != 1 || batch > kDirectRows;
        of_x = input_apart(call.in);
        const Index begin = call.in.shape.input - of_x;
        const T* const of_context = static_cast<const T*>(call.in.weight_ih) + begin;
        query =
            take_gate_product<T>(workspace, a.size, a.weight_query, a.bias_query, width, kOneGate, all, Kept{}, width);
        context = take_gate_product<T>(workspace, hidden, of_context, nullptr, of_x + a.features, table.input, all,
                                       Kept{}, input_row(call.in));
        context.before = begin;
        keeps = kept != nullptr;
        q = keeps ? kept : workspace.take<T>(batch * query_row(a.size));
        contexts = workspace.take<T>(batch * context_row());
        x_part = workspace.take<T>(batch * context.columns.row());
        if (a.channels == 0) return;
        before = take_zeros<T>(workspace, batch * this->before_size());
        if (!a.location) return;
        for (Index line = 0; line < batch * a.channels; ++line)
            std::memcpy(before + line * tapped_row(a) + a.taps / 2, static_cast<const T*>(a.location) + line * a.places,
                        static_cast<std::size_t>(a.places) * sizeof(T));
    }
    Index context_row() const { return blocks_of<T>(of_x) * Vec<T>::lanes + this->feature_row(); }
    // Of a row of a step; the end of x stands right before it.
    T* context_of(Index row) const { return contexts + (row + 1) * context_row() - this->feature_row(); }
    Index q_row() const { return query_row(this->call->size); }
    // Of row `row` of a step, whose first is row `first` of all steps'.
    T* q_of(Index first, Index row) const { return q + ((keeps ? first : 0) + row) * q_row(); }
    // A share of the packing.
    void pack(int share, int shares) const {
        query.pack_share(share, shares);
        context.pack_share(share, shares);
        this->put_exp_keys(share, shares);
    }
};

template <class T>
struct AttendingBackward : AttentionArrays<T> {
    Panels<T> w_query{}, w_context{};  // transposed
    const T* q = nullptr;              // (rows, query_row(A)), the forward's
    T* contexts = nullptr;             // (chunk*B, feature_row): dL/dcontext, then dL/d(sum_i alpha_i value_i)
    T* dq = nullptr;                   // (chunk*B, dq_row): dL/dq, then dL/d(w_b . h + b_b)
    T* dq_sums = nullptr;              // (dq_row)
    T* carried = nullptr;              // (B, C, tapped_row): dL/ds on its way to the step before
    T* sums = nullptr;                 // (rows, place_row(L)): s_1 before every step
    T* dscore = nullptr;               // (B, query_row(A)): of every sequence
    T* dlocation = nullptr;            // (B, C, K, query_row(A)): of every sequence

    Index dq_row() const { return query_row(this->call->size) + AttentionArrays<T>::lanes; }
    Index location_size() const { return this->call->channels * this->call->taps * query_row(this->call->size); }

    void take(Workspace& workspace, const CellTable& table, const Inputs& in, const Rows& rows, Index chunk,
              Index width, const T* kept) {
        const Attention& a = *in.attention;
        const Index batch = in.shape.batch;
        AttentionArrays<T>::take(workspace, a, in.shape.steps);
        w_query = take_panels<T>(workspace, a.size, 1, blocks_of<T>(width));
        w_context = take_panels<T>(workspace, table.input.count * in.shape.hidden, 1, this->feature_blocks);
        q = kept;
        contexts = workspace.take<T>(chunk * this->feature_row());
        // A row more than there are: the last tile of a sum reads beyond the units it needs.
        dq = workspace.take<T>((chunk + 1) * dq_row());
        dq_sums = take_zeros<T>(workspace, dq_row());
        if (a.score) dscore = take_zeros<T>(workspace, batch * query_row(a.size));
        if (a.channels == 0) return;
        carried = take_zeros<T>(workspace, batch * this->before_size());
        dlocation = take_zeros<T>(workspace, batch * location_size());
        if (a.channels > 1) sums = workspace.take<T>(rows.total() * place_row(a.places));
    }
};

// Scratch memory of one thread.
template <class T>
struct AttendingScratch {
    static constexpr Index kRows = OuterProduct<T>::kRowBlock;
    T* alpha;    // (place_row(L))
    T* de;       // (place_row(L))
    T* made;     // (3, query_row(A)): what a row makes of its query
    T* before;   // (C, tapped_row)
    T* dbefore;  // (C, tapped_row)
    // A backward's, for the gradient of a row's features:
    T* weights;              // (kRows + 1, place_row(L)): alpha of several steps
    OuterProduct<T> values;  // of these and of dL/dcontext

    void take_sums(Workspace& workspace, const AttentionArrays<T>& arrays) {
        const Attention& a = *arrays.call;
        if (a.hard) return;
        // A row more than there are: the last tile of a sum reads beyond the places it needs.
        weights = workspace.take<T>((kRows + 1) * place_row(a.places));
        values = take_outer_product<T>(workspace, a.features);
    }
    void take(Workspace& workspace, const AttentionArrays<T>& arrays) {
        const Attention& a = *arrays.call;
        alpha = take_zeros<T>(workspace, place_row(a.places));
        de = take_zeros<T>(workspace, place_row(a.places));
        made = workspace.take<T>(3 * query_row(a.size));
        before = take_zeros<T>(workspace, arrays.before_size());
        dbefore = take_zeros<T>(workspace, arrays.before_size());
    }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
