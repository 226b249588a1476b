// A table made of a list of gates that came as data.
#include "program_table.h"

#include <cstring>

namespace rnnkernels {
namespace {

bool is(const char* a, const char* b) { return std::strcmp(a, b) == 0; }

void add_gate(ProductGates& product, int row, int slot) {
    const int i = product.count++;
    product.row[i] = row, product.slot[i] = product.bias_slot[i] = slot;
}

}  // namespace

CellTable table_of(const ProgramCell& cell) {
    CellTable table{};
    table.gates = cell.gate_count, table.states = cell.state_count, table.saved = cell.saved;
    table.vectors = cell.vectors, table.own_feedback_weight = cell.vectors > 1;
    table.diagonals = cell.weight_count, table.elements = cell.element_count;
    table.cell_slots = table.slots = cell.slots;
    table.heads = cell.heads;
    CellInfo& info = table.info;
    for (int g = 0; g < cell.gate_count; ++g) {
        const ProgramGate& gate = cell.gates[g];
        if (is(gate.input, "projected")) {
            if (!gate.sigmoid) table.input.fine |= 1U << table.input.count;
            add_gate(table.input, table.input.count, gate.dx);
        }
        if (is(gate.input, "direct")) table.direct_slot[table.directs++] = gate.dx;
        if (is(gate.operand, "feedback") && table.own_feedback_weight)
            add_gate(table.feedback, table.feedback.count, gate.du);
        else if (!is(gate.operand, "none"))
            add_gate(is(gate.operand, "hidden")     ? table.hidden
                     : is(gate.operand, "feedback") ? table.feedback
                                                    : table.gated,
                     table.recurrents++, gate.du);
        info.gates[g] = {gate.name, gate.input, gate.operand, gate.dx == gate.du || gate.dx < 0 || gate.du < 0,
                         gate.sigmoid};
    }
    if (table.own_feedback_weight) table.gg_rows = table.feedback.count, table.gg_columns = table.vectors;
    for (int k = 0; k < cell.weight_count; ++k) {
        table.diagonal_slot[k] = cell.weights[k].slot;
        info.diagonals[k] = {cell.weights[k].name, cell.weights[k].initial};
    }
    table.form = table.gated.count > 0 ? Form::two_products : Form::one_product;
    table.first_normal = table.first_own = table.saved + table.states - 1;

    info.name = cell.name, info.normalisation = "none";
    info.state_count = table.states, info.gate_count = table.gates, info.diagonal_count = table.diagonals;
    for (int k = 0; k < table.states; ++k) info.states[k] = cell.states[k], info.zoned[k] = true;
    info.element_count = table.elements;
    for (int k = 0; k < table.elements; ++k) info.elements[k] = cell.elements[k];
    info.direct = table.directs > 0;
    info.input_rows = table.input.count, info.hidden_rows = table.recurrents;
    info.gate_rows = table.gg_rows, info.gate_columns = table.gg_columns;
    info.heads = table.heads;
    return table;
}

}  // namespace rnnkernels
