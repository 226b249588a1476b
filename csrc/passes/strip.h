// The strip: what an engine hands to a cell, and the only thing that crosses between the two.
//
// A strip is some rows of one step (at most kStripRows) times some neighbouring blocks of units, so small that it stays
// in the L1 cache between the product that filled it and the pass that reads it. A block has as many units as a
// register of the instruction set has lanes; the layer's last block may have fewer. A pass runs a cell's maths over
// every row and block of a strip. A pass is compiled once per cell, instruction set and dtype (passes.cpp), or comes
// from elsewhere (backend_table.h: add_cell); the engine, which is compiled once for all cells, reaches it through a
// pointer.
//
// Two kinds of arrays. Those of the layer hold all of its units: a pointer below points at unit 0 of the strip's first
// row, and the strip is blocks `first` to `first + blocks - 1` of them. Where units follow each other in memory, as in
// the caller's arrays (`h`, `out`, `term`, `d`, ...), block b begins at b*lanes, and nothing beyond `hidden` may be
// touched but where "padded" is said. Where a block is a group of vectors ([block][vector][lane]: `x`, `others`,
// `saved`, `carried`, ...) block b begins at b*vectors*lanes, and all lanes of every vector may be read and written.
// The products' arrays (`u`, `fed`, `product`) hold this strip and no more: their block 0 is block `first`. Rows are
// `..._row` values apart, or have a pointer each. In `x`, `u` and `fed` the gates of the layer's last block follow each
// other without gaps: gate i begins i*n values after the block's begin, n the units of the block, n = lanes in every
// other block.
//
// Not here: what an option of a call (masks, say) does to a strip before and after a pass (cpu/strip_options.h).
#pragma once

#include "../recurrence/cell_table.h"

namespace rnnkernels {

// Changes whenever a field of this file or of CellTable does.
inline constexpr int kStripVersion = 3;

// Rows of a strip: as many as leave it in the L1 cache, so that the cell, whose chain of operations is long, has many
// rows under way.
inline constexpr Index kStripRows = 24;
// And where products want more of them at once (cpu/low/).
inline constexpr Index kMostStripRows = 32;

// A step's forward, or one half of it.
template <class T>
struct ForwardStrip {
    const void* program;  // of a cell from elsewhere: CellPasses::program
    int rows, blocks;
    Index first;   // block
    Index hidden;  // units of the layer

    const T* const* x;         // each row's: [block][input gate][lane], W_ih x + b_ih
    const T* const* direct;    // each row's x itself, for gates that take it as it is
    const T* const* elements;  // each row's element-wise inputs, (elements, hidden)
    const T* term;             // (rows, input gates, hidden): added to x; null: none
    Index term_row;
    const T* u;  // [row][block][gate][lane], W_hh h + b_hh; of the second half: W_hh (gated state) + b_hh
    Index u_row;
    const T* fed;  // [row][block][feedback gate][lane]: the product of the vectors that were fed back
    Index fed_row;
    const T* diagonal;  // (D, padded units): element-wise weights
    Index diagonal_row;
    const T* settings;  // numbers of this call; null: none

    const T* h;  // (rows, hidden): before the step; not read by a projected cell
    Index h_row;
    T* others;  // [row][block][state after h][lane]: read, then overwritten
    Index others_row;
    T* const* out;  // each row's: the new h, or what is projected to it
    T* copy;        // (rows, hidden): the new h once more; null: not wanted
    Index copy_row;

    // What a backward will need, each [row][block][...][lane] with the strides of a reserve.
    T* saved;   // the maths' own; null: not kept. Between two halves it is never null
    T* states;  // the new states after h; null: not kept
    Index reserve_row, reserve_block;

    T* made;  // (rows, padded units): what the first half hands to the engine: the gated state; the inner value
    Index made_row;
    const T* normal;  // [block][lane], of one row: the inner value, normalised
};

// What the products of the next step read of the states, where that is not h: `vectors` of them, made from the states.
template <class T>
struct FeedbackStrip {
    const void* program;
    int rows, blocks;
    Index first, hidden;
    const T* const* h;         // each row's
    const T* const* elements;  // each row's element-wise inputs of that next step
    const T* others;           // [row][block][state after h][lane]
    Index others_row;
    T* vectors;  // (rows, vectors, hidden)
    Index vectors_row;
};

// A step's backward, or one half of it; and that of what was fed back.
template <class T>
struct BackwardStrip {
    const void* program;
    int rows, blocks;
    Index first, hidden;

    // W_hh^T times the next step's gradients: [row][block][lane], and, `product_vector` further each, those of the
    // vectors that were fed back. Of the second half: the gated state's gradient. Null: nothing is added.
    const T* product;
    Index product_row, product_vector;
    T* carried;  // [row][block][state][lane]: dL/d(states after the step) in, dL/d(states before it) out
    Index carried_row;
    const T* const* d_out;  // each row's gradient of the step's own h, from the caller; null: none

    const T* const* h;            // each row's: before the step
    const T* before[kMaxStates];  // [row][block][lane]: each state after h, before the step
    Index before_row, before_block;
    const T* const* out;         // each row's h as the maths made it
    Index out_block;             // from one of its blocks to the next
    const T* after[kMaxStates];  // [row][block][lane]: each state after h, as the maths made it
    Index after_row, after_block;
    const T* saved;  // [row][block][...][lane]
    Index reserve_row, reserve_block;
    const T* diagonal;  // (D, padded units)
    Index diagonal_row;
    const T* settings;
    // Each row's element-wise inputs, (elements, hidden), and their gradients, which a pass writes; of the step itself,
    // and of the one behind it, to whose gradients the pass of what was fed back adds. Null: these are not wanted.
    const T* const* elements;
    T* const* d_elements;
    const T* const* elements_behind;
    T* const* d_elements_behind;

    T* d;  // (rows, slots, padded units): the gradients of x[g], u[g] and w[k]
    Index d_row, d_slot;
    T* made;  // (rows, padded units): the gated state; of the inner value: its gradient, out of the first half and into
              // the second
    Index made_row;
    const T* normal;  // [block][lane], of one row: the inner value, normalised
};

// What one cell contributes to an engine, of one instruction set and dtype.
template <class T>
struct CellPasses {
    void (*forward)(const ForwardStrip<T>&);        // of a cell with two halves: the gates
    void (*forward_state)(const ForwardStrip<T>&);  // the second half; null: there is none
    void (*backward)(const BackwardStrip<T>&);      // of a cell with two halves: the state
    void (*backward_gates)(const BackwardStrip<T>&);
    void (*feedback)(const FeedbackStrip<T>&);  // null: nothing is fed back
    void (*feedback_backward)(const BackwardStrip<T>&);
    const void* program;  // handed to every pass in its strip; null for a built-in cell
};

// Of one instruction set.
struct SetPasses {
    CellPasses<float> float32;
    CellPasses<double> float64;
};

}  // namespace rnnkernels
