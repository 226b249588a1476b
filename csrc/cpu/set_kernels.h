// What one instruction set offers: the table that kernels.cpp fills, once per set, and select.cpp chooses from.
#pragma once

#include "../recurrence/problem.h"
#include "plan.h"

namespace rnnkernels::cpu {

// Cells are numbered as in cells/all.h.
struct SetKernels {
    const char* name;
    int cell_count;
    const CellInfo* cells;
    Index (*reserve_size)(int cell, Dtype dtype, Index hidden, bool zoneout);  // bytes per row
    Plan (*plan)(int cell, Dtype dtype, const Shape& shape, int threads);
    // Weights packed once for many forward calls; ended by discard. Bytes: what they hold in memory.
    void* (*prepare)(int cell, Dtype dtype, const Inputs& in, WeightStorage storage, int threads);
    Index (*prepared_bytes)(int cell, Dtype dtype, const void* prepared);
    void (*discard)(int cell, Dtype dtype, void* prepared);
    void (*forward)(int cell, Dtype dtype, const ForwardCall& call, int threads);
    void (*forward_layers)(int cell, Dtype dtype, const ForwardCall* calls, int count, int threads);
    void (*backward)(int cell, Dtype dtype, const BackwardCall& call, int threads);
    void (*drop)(Dtype dtype, const ElementDropout& call, int threads);
    // function: 0 exp, 1 sigmoid, 2 tanh
    void (*evaluate)(int function, Dtype dtype, const void* x, void* out, Index count);
};

}  // namespace rnnkernels::cpu
