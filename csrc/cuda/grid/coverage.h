// Which calls a grid kernel serves.
#pragma once

#include <string>

#include "../../recurrence/cell_table.h"
#include "../plan.h"
#include "two_products_geometry.h"

namespace rnnkernels::cuda {

// Why a forward of the cell cannot be served, as a sentence that begins with what was expected; empty: it can.
std::string not_grid(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card);

// The same of a backward.
std::string not_grid(const CellTable& table, const BackwardCall& call, Dtype dtype, const Card& card);

// How a layer is divided on a card.
inline Grid divide_grid(const CellTable& table, const Shape& shape, const Card& card) {
    return divide_grid(table.hidden.count, table.gated.count, shape.hidden, shape.batch, card.processors,
                       card.capability);
}
inline Grid divide_grid_backward(const CellTable& table, const Shape& shape, const Card& card) {
    return divide_grid_backward(table.hidden.count, table.gated.count, shape.hidden, shape.batch, card.processors,
                                card.capability);
}

}  // namespace rnnkernels::cuda
