// How a layer of a cell with two products in a step (two_products_warp.h, two_products_backward_warp.h) is divided over
// a card. A block keeps the rows of both products of its units, in tiles of each: the second product has a Grid of its
// own (geometry.h: second()), and where its rows, its parts of k and its sums stand are that Grid's maps.
#pragma once

#include "geometry.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The tiles that so many rows of the weight take, as warps can share them.
constexpr int grid_row_tiles(int rows) {
    int tiles = 1;
    while (tiles * kTileRows < rows) tiles *= 2;
    return tiles;
}

// Pairs whose weights are registers where others are in shared memory, if that has room: between its products a thread
// has more numbers than with one.
inline constexpr int kMostHeldOfTwo = 8;
inline constexpr int kValueOfTwoBack = 20;  // registers of a backward's value more, beside the sums'

constexpr bool has_grid_size(int gates, int gated, long long hidden) {
    return gated >= 1 && has_grid_size(gates, hidden) && gates + gated <= kMostGates;
}

// `gates`, `gated`: those that the first product feeds, and the second; of 0 there is one product. The product with
// more gates fills its tiles, the other has as many as the same units take.
constexpr Grid divide_grid(int gates, int gated, long long hidden, long long batch, int processors, int capability) {
    if (gated == 0) return divide_grid(gates, hidden, batch, processors, capability);
    Grid of{gates, static_cast<int>(hidden), 1, 0, 0, 1};
    of.gated = gated, of.other_numbers = 1;
    if (!has_grid_size(gates, gated, hidden)) return of;
    for (int tiles = 1; tiles <= kGridWarps; tiles *= 2) {
        of.units = tiles * kTileRows / (gates > gated ? gates : gated);
        of.row_tiles = grid_row_tiles(of.units * gates);
        of.gated_row_tiles = grid_row_tiles(of.units * gated);
        const int blocks = (of.hidden + of.units - 1) / of.units;
        of.most_held = kMostHeld;
        if (of.sums_begin() > 0) of.most_held = kMostHeldOfTwo;
        if (!fits_grid(of, blocks, processors, capability)) of.most_held = kMostHeld;
        if (!fits_grid(of, blocks, processors, capability)) continue;
        of.blocks = blocks;
        return with_teams(of, 0, batch, processors, capability);
    }
    return of;
}

// The same of a backward: of each product a row of a unit, so that both have the same tiles.
constexpr Grid divide_grid_backward(int gates, int gated, long long hidden, long long batch, int processors,
                                    int capability) {
    if (gated == 0) return divide_grid_backward(gates, hidden, batch, processors, capability);
    Grid of{1, static_cast<int>(hidden), 1, 0, 0, 1};
    of.gated = 1;
    if (!has_grid_size(gates, gated, hidden)) return of;
    of.numbers = gates, of.other_numbers = gated, of.most_held = kMostHeldOfTwo;
    of = with_few_blocks(of, processors, capability);
    return with_teams(of, kValueOfTwoBack, batch, processors, capability);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
