// The product of rows with the weights of a list of gates, for an item of units at a time: with panels packed
// before, with panels packed now because only this thread will use them, or without packing at all. Those of a weight
// with heads are packed before, always (head_product.h).
// Not here: which of the three (weights.h), what is done with the sums (forward.h).
#pragma once

#include "../recurrence/cell_table.h"
#include "head_product.h"
#include "int8_panels.h"
#include "threads.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// A product whose columns belong to gates: its weight as the caller has it, and packed.
template <class T>
struct GateProduct {
    Panels<T> panels;  // without data: packed where they are used
    const T* bias;     // in the order of the columns
    UnitColumns<T> columns;
    const T* weight;
    const int* rows;         // of the weight, for each gate, in units of H
    Index weight_row;        // from one of its rows to the next: k, or more where something else stands behind
    HeadProduct<T> heads{};  // of a weight with heads; `panels` is then without data
    Index before = 0;        // values of k that the sum had before, where this product goes on with one
    unsigned fine = 0;       // of an int8 weight: its gates that the second plane of a row is multiplied with

    void pack_share(int thread, int threads) const {
        if (!panels.data) {
            if (heads.panels.data) heads.pack(weight, rows, columns, thread, threads);
            return;
        }
        const Index count = panels.count();
        pack_gates(panels, 0, weight, weight_row, rows, columns, count * thread / threads,
                   count * (thread + 1) / threads);
    }
    // The same of int8 (float only); `scales`: of each row of the weight, or null.
    [[gnu::noinline]] void pack_int8_share(const float* scales, int thread, int threads) const {
        if (!panels.data) return;
        const Index count = panels.count();
        pack_int8_gates(panels, weight, weight_row, rows, columns, fine, scales, count * thread / threads,
                        count * (thread + 1) / threads);
    }
};

// Room for the product of rows of k with a weight whose rows are `weight_row` apart. `all`: for all of its panels; else
// they are packed where they are used, or not at all.
template <class T>
GateProduct<T> take_gate_product(Workspace& workspace, Index units, const void* weight, const void* bias, Index k,
                                 const ProductGates& gates, bool all, Kept kept, Index weight_row) {
    const UnitColumns<T> columns{units, gates.count};
    Panels<T> panels{nullptr, k, columns.vectors(), panel_vectors(gates.count), kept};
    if (all) panels.data = workspace.take<T>(panels.size());
    return {panels,    pack_bias(workspace, static_cast<const T*>(bias), gates.row, columns),
            columns,   static_cast<const T*>(weight),
            gates.row, weight_row,
            {},        0,
            gates.fine};
}

// Room for all panels of a product that has heads.
template <class T>
void take_heads(Workspace& workspace, GateProduct<T>& product) {
    const Index size = product.panels.k;
    product.heads = take_head_product<T>(workspace, product.panels, size, size, product.columns.gates);
    product.panels.width = product.heads.panels.width;
}

// The columns of the blocks [first, last), times up to `rows` rows.
template <class T>
class ItemProduct {
public:
    // `scratch`: room for the item's panels, where the weight is not packed.
    ItemProduct(const GateProduct<T>& w, Index first, Index last, Index rows, T* scratch)
        : w_(w), first_(w.columns.vector(first)), last_(w.columns.vector(last)), panels_(w.panels) {
        if (panels_.data) {
            panels_ = part_of(panels_, first_, last_);
        } else if ((rows > kDirectRows || panels_.kept.low != 0) && !w.heads.panels.data) {
            panels_.vectors = last_ - first_;
            panels_.data = scratch;
            pack_gates(panels_, first_, w.weight, w.weight_row, w.rows, w.columns, 0, panels_.count());
        }
    }

    int width() const { return panels_.width; }
    // The rows of the first tile of `left` rows of a strip.
    int next_rows(Index left) const {
        constexpr int most = kMostStripRows;
        return next_tile(left, most_rows(panels_) < most ? most_rows(panels_) : most);
    }

    // out[r] = bias + the item's columns of W a[r]
    void run(const T* a, Index a_stride, int rows, T* out, Index out_stride) const {
        begin_at(bias(), 0, a, a_stride, 0, rows, out, out_stride);
    }
    // out[r], a sum over `before` values of k, goes on with the item's columns of W a[r]: with its only chain, or with
    // one that begins here, from zero, as the bias of such a product is.
    void go_on(const T* a, Index a_stride, int rows, T* out, Index out_stride) const {
        const bool goes_on = w_.before < kChain;
        begin_at(goes_on ? out : bias(), goes_on ? out_stride : 0, a, a_stride, w_.before, rows, out, out_stride);
    }

    // run with converted rows, of weights that kernels of low precision multiply (float only).
    void run_low(const T* a, Index a_stride, int rows, T* out, Index out_stride) const {
        if constexpr (sizeof(T) == 4)
            product_of_kept({a, a_stride, kNoOffset, 1, panels_.k}, rows, panels_, bias(), 0, out, out_stride);
    }

    // run for `count` rows, tile after tile.
    void run_all(const T* a, Index a_stride, Index count, T* out, Index out_stride, Watch* watch) const {
        const int most = most_rows(panels_);
        for (Index row = 0; row < count;) {
            const int rows = next_tile(count - row, most);
            run(a + row * a_stride, a_stride, rows, out + row * out_stride, out_stride);
            row += rows;
            if (row < count) cpu::look(watch);
        }
    }

private:
    const T* bias() const { return w_.bias + first_ * Vec<T>::lanes; }
    void begin_at(const T* init, Index init_stride, const T* a, Index a_stride, Index before, int rows, T* out,
                  Index out_stride) const {
        const RowBlock<T> block{a, a_stride, kNoOffset, 1, panels_.k, before};
        if (panels_.data) return product(block, rows, panels_, init, init_stride, out, out_stride);
        unpacked(block, init, init_stride, rows, out, out_stride);
    }
    // Apart, so that the products of most calls are no longer for it.
    [[gnu::noinline]] void unpacked(const RowBlock<T>& a, const T* init, Index init_stride, int rows, T* out,
                                    Index out_stride) const {
        if (w_.heads.panels.data)
            w_.heads.run(a, rows, first_, last_, init, out, out_stride);
        else
            rows == 1 ? direct<1>(a, init, init_stride, out, out_stride)
                      : direct<2>(a, init, init_stride, out, out_stride);
    }
    // Few rows of a weight that is used once: its rows become columns in registers and are used there. Storing
    // them and reading them back would take longer than the product. The same sums as a tile's, in the same order.
    template <int MR>
    void direct(const RowBlock<T>& a, const T* init, Index init_stride, T* out, Index out_stride) const {
        using V = Vec<T>;
        constexpr int together = kPackedAtOnce<T>;
        for (Index vector = first_; vector < last_; ++vector) {
            const ColumnRows<T> from(w_.columns, vector, w_.weight, w_.rows, w_.weight_row);
            V sum[MR], column[together];
            for (int r = 0; r < MR; ++r) sum[r] = V::load(init + r * init_stride + (vector - first_) * V::lanes);
            T* const to = out + (vector - first_) * V::lanes;
            Index k = 0, end = kChain - a.before % kChain;  // of a chain (tile.h: each_chain)
            for (bool ended = a.before >= kChain;; ended = true) {
                const Index last = end < a.length ? end : a.length;
                const auto add = [&](int i) RNNKERNELS_INLINED {
#pragma GCC unroll 2
                    for (int r = 0; r < MR; ++r) sum[r] = fma(V(a.data[r * a.row_stride + k + i]), column[i], sum[r]);
                };
                for (; k + together <= last; k += together) {
                    from.load(k, together, column);
#pragma GCC unroll 16
                    for (int i = 0; i < together; ++i) add(i);
                }
                if (k < last) from.load(k, last - k, column);
                for (int i = 0; k + i < last; ++i) add(i);
                for (int r = 0; r < MR; ++r) {
                    if (ended) sum[r] = V::load(to + r * out_stride) + sum[r];
                    sum[r].store(to + r * out_stride);
                }
                if (last == a.length) break;
                k = last, end += kChain;
                for (int r = 0; r < MR; ++r) sum[r] = V(T(0));
            }
        }
    }

    const GateProduct<T>& w_;
    Index first_, last_;  // vectors
    Panels<T> panels_;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
