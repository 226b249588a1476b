// Calls that are put together: each into a stream of its own beside the caller's, piece by piece where one reads
// another's results (overlap.h); or both directions of a layer into one stream, with one resident kernel for the steps
// of both.
#pragma once

#include <memory>
#include <vector>

#include "cell_launches.h"
#include "plan.h"

namespace rnnkernels::cuda {

// A call that is checked and ready: one of the two.
struct ReadyCall {
    const Cell* cell;
    const ForwardCall* forward;
    const BackwardCall* backward;
    Dtype dtype;
    Kernel kernel;
    Queue queue;  // what its kernel wants to know of the card; stream and products are still to come

    const Inputs& in() const { return forward ? forward->in : backward->in; }
};

// Whether both are served by one resident kernel: of one cell, one dtype, one H and I, with the same kinds of masks,
// neither of which reads what the other writes. Their numbers of rows and steps may differ, as those of resets do. Half
// of the card has room for a cluster; of float32 in full for clusters of all rows.
bool are_directions(const ReadyCall& a, const ReadyCall& b);
// Gives both queues half of the card, and a kernel for the rows of either.
void make_directions(ReadyCall& a, ReadyCall& b);

// Puts all of them into a stream, or what follows from it and comes back to it. `piece`: steps. `directions`: they have
// been made such.
void put_together(const std::vector<ReadyCall>& calls, bool directions, Index piece, void* stream);

}  // namespace rnnkernels::cuda
