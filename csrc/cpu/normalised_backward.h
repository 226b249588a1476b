// The backward engine's phases for normalised cells, from the last step down.
//
// The threads of a row group divide the units for the product with W_hh^T (products), meet, and divide the rows for the
// rest (rows): the cell's pass over a row's units, then back through the normalisation of x and of u, whose two
// sums need all units. A row's gradient slots are the cell's own, those of the gains, and those of W_ih x and W_hh h,
// which the products multiply.
// Not here: the sums (normalise.h), all that other forms have too (backward.h).
#pragma once

#include "backward.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
void BackwardEngine<T>::products(Index t) {
    each_part(t, [&]() RNNKERNELS_INLINED {
        if (apart_) return carry_apart(t, &BackwardEngine::run_first);
        carry_to(
            t, [&](RowSet rows, Range blocks, T* product) RNNKERNELS_INLINED { run_first(t, rows, blocks, product); });
    });
}

template <class T>
void BackwardEngine<T>::rows(Index t) {
    each_part(t, [&]() RNNKERNELS_INLINED {
        part_.share_of(part_.rows_of_step(rows_, t)).each([&](Index row) {
            run_row(t, row);
            cpu::look(shared_.watch);
        });
    });
}

template <class T>
void BackwardEngine<T>::run_row(Index t, Index row) {
    const RowSet rows{row, 1, 1};
    const Range blocks{0, shared_.blocks};
    put_step(t, rows, blocks);
    strip_.product = nullptr;
    const bool inner = table_.form == Form::normalised_inner;
    if (inner) put_normal();
    if (shared_.options) {
        run_with_options(t, rows, 0);
    } else {
        put_d_output(t, rows);
        shared_.cell.passes.backward(strip_);
    }
    if (inner) {
        run_inner(t, row);
        if (masks_.zones) add_past(strip_, table_.states, scratch_.past);
    }
    back_to_sums(t, row);
}

// What the strip's row kept of block `block`: normalised value number `i`: x's gates, u's gates, the value inside the
// cell.
template <class T>
RNNKERNELS_INLINE Vec<T> BackwardEngine<T>::normal(Index block, int i) const {
    return V::load(strip_.saved + block * strip_.reserve_block + (table_.first_normal + i) * lanes);
}
template <class T>
RNNKERNELS_INLINE Vec<T> BackwardEngine<T>::gain(int k, Index block) const {
    return V::load(strip_.diagonal + k * strip_.diagonal_row + block * lanes);
}
template <class T>
RNNKERNELS_INLINE T* BackwardEngine<T>::slot(int number, Index block) const {
    return strip_.d + number * strip_.d_slot + block * lanes;
}
// 1 / sqrt(variance) of a row: of x, of u, of the value inside the cell.
template <class T>
RNNKERNELS_INLINE T BackwardEngine<T>::scale(Index t, Index row, int norm) const {
    return shared_.scales[(rows_.first(t) + row) * table_.norms + norm];
}

// The value inside the cell as its second half saw it, normalised, for the pass; and room for its gradient.
template <class T>
void BackwardEngine<T>::put_normal() {
    const int number = table_.normals - 1;
    for (Index block = 0; block < shared_.blocks; ++block)
        fma(gain(number, block), normal(block, number), gain(table_.normals, block))
            .store(scratch_.normal + block * lanes);
    strip_.normal = scratch_.normal;
    strip_.made = scratch_.d_normal;
}

// Back through the normalisation of the value inside the cell, and the rest of the cell.
template <class T>
void BackwardEngine<T>::run_inner(Index t, Index row) {
    const int number = table_.normals - 1;
    NormalGradient<T> of_inner;
    for (Index block = 0; block < shared_.blocks; ++block) {
        const V of_row = normal(block, number), dy = V::load(scratch_.d_normal + block * lanes);
        (dy * of_row).store(slot(table_.diagonal_slot[number], block));
        dy.store(slot(table_.diagonal_slot[table_.normals], block));
        const V g = dy * gain(number, block);
        of_inner.add(g, g * of_row, valid(block));
    }
    of_inner.finish(shape_.hidden, scale(t, row, 2));
    for (Index block = 0; block < shared_.blocks; ++block) {
        T* const at = scratch_.d_normal + block * lanes;
        of_inner.through(V::load(at) * gain(number, block), normal(block, number)).store(at);
    }
    shared_.cell.passes.backward_gates(strip_);
}

// The gradients of the gains, and from the gradients of what was normalised those of W_ih x and W_hh h.
template <class T>
void BackwardEngine<T>::back_to_sums(Index t, Index row) {
    const ProductGates* const products[] = {&table_.input, &table_.hidden};
    for (int which = 0, first = 0; which < 2; first += products[which]->count, ++which) {
        const ProductGates& gates = *products[which];
        // A gate's values of block 0: looked up once, not in every block.
        struct Gate {
            const T *dy, *gain;
            T *d_gain, *d_product;
        } of_gate[kMaxGates];
        for (int i = 0; i < gates.count; ++i)
            of_gate[i] = {slot(gates.bias_slot[i], 0), strip_.diagonal + (first + i) * strip_.diagonal_row,
                          slot(table_.diagonal_slot[first + i], 0), slot(gates.slot[i], 0)};
        NormalGradient<T> of;
        for (Index block = 0; block < shared_.blocks; ++block) {
            const Index at = block * lanes;
            const T* normals = strip_.saved + block * strip_.reserve_block + (table_.first_normal + first) * lanes;
            V of_g(T(0)), of_product(T(0));
            for (int i = 0; i < gates.count; ++i, normals += lanes) {
                const Gate& gate = of_gate[i];
                const V dy = V::load(gate.dy + at), n = V::load(normals), g = dy * V::load(gate.gain + at);
                (dy * n).store(gate.d_gain + at);
                g.store(gate.d_product + at);  // so far
                of_g = i == 0 ? g : of_g + g;
                of_product = i == 0 ? g * n : fma(g, n, of_product);
            }
            of.add(of_g, of_product, valid(block));
        }
        of.finish(gates.count * shape_.hidden, scale(t, row, which));
        for (Index block = 0; block < shared_.blocks; ++block) {
            const T* normals = strip_.saved + block * strip_.reserve_block + (table_.first_normal + first) * lanes;
            for (int i = 0; i < gates.count; ++i, normals += lanes) {
                T* const at = of_gate[i].d_product + block * lanes;
                of.through(V::load(at), V::load(normals)).store(at);
            }
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
