// What a resident backward of two products in a step (two_products_backward_warp.h) has beside backward_geometry.h's:
// which gate gradients which of its exchanges multiplies, and which buffer holds whose. All of it is tested on the
// host.
//
// Gates of both products are a shape's gates: those of h first, then those of the gated state. The shape and a block's
// memory are those of one product with so many gates. Vectors that are fed back go with h.
#pragma once

#include "backward_geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// A step's exchanges, by their order in a forward: even ones are h's, odd ones the gated state's. A backward has them
// from the last one down.
RNNKERNELS_DEVICE constexpr bool exchange_is_gated(long long exchange) { return (exchange & 1) == 1; }
// Whose gate gradients lie in a buffer: a backward's first exchange takes buffer 0, and there are two in every step.
RNNKERNELS_DEVICE constexpr bool gradients_are_gated(int buffer) { return buffer == 0; }
// Whose parts of dL/d(what was multiplied) lie in one: they go to the other buffer.
RNNKERNELS_DEVICE constexpr bool parts_are_gated(int buffer) { return buffer == 1; }

// The tiles along k of a product whose shape has so many gates of h.
RNNKERNELS_DEVICE constexpr DepthRange depth_of(const ResidentBackward& shape, int hiddens, bool gated) {
    const int between = hiddens * shape.of.block_units() / shape.of.tile_depth();
    return gated ? DepthRange{between, shape.first_fed()} : DepthRange{0, between};
}

// What comes into a buffer, of a step with so many exchanges.
RNNKERNELS_DEVICE constexpr int bytes_in(const ResidentBackward& shape, int exchanges, int buffer) {
    return exchanges == 2 && parts_are_gated(buffer) ? shape.bytes() : shape.buffer_bytes();
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
