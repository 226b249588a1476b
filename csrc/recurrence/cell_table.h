// A cell's table as plain data: all that an engine knows of a cell, beside its passes (passes/strip.h). The same for
// every instruction set and dtype, so that a cell may come from outside the module (backend_table.h: add_cell).
// Not here: how a built-in cell's header becomes such a table (table_of.h); memory (cpu/geometry.h, cuda/layout.h).
#pragma once

#include "problem.h"

namespace rnnkernels {

// Which phases a step has (order.h).
enum class Form { one_product, projected, two_products, normalised, normalised_inner };

// The gates that one product feeds, in the order of its columns. Of the input product: W_ih x. Of the hidden one: W_hh
// h.
struct ProductGates {
    int count;
    int row[kMaxGates];        // of the weight, in units of H
    int slot[kMaxGates];       // the gradient slot that the product's own backward reads
    int bias_slot[kMaxGates];  // that of the bias: another one where the bias stands behind a normalisation
    unsigned fine;             // a bit for each gate whose sum is read by more than sigmoids (cells/cell.h: Gate)
};

// No functions: they would be compiled with one set's instructions and linked into another set's code.
struct CellTable {
    CellInfo info;
    Form form;
    int gates;   // of x[] and u[]
    int states;  // h first
    int saved;   // vectors per block that the maths keeps for the backward
    ProductGates input, hidden, feedback, gated;
    int directs;                   // gates that take x itself
    int direct_slot[kMaxGates];    // their gradient slots
    int vectors;                   // fed back to the next step
    bool own_feedback_weight;      // weight_gg, else rows of weight_hh
    int recurrents;                // rows of weight_hh, in units of H
    int heads;                     // blocks on the diagonal of weight_hh (heads.h); 1: it is dense
    int gg_rows, gg_columns;       // of weight_gg, in units of H; 0: the cell has none
    int diagonals;                 // element-wise weights
    int diagonal_slot[kMaxGates];  // their gradient slots
    int settings;                  // numbers of a call
    int elements;                  // element-wise inputs of every step
    // Gradient slots: the maths' own, and all, with those of W_ih x and W_hh h where these are normalised.
    int cell_slots, slots;
    // Rows that are normalised in a step (of x, of u, of one value inside the cell), and vectors of them per block.
    int norms, normals;
    // Vectors per block of a reserve: saved, then the states after h, then from `first_normal` on what was normalised,
    // then from `first_own` on, in a zoned call, all states as the maths made them.
    int first_normal, first_own;
};

}  // namespace rnnkernels
