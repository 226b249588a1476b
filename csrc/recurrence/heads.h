// Heads: a block-diagonal weight_hh, of which only the blocks are kept.
//
// The units are cut into `heads` heads of K = H / heads neighbours each: unit j belongs to head j / K. weight_hh is
// (Gh*H, K), and its row g*H + j multiplies the K numbers of the operand that stand at unit j's own head. So the sum of
// an element is one chain over its head's numbers in ascending order, and no number of another head comes near it.
// One head is a dense weight. Not here: how an engine multiplies (cpu/head_product.h, cuda/products.h).
#pragma once

#include "problem.h"

namespace rnnkernels {

inline constexpr int kMostHeads = 1 << 20;

}  // namespace rnnkernels
