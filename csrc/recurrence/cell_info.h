// The cells' tables as plain data, for those who know cells at run time only.
#pragma once

#include "../math/functions.h"

#include "../cells/all.h"
#include "problem.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class Cell>
constexpr CellInfo info_of() {
    CellInfo info{};
    info.name = Cell::name;
    info.state_count = state_count<Cell>;
    for (int s = 0; s < state_count<Cell>; ++s) info.states[s] = Cell::states[s];
    constexpr const char* inputs[] = {"none", "projected", "direct"};
    constexpr const char* operands[] = {"none", "hidden", "feedback", "gated"};
    for (const Gate& gate : Cell::gates) {
        if (gate.input == Input::none && gate.operand == Operand::none) continue;  // a variant's absent gate
        info.gates[info.gate_count++] = {gate.name, inputs[static_cast<int>(gate.input)],
                                         operands[static_cast<int>(gate.operand)]};
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
    info.gate_rows = own_feedback_weight<Cell> ? feedback_gates<Cell>.count : 0;
    info.gate_columns = own_feedback_weight<Cell> ? feedback_count<Cell> : 0;
    return info;
}

template <class List>
struct Infos;

template <template <class> class... Cells>
struct Infos<CellList<Cells...>> {
    static constexpr CellInfo of_cell[] = {info_of<Cells<Vec<float>>>()...};
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
