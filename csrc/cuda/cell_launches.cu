// The bodies of some cells: those whose number leaves the rest RNNKERNELS_PART when divided by RNNKERNELS_PARTS.
// Nothing else is compiled for each cell. By nvcc for GPUs, by a C++ compiler for the tests of the same code without
// one (queue.h).
#include "cell_launches.h"

#include "../cells/all.h"
#include "backward_bodies.h"
#include "forward_bodies.h"
#include "grid/launch.h"
#include "queue.h"
#include "resident/launch.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

template <class Body, class Arrays>
void launch(const Queue& queue, Index rows, const Arrays& arrays, const void*) {
    each(queue, rows, arrays.hidden, Body{arrays});
}

template <class Cell, int number>
void launch_resident(const Queue& queue, const Resident& shape, const ResidentCall& call, const void*) {
    put_resident_cell<Cell>(number, queue, shape, call);
}

template <class Cell, int number>
void launch_resident_backward(const Queue& queue, const ResidentBackward& shape, const ResidentBackwardCall& call,
                              const void*) {
    put_resident_backward_cell<Cell>(number, queue, shape, call);
}

template <class Cell, int number, class Call>
void launch_grid(const Queue& queue, const Grid& shape, const Call& call, const void*) {
    put_grid_cell<Cell>(number, queue, shape, call);
}

template <class Cell, int number, class T>
constexpr CellLaunches<T> make_launches() {
    CellLaunches<T> launches{};
    launches.forward = launch<ForwardBody<Cell, T>, ForwardArrays<T>>;
    launches.backward = launch<BackwardBody<Cell, T>, BackwardArrays<T>>;
    if constexpr (halved<Cell>) {
        launches.forward_state = launch<ForwardStateBody<Cell, T>, ForwardArrays<T>>;
        launches.backward_gates = launch<BackwardGatesBody<Cell, T>, BackwardArrays<T>>;
    }
    if constexpr (feedback_count<Cell> > 0) {
        launches.feedback = launch<FeedbackBody<Cell, T>, ForwardArrays<T>>;
        launches.feedback_backward = launch<FeedbackBackwardBody<Cell, T>, BackwardArrays<T>>;
    }
    if constexpr (sizeof(T) == 4 && has_resident<Cell>) {
        launches.resident = launch_resident<Cell, number>;
        launches.resident_backward = launch_resident_backward<Cell, number>;
    }
    if constexpr (sizeof(T) == 4 && has_grid<Cell>) {
        launches.grid = launch_grid<Cell, number, GridCall>;
        launches.grid_backward = launch_grid<Cell, number, GridBackwardCall>;
    }
    return launches;
}

// Empty where another part has the cell.
template <int number, template <class> class OneCell>
constexpr Cell make_cell() {
    if constexpr (number % RNNKERNELS_PARTS == RNNKERNELS_PART)
        return {&Tables<AllCells>::of_cell[number], make_launches<OneCell<Vec<float>>, number, float>(),
                make_launches<OneCell<Vec<double>>, number, double>()};
    else
        return {};
}

struct All {
    Cell of_cell[cell_count<AllCells>];
};
template <template <class> class... Cells, int... number>
constexpr All make_all(CellList<Cells...>, std::integer_sequence<int, number...>) {
    return {{make_cell<number, Cells>()...}};
}
constexpr All all = make_all(AllCells{}, std::make_integer_sequence<int, cell_count<AllCells>>{});

}  // namespace

template <>
const Cell& cell_of_part<RNNKERNELS_PART>(int cell) {
    return all.of_cell[cell];
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
