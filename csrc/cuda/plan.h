// How a call is cut and which kernel serves it: a pure function of problem and card, tested without one.
#pragma once

#include "../device_table.h"
#include "../recurrence/problem.h"
#include "resident/clusters.h"

namespace rnnkernels::cuda {

// What serves a call, slowest first.
enum class Kernel : int {
    reference,  // plain products: any dtype, any card, no library
    products,   // one product of cuBLAS per step and one pass of the cell; the input's for many steps at once
    resident,   // as products, but all steps in one kernel that keeps the weights (resident/)
    grid,       // the same over the whole card (grid/)
};
inline constexpr int kKernels = 4;
const char* name_of(Kernel kernel);

// What is known of a card.
struct Card {
    int capability;  // major * 10 + minor
    int processors;
    ClusterRoom room{};  // for clusters of a resident kernel
};

// Which kernel is best for a forward and its backward. It does not look whether cuBLAS is there: a call without it is
// told so, and not served slowly. What was measured decides (measured.h), and `products` where nothing near was.
Kernel choose_kernel(const Shape& shape, Dtype dtype, const Card& card);

// That of the nearest row of a table: one of the card's capability and of the dtype whose B and H are each within a
// factor of 2; of these that whose two factors have the least product; of equals the first. None: `products`.
Kernel nearest_measured(const Shape& shape, Dtype dtype, const Card& card, const MeasuredKernel* rows, Index count);

// What is done at once for many rows: their x part in a forward, their gradients in a backward.
struct Chunk {
    Index rows;       // of all steps
    Index batch;      // most rows of a step
    Index row_bytes;  // of what is kept for each row
};

// Rows of a chunk: as many as stay within a bound of memory, a step's at least, no more than there are.
Index chunk_rows(const Chunk& chunk);

}  // namespace rnnkernels::cuda
