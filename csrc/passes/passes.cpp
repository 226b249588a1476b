// Every cell's passes over strips. Compiled once per instruction set, with -DRNNKERNELS_TARGET=<set>: nothing else is
// compiled for each cell.
#include "passes.h"

#include "../cells/all.h"
#include "cell_passes.h"

namespace rnnkernels::RNNKERNELS_TARGET {
namespace {

template <class List>
struct All;
template <template <class> class... Cells>
struct All<CellList<Cells...>> {
    static constexpr SetPasses of_cell[] = {make_set_passes<Cells>()...};
};

}  // namespace

const SetPasses& passes_of(int cell) { return All<AllCells>::of_cell[cell]; }

}  // namespace rnnkernels::RNNKERNELS_TARGET
