// The one door between the kernels and everything above them: function pointers and plain data.
// No Python, no CUDA types. Each backend implements backend() (cpu/select.cpp, cuda/backend.cpp); binding/ calls it and
// nothing else of the C++ side.
#pragma once

#include <cstddef>

#include "passes/strip.h"
#include "recurrence/program.h"

namespace rnnkernels {

// How a call is cut among threads and over time (cpu/plan.h).
struct PlanInfo {
    int threads;
    int row_groups;
    int unit_groups;
    int pieces;
    Index forward_chunk;
    Index backward_chunk;
};

// A cell from elsewhere: its table, and its passes for some instruction sets. The passes, and what their `program`
// points at, must stay for ever; table and names are copied.
struct CellEntry {
    int version;  // kStripVersion
    const CellTable* table;
    struct OfSet {
        const char* set;  // its name
        SetPasses passes;
    };
    int set_count;
    const OfSet* of_set;
};

// An OpenBLAS that this process has loaded.
struct BlasInfo {
    const char* path = nullptr;  // null: there is none of this number
    int threads = 0;             // that a call of it may use
    bool shared = false;         // its work runs on our threads
};

// cpu/shared_blas.h
struct BlasDoor {
    BlasInfo (*blas)(int number);
    void (*set_threads)(int number, int threads);
    void (*share)(bool share);
    void (*share_when_parallel)(bool share);
};

// Threads that a program lends for its calls (cpu/threads.h: borrow).
struct LendingDoor {
    void* (*borrow)(int workers);
    void (*lend)(void* pool, int thread);
    void (*end)(void* pool);
    void (*give_up)(void* pool);
    void (*use)(void* pool);  // for calls of the calling thread; null: as usual
};

// Kernels for products in low precision (cpu/low/kernels.h), by names, of a set.
struct LowDoor {
    const char* (*usable)(int set, WeightStorage kind, int number);  // slowest first; null behind the last
    const char* (*current)(int set, WeightStorage kind);             // null: none
    bool (*choose)(int set, WeightStorage kind, const char* name);   // null: the fastest; whether there is such a one
};

struct Backend {
    const char* name;

    // The cells, the built-in ones first; everywhere below `cell` is an index into them.
    int (*cell_count)();
    const CellInfo& (*cell)(int cell);
    // A cell's index, once it is known from now on. Throws std::invalid_argument, and nothing is changed, where the
    // entry has another version, a name that is taken or a table that cannot be; a call of a cell on a set that it has
    // no passes for throws it, too.
    int (*add_cell)(const CellEntry& entry);
    // The same of a cell that is a program (recurrence/program.h), which is checked as a whole and copied. Backends
    // number such cells in the order in which they came to each: what is the same everywhere is the name.
    int (*add_program)(const ProgramCell& cell);
    // The operations that a program may have: a name and its operands; null behind the last.
    const char* (*program_operation)(int number, int& operands);

    // Instruction sets, slowest first: those this build has and this machine can run.
    int (*set_count)();
    const char* (*set_name)(int set);
    int (*current_set)();
    void (*choose_set)(int set);

    // Threads that a call may use now, and what bounds them (cpu/thread_limits.h).
    int (*num_threads)();
    void (*set_num_threads)(int threads);
    void (*bound_threads)(int threads);
    bool (*join_torch)();  // cpu/threads.h
    void (*set_oversubscribed)(bool oversubscribed);
    bool (*share_openmp)(const char* library);  // cpu/threads.h
    void (*set_poison)(bool poison);
    bool (*poison)();

    // Memory for a reserve, 64-byte aligned; give_memory takes it back, maybe for the next one.
    void* (*take_memory)(std::size_t bytes);
    void (*give_memory)(void* memory, std::size_t bytes);
    // Bytes of reserve per row (of a step); its layout belongs to the set, so the backward must name the forward's.
    Index (*reserve_size)(int set, int cell, Dtype dtype, Index hidden, bool zones);
    PlanInfo (*plan)(int set, int cell, Dtype dtype, WeightStorage weights, const Shape& shape, int threads);
    // The weights of `in`, packed once for many forward calls (ForwardCall::prepared) of this set, cell and dtype.
    // They are copied: later changes of the arrays are not seen. Of in.shape only the sizes of the weights count;
    // in.x or in.tokens (any non-null pointer, never read) says which kind of input will come. Ended by discard.
    // Not to pack leaves room for the bytes of another that was prepared alike: all that its forward reads.
    void* (*prepare)(int set, int cell, Dtype dtype, const Inputs& in, const Preparation& how, bool pack);
    Index (*prepared_bytes)(int set, int cell, Dtype dtype, const void* prepared);
    void (*read_prepared)(int set, int cell, Dtype dtype, const void* prepared, void* to);
    void (*write_prepared)(int set, int cell, Dtype dtype, void* prepared, const void* from);
    void (*discard)(int set, int cell, Dtype dtype, void* prepared);
    // Bytes of scratch memory that the caller must give with a call (Inputs::where); 0 where the backend has its own.
    Index (*forward_bytes)(int set, int cell, Dtype dtype, const ForwardCall& call);
    Index (*backward_bytes)(int set, int cell, Dtype dtype, const BackwardCall& call);
    void (*forward)(int set, int cell, Dtype dtype, const ForwardCall& call);
    // Layers on layers: each one's x is the output of the one before it.
    void (*forward_layers)(int set, int cell, Dtype dtype, const ForwardCall* calls, int count);
    void (*backward)(int set, int cell, Dtype dtype, const BackwardCall& call);
    void (*drop)(int set, Dtype dtype, const ElementDropout& call);
    void (*evaluate)(int set, int function, Dtype dtype, const void* x, void* out, Index count);
    const LendingDoor* lending = nullptr;  // null: a backend without threads
    const BlasDoor* blas = nullptr;        // null: a backend without threads to share
    const LowDoor* low = nullptr;          // null: a backend without kernels for low precision
};

const Backend& backend();

}  // namespace rnnkernels
