// What one instruction set offers: the table that engine.cpp fills, once per set, and select.cpp chooses from.
#pragma once

#include "../passes/strip.h"
#include "../recurrence/program.h"
#include "plan.h"
#include "workspace.h"

namespace rnnkernels::cpu {

// A cell as a set's engines run it, in both dtypes; only the set knows what is in it. It stays for ever.
struct SetCell;

struct SetKernels {
    const char* name;
    // The built-in cells, numbered as in cells/all.h.
    int cell_count;
    const CellTable* tables;
    const SetCell* (*cell)(int number);
    // One from elsewhere; the table must stay for ever.
    const SetCell* (*make_cell)(const CellTable& table, const SetPasses& passes);

    // Passes of one that is a program (passes/program_pass.h), and the operations that programs have.
    SetPasses (*program_passes)(const CellTable& table, const ProgramCell& cell);
    const char* (*program_operation)(int number, int& operands);

    Index (*reserve_size)(const SetCell& cell, Dtype dtype, Index hidden, bool zones);  // bytes per row
    Plan (*plan)(const SetCell& cell, Dtype dtype, WeightStorage weights, const Shape& shape, int threads);
    // Weights packed once for many forward calls (or room for them: threads 0); ended by discard. Bytes: what they hold
    // in memory.
    void* (*prepare)(const SetCell& cell, Dtype dtype, const Inputs& in, const Preparation& how, int threads);
    Workspace& (*prepared_memory)(Dtype dtype, void* prepared);
    void (*discard)(Dtype dtype, void* prepared);
    void (*forward)(const SetCell& cell, Dtype dtype, const ForwardCall& call, int threads);
    void (*forward_layers)(const SetCell& cell, Dtype dtype, const ForwardCall* calls, int count, int threads);
    void (*backward)(const SetCell& cell, Dtype dtype, const BackwardCall& call, int threads);
    void (*drop)(Dtype dtype, const ElementDropout& call, int threads);
    // function: 0 exp, 1 sigmoid, 2 tanh, 3 log_sigmoid
    void (*evaluate)(int function, Dtype dtype, const void* x, void* out, Index count);
};

}  // namespace rnnkernels::cpu
