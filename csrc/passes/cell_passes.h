// The passes of one cell, as data: for the list of built-in cells (passes.cpp), and for a cell that is compiled
// elsewhere.
#pragma once

#include "backward_pass.h"
#include "forward_pass.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell, class T>
constexpr CellPasses<T> make_passes() {
    CellPasses<T> passes{};
    passes.forward = forward_pass<Cell, T>;
    passes.backward = backward_pass<Cell, T>;
    if constexpr (halved<Cell>) {
        passes.forward_state = forward_state_pass<Cell, T>;
        passes.backward_gates = backward_gates_pass<Cell, T>;
    }
    if constexpr (feedback_count<Cell> > 0) {
        passes.feedback = feedback_pass<Cell, T>;
        passes.feedback_backward = feedback_backward_pass<Cell, T>;
    }
    return passes;
}

template <template <class> class Cell>
constexpr SetPasses make_set_passes() {
    return {make_passes<Cell<Vec<float>>, float>(), make_passes<Cell<Vec<double>>, double>()};
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
