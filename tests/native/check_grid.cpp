// Grid kernels (csrc/cuda/grid/) on the host: maps of every shape, of both directions; and a layer's forward, block by
// block in random orders, with flags that come late and buffers that are poisoned, against the same sums taken plainly,
// bit for bit. Cells of one product in a step and of two. Backwards are check_grid_backward.cpp's.
#include "cells/all.h"
#include "math/functions.h"

#include "grid_machine.h"
#include "layer_call.h"
#include "resident_two_products.h"

using namespace rnnkernels;
using namespace rnnkernels::cuda;

int check_grid_backward();  // check_grid_backward.cpp

namespace {

int faults = 0;
void expect(bool holds, const char* what, const Grid& of) {
    if (holds) return;
    if (++faults < 20)
        std::fprintf(stderr, "%s: gates %d, %d numbers %d hidden %d tiles %d, %d, %d blocks %d teams %d groups %d\n",
                     what, of.gates, of.gated, of.numbers, of.hidden, of.row_tiles, of.gated_row_tiles, of.warp_tiles,
                     of.blocks, of.teams, of.groups);
}

// A warp awaits the blocks that make its part of k, its own block, and no block twice; those of a tile of rows all.
void check_flags(const Grid& of) {
    for (const int block : {0, of.blocks - 1}) {
        std::vector<int> seen(of.blocks * of.row_tiles / of.warp_tiles);
        for (int warp = 0; warp < kGridWarps; ++warp) {
            std::vector<int> own(of.blocks);
            for (int i = 0; i < awaited(of, warp); ++i) {
                const int awaits = awaited_block(of, block, warp, i);
                if (awaits < 0 || awaits >= of.blocks) return expect(false, "a flag of no block", of);
                ++own[awaits], ++seen[row_tile(of, warp) / of.warp_tiles * of.blocks + awaits];
            }
            const int begin = split(of, warp) * of.pairs() * kPair;
            for (int k = begin; k < begin + of.pairs() * kPair && k < of.depth(); ++k)
                expect(own[k / (of.block_units() * of.numbers)] > 0, "a number is not awaited", of);
            expect(own[block] > 0, "its own block is not awaited", of);
            for (int other = 0; other < of.blocks; ++other)
                expect(own[other] <= 1 + (other == block), "a flag is awaited twice", of);
        }
        for (int count : seen) expect(count > 0, "a block is not awaited", of);
    }
}

// Every value of a block is finished once; every number of a row of the weight is in one word; every word meets the h
// of its k; every sum stands in a place of its own; buffers and tiles do not overlap.
void check_maps(const Grid& of, int processors, int capability, Index batch) {
    expect(of.blocks * of.block_units() >= of.hidden && (of.blocks - 1) * of.block_units() < of.hidden, "units", of);
    expect(of.blocks * of.teams <= processors, "more blocks than processors", of);
    expect(of.shared_bytes() <= shared_limit(capability), "more shared memory than there is", of);
    expect(of.values() <= kMostValues && of.groups >= 1 && of.groups <= kMostGroups, "too many values", of);
    const int depth = of.splits() * of.pairs() * kPair;  // numbers along k
    expect(depth >= of.depth() && of.row() >= depth && of.row() % kPair == 0, "a row of what is exchanged", of);
    expect(of.held() >= 0 && of.held() * of.warp_tiles <= kMostHeld && of.held() + of.kept() == of.pairs(), "pairs",
           of);
    expect(batch == 0 || (grid_tiles(of, batch) * of.rows() >= batch && of.teams <= grid_tiles(of, batch)), "tiles",
           of);
    expect(of.block_units() * of.gates <= of.row_tiles * kTileRows, "more rows than a block's tiles", of);
    std::vector<int> finished(of.block_units() * of.rows());
    for (int thread = 0; thread < kGridThreads; ++thread)
        for (int value = 0; value < of.values(); ++value)
            if (const GridValue at = value_of(of, thread, value); at.unit < of.block_units())
                ++finished[at.unit * of.rows() + at.row];
    for (int count : finished) expect(count == 1, "a value is finished not once", of);
    std::vector<int> words(of.row_tiles * kTileRows * depth);
    std::vector<int> sums(of.sums());
    for (int warp = 0; warp < kGridWarps; ++warp) {
        for (int lane = 0; lane < 32; ++lane)
            for (int pair = 0; pair < of.pairs(); ++pair)
                for (int word = 0; word < of.words(); ++word) {
                    const int k = word_k(of, warp, lane, pair, word);
                    const int row = row_tile(of, warp) * kTileRows + word_row(lane, word);
                    ++words[row * depth + k], ++words[row * depth + k + 1];
                    // The B fragment with this word's k within a product is the load's word of the same place.
                    const int b = 2 * (word / 4 % 2) + (word >> 1 & 1);
                    expect(k == load_k(of, warp, lane, pair) + 2 * b, "a weight meets another's h", of);
                }
        for (int row = 0; row < of.warp_rows(); ++row)
            for (int of_batch = 0; of_batch < of.rows(); ++of_batch) ++sums[sum_at(of, warp, row, of_batch)];
    }
    for (int count : words) expect(count == 1, "a weight is held not once", of);
    for (int count : sums) expect(count == 1, "sums share a place", of);
    for (int unit = 0; unit < of.block_units(); ++unit)
        for (int gate = 0; gate < of.gates; ++gate)
            for (int part = 0; part < of.splits(); ++part) {
                const int at = part_at(of, unit, gate, part, 0), warp = at / of.rows() / of.warp_rows();
                expect(row_tile(of, warp) * kTileRows + at / of.rows() % of.warp_rows() == unit * of.gates + gate &&
                           split(of, warp) == part,
                       "a part of another sum", of);
            }
    check_flags(of);
    expect(h_at(of, 0, 1, 0, 0) - h_at(of, 0, 0, of.rows() - 1, of.row() - 1) == 1 &&
               h_at(of, 1, 0, 0, 0) - h_at(of, 0, 1, of.rows() - 1, of.row() - 1) == 1,
           "buffers", of);
}

// Both products of a step: the maps of each, and one place of what is exchanged, of a unit and of a sum for both.
void check_two(const Grid& of, int processors, int capability, Index batch) {
    const Grid second = of.second();
    check_maps(of, processors, capability, batch);
    check_maps(second, processors, capability, batch);
    expect(second.gates == of.gated && second.block_units() == of.block_units() && second.values() == of.values(),
           "the products' units differ", of);
    expect(second.row() == of.row() && second.rows() == of.rows() && second.sums() == of.sums(),
           "the products' memory differs", of);
    expect((of.held() + second.held()) * of.warp_tiles <= kMostHeld, "registers of both products' weights", of);
    expect(of.sums_begin() == of.kept_words() + second.kept_words() && of.sums_begin() % 4 == 0, "kept weights", of);
}

// u of a row: each part of k by itself, in it even products and odd ones (geometry.h), then all in order.
template <class Stored>
float plain_sum(const Grid& of, const std::uint16_t* weight, const std::vector<std::uint16_t>& h) {
    float total = 0;
    for (int part = 0; part < of.splits(); ++part) {
        float sum[2] = {};
        for (int pair = 0; pair < of.pairs(); ++pair)
            for (int odd = 0; odd < 2; ++odd) {
                double products = 0;
                for (int lane = 0; lane < 4; ++lane)
                    for (int i = 0; i < 4; ++i) {
                        const int k = (part * of.pairs() + pair) * kPair + 8 * lane + 4 * odd + i;
                        if (k < of.hidden) products += double{Stored::number(weight[k])} * Stored::number(h[k]);
                    }
                sum[odd] = static_cast<float>(sum[odd] + products);
            }
        total = part == 0 ? sum[0] + sum[1] : total + (sum[0] + sum[1]);
    }
    return total;
}

template <template <class> class OneCell, class Stored>
void check_layer(const Layer& layer, int processors, int capability, unsigned seed) {
    using Cell = OneCell<Vec<float>>;
    using G = Geometry<Cell>;
    using Maths = ResidentCellMaths<Cell>;
    const Index hidden = layer.hidden, batch = layer.batch;
    const Grid shape = divide_grid(G::hiddens, hidden, batch, processors, capability);
    if (shape.blocks == 0) return expect(false, "does not fit", shape);
    LayerCall<Cell, Stored, G::hiddens> layer_call(layer, seed);
    const Index tiles = grid_tiles(shape, batch);
    std::vector<std::uint16_t> h(exchange_numbers(shape, tiles));
    std::vector<unsigned> flags(exchange_flags(shape, tiles));
    run_emulated_grid<Maths, Stored>(shape, GridCall{layer_call.to(0), {h.data(), flags.data(), tiles}}, seed);
    plain_one_product<Cell, Stored>(layer_call.to(1), hidden, [&](int gate, Index unit, const auto& vector) {
        return plain_sum<Stored>(shape, layer_call.weight(gate, unit), vector);
    });
    layer_call.compare([&](bool same, const char* what) { expect(same, what, shape); });
}

// The same of two products in a step.
template <template <class> class OneCell, class Stored>
void check_two_products(const Layer& layer, int processors, int capability, unsigned seed) {
    using Cell = OneCell<Vec<float>>;
    using G = Geometry<Cell>;
    using Maths = TwoProductsCellMaths<Cell>;
    const Index hidden = layer.hidden, batch = layer.batch;
    const Grid shape = divide_grid(G::hiddens, G::gateds, hidden, batch, processors, capability);
    if (shape.blocks == 0) return expect(false, "does not fit", shape);
    LayerCall<Cell, Stored, Maths::hiddens> layer_call(layer, seed);
    const Index tiles = grid_tiles(shape, batch);
    std::vector<std::uint16_t> h(exchange_numbers(shape, tiles));
    std::vector<unsigned> flags(exchange_flags(shape, tiles));
    run_emulated_grid<Maths, Stored>(shape, GridCall{layer_call.to(0), {h.data(), flags.data(), tiles}}, seed);
    plain_two_products<Cell, Stored>(layer_call.to(1), hidden, [&](int gate, Index unit, const auto& vector) {
        return plain_sum<Stored>(gate < G::hiddens ? shape : shape.second(), layer_call.weight(gate, unit), vector);
    });
    layer_call.compare([&](bool same, const char* what) { expect(same, what, shape); });
}

template <template <class> class OneCell>
void check_two(const Layer& layer, int processors, int capability, unsigned seed) {
    check_two_products<OneCell, Bfloat16>(layer, processors, capability, seed);
    check_two_products<OneCell, Float16>(layer, processors, capability, seed + 7);
}

template <template <class> class OneCell>
void check_cell(const Layer& layer, int processors, int capability, unsigned seed) {
    check_layer<OneCell, Bfloat16>(layer, processors, capability, seed);
    check_layer<OneCell, Float16>(layer, processors, capability, seed + 7);
}

}  // namespace

int main() {
    const struct {
        int processors, capability;
    } cards[] = {{40, 75}, {108, 80}, {84, 86}, {128, 89}, {132, 90}, {148, 100}, {170, 120}, {4, 90}};
    for (const auto& card : cards)
        for (int gates = 1; gates <= kMostGates; ++gates)
            for (const Index batch : {1, 9, 64, 1000})
                for (Index hidden = 1; hidden <= 2100; hidden += hidden < 40 ? 1 : 171)
                    for (const Grid& of :
                         {divide_grid(gates, hidden, batch, card.processors, card.capability),
                          divide_grid_backward(gates, hidden, batch, card.processors, card.capability)})
                        if (of.blocks > 0) check_maps(of, card.processors, card.capability, batch);
    for (const auto& card : cards)
        for (int gates = 1; gates < kMostGates; ++gates)
            for (int gated = 1; gates + gated <= kMostGates; gated += gated < 3 ? 1 : 3)
                for (const Index batch : {1, 64, 1000})
                    for (const Index hidden : {1, 7, 33, 100, 511, 512, 1000, 1601, 2100})
                        for (const Grid& of :
                             {divide_grid(gates, gated, hidden, batch, card.processors, card.capability),
                              divide_grid_backward(gates, gated, hidden, batch, card.processors, card.capability)})
                            if (of.blocks > 0) check_two(of, card.processors, card.capability, batch);
    expect(divide_grid(2, 0, 300, 9, 132, 90) == divide_grid(2, 300, 9, 132, 90), "no second product", {});
    expect(divide_grid(2, 1, 2048, 16, 132, 90).blocks == 128, "a GRU of H = 2048 does not fit an H200", {});
    expect(divide_grid(4, 2048, 16, 132, 90).blocks == 128, "bfloat16 of H = 2048 does not fit an H200", {});
    expect(divide_grid(4, 768, 16, 132, 90).warp_tiles == 2, "warps of a block load the same h", {});
    expect(divide_grid(4, 1024, 16, 108, 80).blocks > 0, "H = 1024 does not fit an A100", {});
    expect(divide_grid_backward(4, 768, 16, 132, 90).blocks == 24,
           "a backward of H = 768 has more blocks than it takes", {});
    expect(divide_grid_backward(4, 2048, 16, 132, 90).blocks == 128, "a backward of H = 2048 does not fit", {});
    expect(divide_grid_backward(2, 0, 300, 9, 132, 90) == divide_grid_backward(2, 300, 9, 132, 90),
           "a backward has no second product", {});
    expect(divide_grid_backward(2, 1, 2048, 16, 132, 90).blocks == 128, "a GRU's backward of H = 2048 does not fit",
           {});
    expect(divide_grid_backward(2, 1, 768, 16, 132, 90).blocks == 24,
           "a GRU's backward of H = 768 has more blocks than it takes", {});
    const Layer layers[] = {{3, 2, 1, {}},   {4, 9, 5, {}},  {3, 17, 33, {}}, {5, 1, 40, {}},
                            {2, 8, 100, {}}, {1, 3, 64, {}}, {0, 4, 16, {}},  {4, 5, 70, {0, 5, 9, 12, 13}}};
    unsigned seed = 1;
    for (const Layer& layer : layers)
        for (const int processors : {4, 132}) {
            check_cell<RnnTanh>(layer, processors, 90, seed += 31);
            check_cell<Gru>(layer, processors, 90, seed += 31);
            check_cell<Lstm>(layer, processors, 90, seed += 31);
            check_cell<Slstm>(layer, processors, 90, seed += 31);
            check_two<Mgu>(layer, processors, 90, seed += 31);
            check_two<GruResetBefore>(layer, processors, 90, seed += 31);
            check_two<Mut1>(layer, processors, 90, seed += 31);
            check_two<Mut2Projected>(layer, processors, 90, seed += 31);
            check_two<FiveGates>(layer, processors, 90, seed += 31);
        }
    check_cell<Lstm>({3, 40, 70, {}}, 10, 80, 5);  // several groups, tiles and parts
    check_cell<Lstm>({2, 1, 900, {}}, 60, 90, 6);  // weights in shared memory
    check_two<GruResetBefore>({3, 40, 70, {}}, 10, 80, 7);
    check_two<GruResetBefore>({2, 1, 900, {}}, 60, 90, 8);
    check_two<Mgu>({2, 3, 700, {}}, 24, 75, 9);
    check_two<FiveGates>({2, 9, 300, {}}, 40, 80, 10);
    if (faults + check_grid_backward() > 0) return 1;
    std::puts("grid kernels: ok");
}
