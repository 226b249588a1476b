// A cell that is compiled outside the module, for tests/cpu/added_cell.py: the LSTM under another name, its passes
// for one instruction set. -DRNNKERNELS_TARGET=<set> -DSET_NAME="<set>" -DCELL_NAME="<name>"
#include "backend_table.h"
#include "passes/cell_passes.h"
#include "recurrence/table_of.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class V>
struct AddedCell : Lstm<V> {
    static constexpr const char* name = CELL_NAME;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET

using namespace rnnkernels;

static constexpr CellTable table =
    RNNKERNELS_TARGET::table_of<RNNKERNELS_TARGET::AddedCell<RNNKERNELS_TARGET::Vec<float>>>();
static constexpr CellTable contradicting = [] {
    CellTable wrong = table;
    wrong.hidden.slot[0] = table.slots;
    return wrong;
}();
static const CellEntry::OfSet of_set{SET_NAME, RNNKERNELS_TARGET::make_set_passes<RNNKERNELS_TARGET::AddedCell>()};
static const CellEntry entries[] = {
    {kStripVersion, &table, 1, &of_set},
    {kStripVersion + 1, &table, 1, &of_set},
    {kStripVersion, &contradicting, 1, &of_set},
    {kStripVersion, &table, 0, nullptr},
};

// 0: right; 1: another version; 2: a table whose numbers contradict each other; 3: no passes.
extern "C" __attribute__((visibility("default"))) const void* entry(int which) { return &entries[which]; }
