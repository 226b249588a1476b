// Which calls a resident kernel serves.
#pragma once

#include <string>

#include "../../recurrence/cell_table.h"
#include "../plan.h"
#include "backward_geometry.h"
#include "operands.h"
#include "unit_masks.h"

namespace rnnkernels::cuda {

// Why a forward of the cell cannot be served, as a sentence that begins with what was expected; empty: it can.
std::string not_resident(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card);

// The same of a backward.
std::string not_resident(const CellTable& table, const BackwardCall& call, Dtype dtype, const Card& card);

// How a layer is divided on so many processors, whose blocks have so many bytes of shared memory.
inline ResidentBackward divide_backward(const CellTable& table, const Shape& shape, Operands operands, int processors,
                                        int shared) {
    return divide_backward(tile_gates(table), shape.hidden, shape.batch, processors, shared, operands);
}
inline Resident divide(const CellTable& table, const Inputs& in, Operands operands, int processors, int shared) {
    return divide(tile_gates(table), in.shape.hidden, in.shape.batch, processors, operands, shared, masks_of(in.noise));
}

// Likewise why neither a grid kernel nor a backward in one kernel serves a call with these options.
std::string not_in_one_kernel(const Inputs& in);

}  // namespace rnnkernels::cuda
