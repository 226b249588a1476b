// What the GPU does with a call of any cell. Compiled once (engines.cu): a cell brings its table and launches of its
// bodies (cell_launches.h).
#pragma once

#include <memory>

#include "../backend_table.h"
#include "cell_launches.h"

namespace rnnkernels::RNNKERNELS_TARGET {

Index reserve_bytes(const CellTable& table, const Inputs& in, Dtype dtype);
// Steps of a dense batch that are projected at once, and whose gradients are summed at once.
PlanInfo plan(const CellTable& table, const Shape& shape, Dtype dtype);

// Put a call into the queue; `workspace` is memory for as many bytes as they return. Without any (null) they do nothing
// but say how many that is.
Index put_forward(const Cell& cell, const ForwardCall& call, Dtype dtype, const Queue& queue, void* workspace);
Index put_backward(const Cell& cell, const BackwardCall& call, Dtype dtype, const Queue& queue, void* workspace);

// A call that is put piece by piece: begin, then every step, from the first up or (a backward) from the last down, then
// finish. What it was made of must stay until then.
class Pieces {
public:
    virtual ~Pieces() = default;
    virtual void begin() = 0;
    virtual void take(Index first, Index last) = 0;
    virtual void finish() = 0;
    // The end of the chunk that begins at a step; of a backward the begin of the one that ends there.
    virtual Index next(Index first) const = 0;
};
std::unique_ptr<Pieces> forward_pieces(const Cell& cell, const ForwardCall& call, Dtype dtype, const Queue& queue,
                                       void* workspace);
std::unique_ptr<Pieces> backward_pieces(const Cell& cell, const BackwardCall& call, Dtype dtype, const Queue& queue,
                                        void* workspace);

}  // namespace rnnkernels::RNNKERNELS_TARGET
