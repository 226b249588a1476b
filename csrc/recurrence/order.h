// The order of a recurrence's steps, for any cell and any engine. An engine (cpu/forward.h, cuda/forward.h) does the
// work of one phase, all of it; what follows what is said here only.
//
//   one product,  forward  per step: step
//                 backward per step: step                      (the product carries step t+1's gradient to t)
//   projected,    forward  per step: step · project_h
//                 backward per step: project_h · step
//   two products, forward  per step: gates · state
//                 backward per step: state · gates
//   normalised,   forward and backward per step: products · rows      (a row is normalised when all of it is there)
//   attending,    forward  per step, before that: ask · weigh · take_context
//                 backward per step, behind that: context_gradient · weigh_backward · ask_backward
//
// The sequence is cut into chunks: the forward projects x for a whole chunk at once, the backward sums a
// chunk's weight gradients at once. Chunks depend on the problem only, never on the number of threads.
// An engine may do all steps of a chunk at once (steps).
// Groups of rows have nothing to do with each other inside a chunk, in most forwards in all chunks: an engine with
// several threads goes through the steps of each group for itself (each_row_group).
#pragma once

#include "cell_table.h"
#include "rows.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Engine>
void forward_step(Form form, Engine& engine, Index t) {
    if constexpr (requires { engine.attends(); })
        if (engine.attends()) {
            engine.ask(t);
            engine.weigh(t);
            engine.take_context(t);
        }
    switch (form) {
        case Form::one_product: engine.step(t); break;
        case Form::projected:
            engine.step(t);
            engine.project_h(t);
            break;
        case Form::two_products:
            engine.gates(t);
            engine.state(t);
            break;
        case Form::normalised:
        case Form::normalised_inner:
            engine.products(t);
            engine.rows(t);
            break;
    }
}

template <class Engine>
void backward_step(Form form, Engine& engine, Index t) {
    switch (form) {
        case Form::one_product: engine.step(t); break;
        case Form::projected:
            engine.project_h(t);
            engine.step(t);
            break;
        case Form::two_products:
            engine.state(t);
            engine.gates(t);
            break;
        case Form::normalised:
        case Form::normalised_inner:
            engine.products(t);
            engine.rows(t);
            break;
    }
    if constexpr (requires { engine.attends(); })
        if (engine.attends()) {
            engine.context_gradient(t);
            engine.weigh_backward(t);
            engine.ask_backward(t);
        }
}

// The steps [first, last) of one chunk, of each row group where `each`.
template <class Engine>
void run_forward_chunk(Form form, Engine& engine, Index first, Index last, bool each) {
    engine.begin_chunk(first, last);
    engine.each_row_group(each, [&] {
        engine.project(first, last);
        if constexpr (requires { engine.steps(first, last); })
            if (engine.steps(first, last)) return;
        for (Index t = first; t < last; ++t) forward_step(form, engine, t);
    });
}

// `most`: rows of a chunk. Inlined, as it has one caller each: a call of one step notices.
template <class Engine>
[[gnu::always_inline]] inline void run_forward(Form form, Engine& engine, const Rows& rows, Index most) {
    const bool apart = engine.groups_apart();
    engine.each_row_group(apart, [&] {
        for (Index first = 0; first < rows.steps;) {
            const Index last = rows.chunk_end(first, most);
            run_forward_chunk(form, engine, first, last, !apart);
            first = last;
        }
    });
    engine.finish();
}

template <class Engine>
[[gnu::always_inline]] inline void run_backward(Form form, Engine& engine, const Rows& rows, Index most) {
    for (Index last = rows.steps; last > 0;) {
        const Index first = rows.chunk_begin(last, most);
        engine.begin_chunk(first, last);
        engine.each_row_group(true, [&] {
            engine.begin_steps(first, last);
            if constexpr (requires { engine.steps(first, last); })
                if (engine.steps(first, last)) return;
            for (Index t = last - 1; t >= first; --t) backward_step(form, engine, t);
        });
        engine.end_chunk(first, last);
        last = first;
    }
    engine.finish();
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
