// The list behind cells.h. Cells are only ever added, and one that is there is never moved: who holds an index or a
// reference keeps a valid one, without a lock.
#include "cells.h"

#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

namespace rnnkernels::cpu {
namespace {

using Sets = std::vector<const SetKernels*>;

struct AddedCell {
    CellTable table{};
    std::deque<std::string> names;        // what the table's names point at
    std::vector<const SetCell*> of_sets;  // null: it has no passes for that set

    const char* keep(const char* name) { return names.emplace_back(name ? name : "").c_str(); }
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

void check_range(const char* what, int value, int low, int high) {
    if (value < low || value > high)
        refuse("expected " + std::to_string(low) + " to " + std::to_string(high) + " " + what + ", got " +
               std::to_string(value));
}

void check_gates(const char* what, const ProductGates& gates, int rows, int slots) {
    check_range(what, gates.count, 0, kMaxGates);
    for (int i = 0; i < gates.count; ++i) {
        check_range("as the row of a gate", gates.row[i], 0, rows - 1);
        check_range("as the slot of a gate", gates.slot[i], 0, slots - 1);
        check_range("as the slot of a bias", gates.bias_slot[i], 0, slots - 1);
    }
}

void check_slots(const char* what, const int* slot, int count, int slots) {
    check_range(what, count, 0, kMaxGates);
    for (int i = 0; i < count; ++i) check_range("as a gradient slot", slot[i], 0, slots - 1);
}

// What an engine relies on. A table that passes can still describe another cell than its passes run: nobody sees that.
void check_table(const CellTable& t) {
    const CellInfo& info = t.info;
    if (!info.name || !*info.name) refuse("expected a name, got none");
    check_range("states", t.states, 1, kMaxStates);
    check_range("gates", t.gates, 1, kMaxGates);
    check_range("settings", t.settings, 0, kMaxSettings);
    check_range("vectors that are fed back", t.vectors, 0, kMaxStates);
    check_range("saved vectors", t.saved, 0, 64);
    check_range("gradient slots", t.cell_slots, 1, 64);
    check_range("gradient slots in all", t.slots, t.cell_slots, 64);
    check_gates("gates of x", t.input, t.input.count, t.slots);
    check_gates("gates of h", t.hidden, t.recurrents, t.slots);
    check_gates("gates of what is fed back", t.feedback, t.own_feedback_weight ? t.gg_rows : t.recurrents, t.slots);
    check_gates("gates of the gated state", t.gated, t.recurrents, t.slots);
    check_slots("gates that take x itself", t.direct_slot, t.directs, t.slots);
    check_slots("element-wise weights", t.diagonal_slot, t.diagonals, t.slots);
    const int normals = t.input.count + t.hidden.count + (t.form == Form::normalised_inner ? 1 : 0);
    const bool normalised = t.form == Form::normalised || t.form == Form::normalised_inner;
    const bool right =
        t.norms == (normalised ? (t.form == Form::normalised_inner ? 3 : 2) : 0) &&
        t.normals == (normalised ? normals : 0) && t.first_normal == t.saved + t.states - 1 &&
        t.first_own == t.first_normal + t.normals && (t.gated.count > 0) == (t.form == Form::two_products) &&
        t.gg_columns == (t.own_feedback_weight ? t.vectors : 0) && (t.vectors > 0) == (t.feedback.count > 0);
    if (!right) refuse(std::string(info.name) + ": its table's numbers contradict each other");
    if (info.state_count != t.states || info.diagonal_count != t.diagonals || info.setting_count != t.settings ||
        info.input_rows != t.input.count || info.hidden_rows != t.recurrents || info.gate_rows != t.gg_rows ||
        info.gate_columns != t.gg_columns || info.projected != (t.form == Form::projected) ||
        info.direct != (t.directs > 0) || info.gate_count < 1 || info.gate_count > kMaxGates)
        refuse(std::string(info.name) + ": what its table says to users is not what it says to engines");
}

template <class T>
bool complete(const CellTable& t, const CellPasses<T>& p) {
    const bool halves = t.form == Form::two_products || t.form == Form::normalised_inner;
    return p.forward && p.backward && (!halves || (p.forward_state && p.backward_gates)) &&
           (t.vectors == 0 || (p.feedback && p.feedback_backward));
}

void copy_names(AddedCell& cell) {
    CellInfo& info = cell.table.info;
    info.name = cell.keep(info.name);
    info.normalisation = cell.keep(info.normalisation);
    for (int k = 0; k < info.state_count; ++k) info.states[k] = cell.keep(info.states[k]);
    for (int k = 0; k < info.setting_count; ++k) info.settings[k] = cell.keep(info.settings[k]);
    for (int k = 0; k < info.diagonal_count; ++k) {
        DiagonalInfo& diagonal = info.diagonals[k];
        diagonal.name = cell.keep(diagonal.name), diagonal.initial = cell.keep(diagonal.initial);
    }
    for (int k = 0; k < info.gate_count; ++k) {
        GateInfo& gate = info.gates[k];
        gate.name = cell.keep(gate.name), gate.input = cell.keep(gate.input), gate.operand = cell.keep(gate.operand);
    }
}

}  // namespace

int cell_count(const Sets& sets) { return sets[0]->cell_count + added().count.load(); }

const CellInfo& cell_info(const Sets& sets, int cell) {
    const int built_in = sets[0]->cell_count;
    return cell < built_in ? sets[0]->tables[cell].info : added().cells[cell - built_in]->table.info;
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
    auto cell = std::make_unique<AddedCell>();
    cell->table = *entry.table;
    copy_names(*cell);
    bool any = false;
    for (const SetKernels* set : sets) {
        const SetPasses* passes = nullptr;
        for (int i = 0; i < entry.set_count; ++i)
            if (std::strcmp(set->name, entry.of_set[i].set) == 0) passes = &entry.of_set[i].passes;
        if (passes && !(complete(cell->table, passes->float32) && complete(cell->table, passes->float64)))
            refuse(std::string(cell->table.info.name) + ": passes that its form has are missing");
        cell->of_sets.push_back(passes ? set->make_cell(cell->table, *passes) : nullptr);
        any = any || passes;
    }
    if (!any) refuse(std::string(cell->table.info.name) + ": it has passes for no instruction set of this machine");
    added().cells[number] = cell.release();
    added().count.store(number + 1);
    return sets[0]->cell_count + number;
}

const SetCell& cell_of_set(const Sets& sets, int set, int cell) {
    const SetKernels& kernels = *sets[static_cast<std::size_t>(set)];
    if (cell < kernels.cell_count) return *kernels.cell(cell);
    const AddedCell& found = *added().cells[cell - kernels.cell_count];
    const SetCell* of_set = found.of_sets[static_cast<std::size_t>(set)];
    if (!of_set) refuse(std::string(found.table.info.name) + " has no passes for the instruction set " + kernels.name);
    return *of_set;
}

}  // namespace rnnkernels::cpu
