// Which instruction set serves: those that are built in, less those the machine cannot run. The CPU's backend.
// Compiled once, for the baseline; what is behind it is compiled once per set (engine.cpp, passes/passes.cpp).
// Not here: the list of cells (cells.cpp).
#include <atomic>
#include <vector>

#include "cells.h"
#include "features.h"
#include "low/kernels.h"
#include "programs.h"
#include "shared_blas.h"
#include "thread_limits.h"
#include "threads.h"
#include "workspace.h"

namespace rnnkernels {

#if defined(RNNKERNELS_HAS_SCALAR)
namespace scalar {
const cpu::SetKernels& kernels();
}
#endif
#if defined(RNNKERNELS_HAS_AVX2)
namespace avx2 {
const cpu::SetKernels& kernels();
}
#endif
#if defined(RNNKERNELS_HAS_AVX512)
namespace avx512 {
const cpu::SetKernels& kernels();
}
#endif
#if defined(RNNKERNELS_HAS_NEON)
namespace neon {
const cpu::SetKernels& kernels();
}
#endif

namespace {

using cpu::SetKernels;

// Slowest first.
std::vector<const SetKernels*> usable_sets() {
    std::vector<const SetKernels*> sets;
#if defined(RNNKERNELS_HAS_SCALAR)
    sets.push_back(&scalar::kernels());
#endif
#if defined(RNNKERNELS_HAS_AVX2)
    if (cpu::has_avx2()) sets.push_back(&avx2::kernels());
#endif
#if defined(RNNKERNELS_HAS_AVX512)
    if (cpu::has_avx512()) sets.push_back(&avx512::kernels());
#endif
#if defined(RNNKERNELS_HAS_NEON)
    sets.push_back(&neon::kernels());
#endif
    return sets;
}

// Never destroyed: a daemon thread may be in a call while the process ends.
const std::vector<const SetKernels*>& sets() {
    static const auto* const usable = new std::vector<const SetKernels*>(usable_sets());
    return *usable;
}

const SetKernels& set_at(int set) { return *sets()[static_cast<std::size_t>(set)]; }

std::atomic<int>& chosen() {
    static std::atomic<int> set{static_cast<int>(sets().size()) - 1};
    return set;
}

const cpu::SetCell& cell_of(int set, int cell) { return cpu::cell_of_set(sets(), set, cell); }

cpu::Workspace& memory_of(int set, Dtype dtype, const void* prepared) {
    return set_at(set).prepared_memory(dtype, const_cast<void*>(prepared));
}

// How many threads a call may use.
int threads_of_call() {
    const int threads = cpu::most_threads();
    if (threads > 1) cpu::share_blas_if_due();
    return threads;
}

const BlasDoor blas_door{cpu::blas, cpu::set_blas_threads, cpu::share_blas, cpu::share_blas_when_parallel};

const LendingDoor lending_door{
    [](int workers) -> void* { return cpu::borrow(workers); },
    [](void* pool, int thread) { cpu::lend(*static_cast<cpu::Pool*>(pool), thread); },
    [](void* pool) { cpu::end_lending(*static_cast<cpu::Pool*>(pool)); },
    [](void* pool) { cpu::give_up(static_cast<cpu::Pool*>(pool)); },
    [](void* pool) { cpu::use_lent(static_cast<cpu::Pool*>(pool)); },
};

const LowDoor low_door{
    [](int set, WeightStorage kind, int number) { return cpu::usable_low_kernels(set_at(set).name, kind, number); },
    [](int set, WeightStorage kind) {
        const int number = cpu::low_kernels_of(set_at(set).name, kind);
        return number == 0 ? nullptr : cpu::low_kernels(number).name;
    },
    [](int set, WeightStorage kind, const char* name) { return cpu::choose_low_kernels(set_at(set).name, kind, name); },
};

const Backend table{
    "cpu",
    [] { return cpu::cell_count(sets()); },
    [](int cell) -> const CellInfo& { return cpu::cell_info(sets(), cell); },
    [](const CellEntry& entry) { return cpu::add_cell(sets(), entry); },
    [](const ProgramCell& cell) { return cpu::add_program(sets(), cell); },
    [](int number, int& operands) { return sets()[0]->program_operation(number, operands); },
    [] { return static_cast<int>(sets().size()); },
    [](int set) { return set_at(set).name; },
    [] { return chosen().load(); },
    [](int set) { chosen().store(set); },
    [] { return cpu::threads_for_call(cpu::most_threads()); },
    cpu::set_num_threads,
    cpu::bound_threads,
    cpu::join_torch,
    cpu::set_oversubscribed,
    cpu::share_openmp,
    cpu::set_poison,
    cpu::poison,
    cpu::take_block,
    [](void* memory, std::size_t bytes) { cpu::give_block(memory, bytes); },
    [](int set, int cell, Dtype dtype, Index hidden, bool zones) {
        return set_at(set).reserve_size(cell_of(set, cell), dtype, hidden, zones);
    },
    [](int set, int cell, Dtype dtype, WeightStorage weights, const Shape& shape, int threads) {
        const cpu::Plan plan = set_at(set).plan(cell_of(set, cell), dtype, weights, shape, threads);
        return PlanInfo{plan.threads, plan.row_groups,    plan.unit_groups,
                        plan.pieces,  plan.forward_chunk, plan.backward_chunk};
    },
    [](int set, int cell, Dtype dtype, const Inputs& in, const Preparation& how, bool pack) {
        return set_at(set).prepare(cell_of(set, cell), dtype, in, how, pack ? cpu::most_threads() : 0);
    },
    [](int set, int, Dtype dtype, const void* prepared) -> Index { return memory_of(set, dtype, prepared).bytes(); },
    [](int set, int, Dtype dtype, const void* prepared, void* to) { memory_of(set, dtype, prepared).read(to); },
    [](int set, int, Dtype dtype, void* prepared, const void* from) { memory_of(set, dtype, prepared).write(from); },
    [](int set, int, Dtype dtype, void* prepared) { set_at(set).discard(dtype, prepared); },
    [](int, int, Dtype, const ForwardCall&) { return Index{0}; },
    [](int, int, Dtype, const BackwardCall&) { return Index{0}; },
    [](int set, int cell, Dtype dtype, const ForwardCall& call) {
        set_at(set).forward(cell_of(set, cell), dtype, call, threads_of_call());
    },
    [](int set, int cell, Dtype dtype, const ForwardCall* calls, int count) {
        set_at(set).forward_layers(cell_of(set, cell), dtype, calls, count, threads_of_call());
    },
    [](int set, int cell, Dtype dtype, const BackwardCall& call) {
        set_at(set).backward(cell_of(set, cell), dtype, call, threads_of_call());
    },
    [](int set, Dtype dtype, const ElementDropout& call) { set_at(set).drop(dtype, call, threads_of_call()); },
    [](int set, int function, Dtype dtype, const void* x, void* out, Index count) {
        set_at(set).evaluate(function, dtype, x, out, count);
    },
    &lending_door,
    &blas_door,
    &low_door,
};

}  // namespace

const Backend& backend() { return table; }

}  // namespace rnnkernels
