// Which calls a resident kernel serves.
#pragma once

#include <string>

#include "../../recurrence/cell_table.h"
#include "../plan.h"
#include "../products.h"
#include "backward_geometry.h"
#include "operands.h"
#include "unit_masks.h"

namespace rnnkernels::cuda {

// Why a forward of the cell cannot be served, as a sentence that begins with what was expected; empty: it can.
std::string not_resident(const CellTable& table, const ForwardCall& call, Dtype dtype, const Card& card);

// The same of a backward.
std::string not_resident(const CellTable& table, const BackwardCall& call, Dtype dtype, const Card& card);

// How a layer is divided where there is room for so many clusters, whose blocks have so many bytes of shared memory.
inline ResidentBackward divide_backward(const CellTable& table, const Inputs& in, Operands operands,
                                        const ClusterRoom& room, int shared) {
    return divide_backward(tile_gates(table), in.shape.hidden, in.shape.batch, room, shared, operands,
                           masks_of(in.noise));
}
inline Resident divide(const CellTable& table, const Inputs& in, Operands operands, const ClusterRoom& room,
                       int shared) {
    return divide(tile_gates(table), in.shape.hidden, in.shape.batch, room, operands, shared, masks_of(in.noise));
}

// The same by what a queue says of the card, for both of two calls' rows where it has two.
inline ResidentBackward divide_backward(const CellTable& table, Inputs in, Operands operands, const Queue& queue) {
    if (queue.rows > in.shape.batch) in.shape.batch = queue.rows;
    return divide_backward(table, in, operands, queue.resident, queue.shared);
}
inline Resident divide(const CellTable& table, Inputs in, Operands operands, const Queue& queue) {
    if (queue.rows > in.shape.batch) in.shape.batch = queue.rows;
    return divide(table, in, operands, queue.resident, queue.shared);
}

// Likewise why a grid kernel does not serve a call with these options.
std::string not_in_one_kernel(const Inputs& in);

}  // namespace rnnkernels::cuda
