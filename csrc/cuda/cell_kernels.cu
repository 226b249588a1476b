// The kernels of some cells: those whose number leaves the rest RNNKERNELS_PART when divided by RNNKERNELS_PARTS.
// Compiled once per part, side by side; by nvcc for GPUs, by a C++ compiler for the tests of the same code without one
// (queue.h).
#include "cell_kernels.h"

#include "../cells/all.h"
#include "backward.h"
#include "forward.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

template <class Cell, class T>
Index reserve_bytes(const Inputs& in, Dtype dtype) {
    return ReserveLayout<Cell, T>{in.shape.hidden, Rows(in).total(), in.noise.zones, dtype}.bytes();
}

template <class Cell, class T>
PlanInfo plan(const Shape& shape, Dtype dtype) {
    const Index batch = shape.batch > 0 ? shape.batch : 1, rows = shape.steps * batch;
    const Index forward = chunk_rows({rows, batch, forward_row_bytes<Cell, T>(shape)});
    const Index backward = chunk_rows({rows, batch, backward_row_bytes<Cell>(shape, dtype)});
    return {1, 1, 1, forward / batch, backward / batch};
}

template <template <class, class> class Engine, class Cell, class T, class Call>
Index run(const Call& call, Dtype dtype, const Queue& queue, void* workspace) {
    Arena arena(workspace);
    Engine<Cell, T> engine(call, dtype, queue, arena);
    if (workspace) engine.run();
    return arena.used();
}

// One cell's kernels; none where another part has them.
template <bool mine, class Cell, class T>
constexpr CellKernels kernels_if() {
    if constexpr (mine)
        return {reserve_bytes<Cell, T>, plan<Cell, T>, run<ForwardEngine, Cell, T, ForwardCall>,
                run<BackwardEngine, Cell, T, BackwardCall>};
    else
        return {};
}

template <int count>
struct Table {
    CellKernels of_cell[count];
};

template <class T, template <class> class... Cells, int... number>
constexpr Table<sizeof...(Cells)> make_table(CellList<Cells...>, std::integer_sequence<int, number...>) {
    return {{kernels_if<number % RNNKERNELS_PARTS == RNNKERNELS_PART, Cells<Vec<T>>, T>()...}};
}

template <class T>
constexpr auto table = make_table<T>(AllCells{}, std::make_integer_sequence<int, cell_count<AllCells>>{});

}  // namespace

template <>
const CellKernels& part_kernels<RNNKERNELS_PART>(int cell, Dtype dtype) {
    return dtype == Dtype::float64 ? table<double>.of_cell[cell] : table<float>.of_cell[cell];
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
