// Which calls a grid kernel serves.
#pragma once

#include <string>

#include "../../recurrence/cell_table.h"
#include "../plan.h"
#include "geometry.h"

namespace rnnkernels::cuda {

// Why a forward of the cell cannot be served, as a sentence that begins with what was expected; empty: it can.
std::string not_grid(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card);

}  // namespace rnnkernels::cuda
