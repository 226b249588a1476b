// What the GPU can do with one cell, and where to find it: cells are compiled in parts (cell_kernels.cu).
#pragma once

#include "../backend_table.h"
#include "products.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// Of one cell, in float (for the halves too) or double. forward and backward put a call into the queue; `workspace` is
// memory for as many bytes as they return. Without any (null) they do nothing but say how many that is.
struct CellKernels {
    Index (*reserve_bytes)(const Inputs& in, Dtype dtype);
    // Steps of a dense batch that are projected at once, and whose gradients are summed at once.
    PlanInfo (*plan)(const Shape& shape, Dtype dtype);
    Index (*forward)(const ForwardCall& call, Dtype dtype, const Queue& queue, void* workspace);
    Index (*backward)(const BackwardCall& call, Dtype dtype, const Queue& queue, void* workspace);
};

// Of a cell whose number, divided by RNNKERNELS_PARTS, leaves `part`.
template <int part>
const CellKernels& part_kernels(int cell, Dtype dtype);

}  // namespace rnnkernels::RNNKERNELS_TARGET
