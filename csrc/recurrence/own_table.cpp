// The checks and copies of own_table.h.
#include "own_table.h"

#include "heads.h"

#include <stdexcept>

namespace rnnkernels {
namespace {

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

}  // namespace

void check_table(const CellTable& t) {
    const CellInfo& info = t.info;
    if (!info.name || !*info.name) refuse("expected a name, got none");
    check_range("states", t.states, 1, kMaxStates);
    check_range("gates", t.gates, 1, kMaxGates);
    check_range("settings", t.settings, 0, kMaxSettings);
    check_range("element-wise inputs", t.elements, 0, kMaxElements);
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
    check_range("heads", t.heads, 1, kMostHeads);
    if (t.heads > 1 &&
        ((t.form != Form::one_product && t.form != Form::two_products) || t.own_feedback_weight || t.recurrents == 0))
        refuse(std::string(info.name) + ": expected 1 head of such a form, got " + std::to_string(t.heads));
    const int normals = t.input.count + t.hidden.count + (t.form == Form::normalised_inner ? 1 : 0);
    const bool normalised = t.form == Form::normalised || t.form == Form::normalised_inner;
    const bool right =
        t.norms == (normalised ? (t.form == Form::normalised_inner ? 3 : 2) : 0) &&
        t.normals == (normalised ? normals : 0) && t.first_normal == t.saved + t.states - 1 &&
        t.first_own == t.first_normal + t.normals && (t.gated.count > 0) == (t.form == Form::two_products) &&
        t.gg_columns == (t.own_feedback_weight ? t.vectors : 0) && (t.vectors > 0) == (t.feedback.count > 0);
    if (!right) refuse(std::string(info.name) + ": its table's numbers contradict each other");
    if (info.state_count != t.states || info.diagonal_count != t.diagonals || info.setting_count != t.settings ||
        info.element_count != t.elements || info.input_rows != t.input.count || info.hidden_rows != t.recurrents ||
        info.gate_rows != t.gg_rows || info.gate_columns != t.gg_columns || info.heads != t.heads ||
        info.projected != (t.form == Form::projected) || info.direct != (t.directs > 0) || info.gate_count < 1 ||
        info.gate_count > kMaxGates)
        refuse(std::string(info.name) + ": what its table says to users is not what it says to engines");
}

OwnTable::OwnTable(const CellTable& of) : table(of) {
    CellInfo& info = table.info;
    info.name = keep(info.name);
    info.normalisation = keep(info.normalisation);
    for (int k = 0; k < info.state_count; ++k) info.states[k] = keep(info.states[k]);
    for (int k = 0; k < info.setting_count; ++k) info.settings[k] = keep(info.settings[k]);
    for (int k = 0; k < info.element_count; ++k) info.elements[k] = keep(info.elements[k]);
    for (int k = 0; k < info.diagonal_count; ++k) {
        DiagonalInfo& diagonal = info.diagonals[k];
        diagonal.name = keep(diagonal.name), diagonal.initial = keep(diagonal.initial);
    }
    for (int k = 0; k < info.gate_count; ++k) {
        GateInfo& gate = info.gates[k];
        gate.name = keep(gate.name), gate.input = keep(gate.input), gate.operand = keep(gate.operand);
    }
}

}  // namespace rnnkernels
