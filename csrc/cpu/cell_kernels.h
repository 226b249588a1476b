// What one instruction set can do with one cell, and where to find it: cells are compiled in parts (cell_kernels.cpp),
// kernels.cpp joins them.
#pragma once

#include "../math/target.h"
#include "../recurrence/problem.h"
#include "plan.h"

namespace rnnkernels::RNNKERNELS_TARGET {

using cpu::Plan;

// Of one cell and dtype; set_kernels.h says what each does.
struct CellKernels {
    Index (*reserve_size)(Index hidden, bool zoneout);
    Plan (*plan)(const Shape& shape, int threads);
    void* (*prepare)(const Inputs& in, WeightStorage storage, int threads);
    Index (*prepared_bytes)(const void* prepared);
    void (*discard)(void* prepared);
    void (*forward)(const ForwardCall& call, int threads);
    void (*forward_layers)(const ForwardCall* calls, int count, int threads);
    void (*backward)(const BackwardCall& call, int threads);
};

// Of a cell whose number, divided by RNNKERNELS_PARTS, leaves `part`.
template <int part>
const CellKernels& part_kernels(int cell, Dtype dtype);

}  // namespace rnnkernels::RNNKERNELS_TARGET
