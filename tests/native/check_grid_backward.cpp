// Grid backwards (csrc/cuda/grid/backward_*.h) on the host: a layer's backward, block by block in random orders, with
// flags that come late and buffers that are poisoned, against the engine's own bodies step by step with the same sums
// taken plainly, bit for bit. Cells of one product in a step and of two. Sizes off every tile, several groups, tiles
// and teams, sequences of different lengths and in any order, steps in two runs. The maps are check_grid.cpp's.
#include "cells/all.h"
#include "math/functions.h"

#include "backward_layer_call.h"
#include "grid_machine.h"
#include "resident_cells.h"
#include "resident_two_products.h"

using namespace rnnkernels;
using namespace rnnkernels::cuda;

namespace {

int faults = 0;
void expect(bool holds, const char* what, const Grid& of) {
    if (holds) return;
    if (++faults < 20)
        std::fprintf(stderr, "backward: %s: numbers %d, %d hidden %d row tiles %d blocks %d teams %d groups %d\n", what,
                     of.numbers, of.other_numbers, of.hidden, of.row_tiles, of.blocks, of.teams, of.groups);
}

// What comes to a unit from a row's gate gradients, (gates, H): each part of k by itself, in it even products and odd
// ones (geometry.h), then all in order. k goes through the units, and of each through its gates.
template <class Stored, class Weight>
float plain_sum(const Grid& of, const std::uint16_t* gradient, Weight weight) {
    float total = 0;
    for (int part = 0; part < of.splits(); ++part) {
        float sum[2] = {};
        for (int pair = 0; pair < of.pairs(); ++pair)
            for (int odd = 0; odd < 2; ++odd) {
                double products = 0;
                for (int lane = 0; lane < 4; ++lane)
                    for (int i = 0; i < 4; ++i) {
                        const int k = (part * of.pairs() + pair) * kPair + 8 * lane + 4 * odd + i;
                        const int gate = k % of.numbers, unit = k / of.numbers;
                        if (unit < of.hidden)
                            products += double{weight(gate, unit)} * Stored::number(gradient[gate * of.hidden + unit]);
                    }
                sum[odd] = static_cast<float>(sum[odd] + products);
            }
        total = part == 0 ? sum[0] + sum[1] : total + (sum[0] + sum[1]);
    }
    return total;
}

template <template <class> class OneCell, class Stored>
void check_layer(const BackwardLayer& layer, int processors, int capability, unsigned seed) {
    using Cell = OneCell<Vec<float>>;
    using G = Geometry<Cell>;
    const Grid shape = divide_grid_backward(G::hiddens, G::gateds, layer.hidden, layer.batch, processors, capability);
    if (shape.blocks == 0) return expect(false, "does not fit", shape);
    BackwardLayerCall<Cell, Stored> layer_call(layer, seed);
    const Index tiles = grid_tiles(shape, layer.batch);
    layer_call.run([&](const ResidentBackwardCall& call) {
        std::vector<std::uint16_t> numbers(exchange_numbers(shape, tiles));
        std::vector<unsigned> flags(exchange_flags(shape, tiles));
        run_emulated_grid<ResidentBackwardMathsOf<Cell>, Stored>(
            shape, GridBackwardCall{call, {numbers.data(), flags.data(), tiles}}, seed);
    });
    layer_call.run_plainly([&](const std::uint16_t* gradient, int first, int, Index column, int vector) {
        return plain_sum<Stored>(first == 0 ? shape : shape.second(), gradient, [&](int gate, int unit) {
            return layer_call.weight(first + gate, unit, column, vector);
        });
    });
    layer_call.compare([&](bool same, const char* what) { expect(same, what, shape); });
}

template <template <class> class OneCell>
void check_cell(const BackwardLayer& layer, int processors, int capability, unsigned seed) {
    check_layer<OneCell, Bfloat16>(layer, processors, capability, seed);
    check_layer<OneCell, Float16>(layer, processors, capability, seed + 7);
}

}  // namespace

int check_grid_backward() {
    const BackwardLayer layers[] = {{3, 2, 1, 9, {}},
                                    {4, 9, 5, 1, {}},
                                    {3, 17, 33, 2, {}, true},
                                    {5, 1, 40, 9, {}},
                                    {2, 8, 100, 9, {}},
                                    {1, 3, 64, 9, {}},
                                    {0, 4, 16, 9, {}},
                                    {4, 5, 70, 9, {0, 5, 9, 12, 13}},
                                    {4, 5, 70, 2, {0, 5, 9, 12, 13}}};
    unsigned seed = 100;
    for (const BackwardLayer& layer : layers)
        for (const int processors : {4, 132}) {
            check_cell<RnnTanh>(layer, processors, 90, seed += 31);
            check_cell<Janet>(layer, processors, 90, seed += 31);
            check_cell<Gru>(layer, processors, 90, seed += 31);
            check_cell<Lstm>(layer, processors, 90, seed += 31);
            check_cell<LstmPeephole>(layer, processors, 90, seed += 31);
            check_cell<Slstm>(layer, processors, 90, seed += 31);
            check_cell<SixGates>(layer, processors, 90, seed += 31);
            check_cell<Mgu>(layer, processors, 90, seed += 31);
            check_cell<GruResetBefore>(layer, processors, 90, seed += 31);
            check_cell<Mut1>(layer, processors, 90, seed += 31);
            check_cell<Mut2Projected>(layer, processors, 90, seed += 31);
            check_cell<FiveGates>(layer, processors, 90, seed += 31);
        }
    check_cell<Lstm>({3, 40, 70, 2, {}}, 10, 80, 5);      // several groups, tiles and parts
    check_cell<Lstm>({2, 1, 900, 9, {}}, 60, 90, 6);      // weights in shared memory
    check_cell<RnnTanh>({2, 3, 1100, 1, {}}, 40, 90, 7);  // several tiles of rows
    check_cell<GruResetBefore>({3, 40, 70, 2, {}}, 10, 80, 8);
    check_cell<GruResetBefore>({2, 1, 900, 9, {}}, 60, 90, 9);
    check_cell<Mgu>({2, 3, 800, 1, {}}, 30, 90, 10);
    check_cell<FiveGates>({2, 9, 300, 1, {}}, 40, 75, 11);
    return faults;
}
