// The order of a recurrence's steps, for any cell and any engine. An engine (cpu/forward.h, cpu/backward.h)
// does the work of one phase; what follows what, and where every participant must wait, is said here only.
//
//   one product,  forward  per step: step
//                 backward per step: step                      (the product carries step t+1's gradient to t)
//   projected,    forward  per step: step · project_h
//                 backward per step: project_h · step
//   two products, forward  per step: gates · state
//                 backward per step: state · gates
//   normalised,   forward and backward per step: products · rows      (a row is normalised when all of it is there)
//
// The sequence is cut into chunks: the forward projects x for a whole chunk at once, the backward sums a
// chunk's weight gradients at once. Chunks depend on the problem only, never on the number of threads.
#pragma once

#include "../cells/cell.h"
#include "rows.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The steps [first, last) of one chunk.
template <class Cell, class Engine>
void run_forward_chunk(Engine& engine, Index first, Index last) {
    engine.project(first, last);
    for (Index t = first; t < last; ++t) {
        if constexpr (two_products<Cell>) {
            engine.gates(t);
            engine.wait_for_step();
            engine.state(t);
        } else if constexpr (normalised<Cell>) {
            engine.products(t);
            engine.wait_for_step();
            engine.rows(t);
        } else {
            engine.step(t);
            if constexpr (projected<Cell>) {
                engine.wait_for_step();
                engine.project_h(t);
            }
        }
        engine.wait_for_step();
    }
}

// `most`: rows of a chunk.
template <class Cell, class Engine>
void run_forward(Engine& engine, const Rows& rows, Index most) {
    for (Index first = 0; first < rows.steps;) {
        const Index last = rows.chunk_end(first, most);
        run_forward_chunk<Cell>(engine, first, last);
        first = last;
    }
    engine.finish();
}

template <class Cell, class Engine>
void run_backward(Engine& engine, const Rows& rows, Index most) {
    for (Index last = rows.steps; last > 0;) {
        const Index first = rows.chunk_begin(last, most);
        engine.begin_chunk(first, last);
        for (Index t = last - 1; t >= first; --t) {
            if constexpr (two_products<Cell>) {
                engine.state(t);
                engine.wait_for_step();
                engine.gates(t);
            } else if constexpr (normalised<Cell>) {
                engine.products(t);
                engine.wait_for_step();
                engine.rows(t);
            } else {
                if constexpr (projected<Cell>) {
                    engine.project_h(t);
                    engine.wait_for_step();
                }
                engine.step(t);
            }
            engine.wait_for_step();
        }
        engine.end_chunk(first, last);
        last = first;
    }
    engine.finish();
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
