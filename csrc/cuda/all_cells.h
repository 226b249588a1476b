// The cells of this backend by their numbers: built-in ones, compiled in parts (cell_launches.cu), then programs.
#pragma once

#include <utility>

#include "../cells/all.h"
#include "cell_launches.h"
#include "program_cells.h"

namespace rnnkernels::cuda {

struct Parts {
    const Cell& (*cell[RNNKERNELS_PARTS])(int cell);
};
template <int... part>
constexpr Parts make_parts(std::integer_sequence<int, part...>) {
    return {{cell_of_part<part>...}};
}
inline constexpr Parts parts = make_parts(std::make_integer_sequence<int, RNNKERNELS_PARTS>{});
inline constexpr int kBuiltIn = cell_count<AllCells>;
inline const Cell& at(int cell) {
    return cell < kBuiltIn ? parts.cell[cell % RNNKERNELS_PARTS](cell) : program_cell(cell - kBuiltIn);
}

}  // namespace rnnkernels::cuda
