// The tables of the built-in cells (cell_table.h), made of their headers when they are compiled.
#pragma once

#include "../math/functions.h"

#include "../cells/all.h"
#include "sizes.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell>
constexpr CellInfo info_of() {
    CellInfo info{};
    info.name = Cell::name;
    info.state_count = state_count<Cell>;
    for (int s = 0; s < state_count<Cell>; ++s) {
        const StateFlags flags = flags_of_state<Cell>(s);
        info.states[s] = Cell::states[s];
        info.zoned[s] = flags.zoned, info.positive[s] = flags.positive;
    }
    constexpr const char* inputs[] = {"none", "projected", "direct"};
    constexpr const char* operands[] = {"none", "hidden", "feedback", "gated"};
    for (int g = 0; g < gate_count<Cell>; ++g) {  // nvcc's front end does not complete the array's type for a range
        const Gate& gate = Cell::gates[g];
        if (gate.input == Input::none && gate.operand == Operand::none) continue;  // a variant's absent gate
        info.gates[info.gate_count++] = {gate.name, inputs[static_cast<int>(gate.input)],
                                         operands[static_cast<int>(gate.operand)], gate.dx == gate.du,
                                         gate.reader == Reader::sigmoid};
    }
    info.diagonal_count = diagonal_count<Cell>;
    constexpr const char* initials[] = {"drawn", "zero", "one"};
    if constexpr (diagonal_count<Cell> > 0)
        for (int k = 0; k < diagonal_count<Cell>; ++k) {
            const Diagonal& diagonal = Cell::diagonals.diagonal[k];
            info.diagonals[k] = {diagonal.name, initials[static_cast<int>(diagonal.initial)]};
        }
    constexpr const char* normalisations[] = {"none", "products", "products_and_inner"};
    info.normalisation = normalisations[static_cast<int>(find_normalisation<Cell>())];
    constexpr SettingList settings = find_settings<Cell>();
    info.setting_count = settings.count;
    for (int k = 0; k < settings.count; ++k) info.settings[k] = settings.name[k];
    info.projected = projected<Cell>;
    info.direct = direct_gates<Cell>.count > 0;
    info.input_rows = input_gates<Cell>.count;
    info.hidden_rows = recurrent_gates<Cell>.count;
    info.gate_rows = Geometry<Cell>::gg_rows;
    info.gate_columns = Geometry<Cell>::gg_columns;
    info.heads = 1;
    return info;
}

template <class Cell>
constexpr Form form_of() {
    if (projected<Cell>) return Form::projected;
    if (two_products<Cell>) return Form::two_products;
    if (normalises_inner<Cell>) return Form::normalised_inner;
    return normalised<Cell> ? Form::normalised : Form::one_product;
}

// `of_x`: the gradients of x[g], else of u[g]. `own`: the product's first slot where it is normalised, else -1.
template <class Cell>
constexpr ProductGates product_gates(const GateList& list, const GateRows& rows, bool of_x, int own) {
    ProductGates product{};
    product.count = list.count;
    for (int i = 0; i < list.count; ++i) {
        const Gate& gate = Cell::gates[list.gate[i]];
        product.row[i] = rows.row[i];
        product.bias_slot[i] = of_x ? gate.dx : gate.du;
        product.slot[i] = own < 0 ? product.bias_slot[i] : own + i;
        if (gate.reader != Reader::sigmoid) product.fine |= 1U << i;
    }
    return product;
}

template <class Cell>
constexpr CellTable table_of() {
    using G = Geometry<Cell>;
    CellTable table{};
    table.info = info_of<Cell>();
    table.form = form_of<Cell>();
    table.gates = G::gates, table.states = G::states, table.saved = G::saved;
    const int own = normalised<Cell> ? Cell::slot_count : -1;
    table.input = product_gates<Cell>(input_gates<Cell>, input_rows<Cell>, true, own);
    table.hidden =
        product_gates<Cell>(hidden_gates<Cell>, hidden_rows<Cell>, false, normalised<Cell> ? own + G::inputs : -1);
    table.feedback = product_gates<Cell>(feedback_gates<Cell>, feedback_rows<Cell>, false, -1);
    table.gated = product_gates<Cell>(gated_gates<Cell>, gated_rows<Cell>, false, -1);
    table.directs = G::directs;
    for (int i = 0; i < G::directs; ++i) table.direct_slot[i] = Cell::gates[direct_gates<Cell>.gate[i]].dx;
    table.vectors = G::vectors, table.own_feedback_weight = own_feedback_weight<Cell>;
    table.recurrents = G::recurrents, table.gg_rows = G::gg_rows, table.gg_columns = G::gg_columns;
    table.heads = 1;
    table.diagonals = G::diagonals, table.settings = G::settings;
    if constexpr (G::diagonals > 0)
        for (int k = 0; k < G::diagonals; ++k) table.diagonal_slot[k] = Cell::diagonals.diagonal[k].slot;
    table.cell_slots = Cell::slot_count, table.slots = G::slots;
    table.norms = G::norms, table.normals = G::normals;
    table.first_normal = G::first_normal, table.first_own = G::first_own;
    return table;
}

template <class List>
struct Tables;
template <template <class> class... Cells>
struct Tables<CellList<Cells...>> {
    static constexpr CellTable of_cell[] = {table_of<Cells<Vec<float>>>()...};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
