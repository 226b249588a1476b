// The list behind cells.h. Cells are only ever added, and one that is there is never moved: who holds an index or a
// reference keeps a valid one, without a lock.
#include "cells.h"

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

#include "../recurrence/own_table.h"

namespace rnnkernels::cpu {
namespace {

using Sets = std::vector<const SetKernels*>;

struct AddedCell {
    explicit AddedCell(const CellTable& table) : own(table) {}

    OwnTable own;
    std::vector<const SetCell*> of_sets;  // null: it has no passes for that set
};

constexpr int kMostAdded = 4096;

struct AddedCells {
    std::mutex guard;  // of those who add
    AddedCell* cells[kMostAdded] = {};
    std::atomic<int> count{0};
};

// Never destroyed: a daemon thread may be in a call when the program ends.
AddedCells& added() {
    static auto* cells = new AddedCells;
    return *cells;
}

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("cell: " + what); }

template <class T>
bool complete(const CellTable& t, const CellPasses<T>& p) {
    const bool halves = t.form == Form::two_products || t.form == Form::normalised_inner;
    return p.forward && p.backward && (!halves || (p.forward_state && p.backward_gates)) &&
           (t.vectors == 0 || (p.feedback && p.feedback_backward));
}

}  // namespace

int cell_count(const Sets& sets) { return sets[0]->cell_count + added().count.load(); }

const CellInfo& cell_info(const Sets& sets, int cell) {
    const int built_in = sets[0]->cell_count;
    return cell < built_in ? sets[0]->tables[cell].info : added().cells[cell - built_in]->own.table.info;
}

void check_new(const Sets& sets, const CellTable& table) {
    check_table(table);
    for (int i = 0; i < cell_count(sets); ++i)
        if (std::strcmp(cell_info(sets, i).name, table.info.name) == 0)
            refuse(std::string("expected a new name, got ") + table.info.name + ", which is taken");
}

int add_cell(const Sets& sets, const CellEntry& entry) {
    if (entry.version != kStripVersion)
        refuse("expected version " + std::to_string(kStripVersion) + " of the strip, got " +
               std::to_string(entry.version));
    const std::lock_guard<std::mutex> lock(added().guard);
    check_new(sets, *entry.table);
    const int number = added().count.load();
    if (number == kMostAdded) refuse("expected at most " + std::to_string(kMostAdded) + " cells from elsewhere");
    auto cell = std::make_unique<AddedCell>(*entry.table);
    const CellTable& table = cell->own.table;
    bool any = false;
    for (const SetKernels* set : sets) {
        const SetPasses* passes = nullptr;
        for (int i = 0; i < entry.set_count; ++i)
            if (std::strcmp(set->name, entry.of_set[i].set) == 0) passes = &entry.of_set[i].passes;
        if (passes && !(complete(table, passes->float32) && complete(table, passes->float64)))
            refuse(std::string(table.info.name) + ": passes that its form has are missing");
        cell->of_sets.push_back(passes ? set->make_cell(table, *passes) : nullptr);
        any = any || passes;
    }
    if (!any) refuse(std::string(table.info.name) + ": it has passes for no instruction set of this machine");
    added().cells[number] = cell.release();
    added().count.store(number + 1);
    return sets[0]->cell_count + number;
}

const SetCell& cell_of_set(const Sets& sets, int set, int cell) {
    const SetKernels& kernels = *sets[static_cast<std::size_t>(set)];
    if (cell < kernels.cell_count) return *kernels.cell(cell);
    const AddedCell& found = *added().cells[cell - kernels.cell_count];
    const SetCell* of_set = found.of_sets[static_cast<std::size_t>(set)];
    if (!of_set)
        refuse(std::string(found.own.table.info.name) + " has no passes for the instruction set " + kernels.name);
    return *of_set;
}

}  // namespace rnnkernels::cpu
