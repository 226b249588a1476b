// Grid kernels (csrc/cuda/grid/) on the host: maps of every shape; and a layer's forward, block by block in random
// orders, with flags that come late and buffers that are poisoned, against the same sums taken plainly, bit for bit.
#include <cmath>
#include <cstring>

#include "cells/all.h"
#include "math/functions.h"

#include "grid_machine.h"

#include "cuda/resident/cell_maths.h"

using namespace rnnkernels;
using namespace rnnkernels::cuda;

namespace {

int faults = 0;
void expect(bool holds, const char* what, const Grid& of) {
    if (holds) return;
    if (++faults < 20)
        std::fprintf(stderr, "%s: gates %d hidden %d row tiles %d blocks %d teams %d groups %d\n", what, of.gates,
                     of.hidden, of.row_tiles, of.blocks, of.teams, of.groups);
}

// Every value of a block is finished once; every number of a row of the weight is in one word; every word meets the h
// of its k; every sum stands in a place of its own; buffers and tiles do not overlap.
void check_maps(const Grid& of, int processors, int capability, Index batch) {
    expect(of.blocks * of.block_units() >= of.hidden && (of.blocks - 1) * of.block_units() < of.hidden, "units", of);
    expect(of.blocks * of.teams <= processors, "more blocks than processors", of);
    expect(of.shared_bytes() <= shared_limit(capability), "more shared memory than there is", of);
    expect(of.values() <= kMostValues && of.groups >= 1 && of.groups <= kMostGroups, "too many values", of);
    expect(of.row() >= of.hidden && of.row() % kPair == 0, "a row of h", of);
    expect(batch == 0 || (grid_tiles(of, batch) * of.rows() >= batch && of.teams <= grid_tiles(of, batch)), "tiles",
           of);
    expect(of.block_units() * of.gates <= of.row_tiles * kTileRows, "more rows than a block's tiles", of);
    std::vector<int> finished(of.block_units() * of.rows());
    for (int thread = 0; thread < kGridThreads; ++thread)
        for (int value = 0; value < of.values(); ++value)
            if (const GridValue at = value_of(of, thread, value); at.unit < of.block_units())
                ++finished[at.unit * of.rows() + at.row];
    for (int count : finished) expect(count == 1, "a value is finished not once", of);
    std::vector<int> words(of.row_tiles * kTileRows * of.row());
    std::vector<int> sums(of.sums());
    for (int warp = 0; warp < kGridWarps; ++warp) {
        for (int lane = 0; lane < 32; ++lane)
            for (int pair = 0; pair < of.pairs(); ++pair)
                for (int word = 0; word < kPairWords; ++word) {
                    const int k = word_k(of, warp, lane, pair, word);
                    const int row = row_tile(of, warp) * kTileRows + word_row(lane, word);
                    ++words[row * of.row() + k], ++words[row * of.row() + k + 1];
                    // The B fragment with this word's k within a product is the load's word of the same place.
                    const int b = 2 * (word / 4) + (word >> 1 & 1);
                    expect(k == load_k(of, warp, lane, pair) + 2 * b, "a weight meets another's h", of);
                }
        for (int row = 0; row < kTileRows; ++row)
            for (int of_batch = 0; of_batch < of.rows(); ++of_batch) ++sums[sum_at(of, warp, row, of_batch)];
    }
    for (int count : words) expect(count == 1, "a weight is held not once", of);
    for (int count : sums) expect(count == 1, "sums share a place", of);
    for (int unit = 0; unit < of.block_units(); ++unit)
        for (int gate = 0; gate < of.gates; ++gate)
            for (int part = 0; part < of.splits(); ++part) {
                const int at = part_at(of, unit, gate, part, 0), warp = at / of.rows() / kTileRows;
                expect(row_tile(of, warp) * kTileRows + at / of.rows() % kTileRows == unit * of.gates + gate &&
                           split(of, warp) == part,
                       "a part of another sum", of);
            }
    expect(h_at(of, 0, 1, 0, 0) - h_at(of, 0, 0, of.rows() - 1, of.row() - 1) == 1 &&
               h_at(of, 1, 0, 0, 0) - h_at(of, 0, 1, of.rows() - 1, of.row() - 1) == 1,
           "buffers", of);
}

struct Layer {
    Index steps, batch, hidden;
    std::vector<Index> starts;  // ragged
};

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
    const Index hidden = layer.hidden, batch = layer.batch, steps = layer.steps;
    const Grid shape = divide_grid(G::hiddens, hidden, batch, processors, capability);
    if (shape.blocks == 0) return expect(false, "does not fit", shape);
    std::mt19937 random(seed);
    const auto draw = [&] { return static_cast<float>(static_cast<int>(random() % 2001) - 1000) / 1000; };
    const Index rows = layer.starts.empty() ? steps * batch : layer.starts[steps];
    std::vector<float> x(rows * G::inputs * hidden), bias(G::hiddens * hidden), term(batch * G::inputs * hidden);
    std::vector<float> diagonal(G::diagonals * hidden);
    std::vector<std::uint16_t> weight(G::hiddens * hidden * hidden);
    for (std::vector<float>* array : {&x, &bias, &term, &diagonal})
        for (float& value : *array) value = draw();
    for (std::uint16_t& value : weight) value = Stored::bits(draw() / std::sqrt(static_cast<float>(hidden)));
    const auto nan = std::numeric_limits<float>::quiet_NaN();
    const Index kept_row = (G::saved + G::states - 1) * hidden;
    struct Results {
        std::vector<float> kept, states[kMaxStates];
        std::vector<std::uint16_t> output;
    } results[2];
    for (Results& one : results) {
        one.kept.assign(rows * kept_row, nan), one.output.assign(rows * hidden, 0x7fff);
        std::mt19937 again(seed + 1);
        for (int k = 0; k < G::states; ++k)
            for (Index i = 0; i < batch * hidden; ++i)
                one.states[k].push_back(static_cast<float>(again() % 1000) / 1000 - (k == 0 ? 0.5F : 0));
    }
    const auto call_of = [&](Results& to) {
        ResidentCall call{};
        ForwardArrays<float>& a = call.a;
        a.hidden = a.width = hidden;
        a.storage = Stored::kBfloat16 ? Dtype::bfloat16 : Dtype::float16;
        a.x_part = x.data(), a.bias_u = bias.data(), a.term = term.data(), a.diagonal = diagonal.data();
        for (float& setting : a.settings) setting = 0.75F;
        for (int k = 0; k < G::states; ++k) a.states[k] = to.states[k].data();
        a.output = to.output.data();
        a.to_save = to.kept.data(), a.kept_row = kept_row;
        if (G::states > 1) a.kept_states = to.kept.data() + G::saved * hidden;
        call.weight = weight.data();
        for (int i = 0; i < G::hiddens; ++i) call.gate_row[i] = i;
        call.batch = batch, call.steps = steps;
        call.starts = layer.starts.empty() ? nullptr : layer.starts.data();
        return call;
    };
    const Index tiles = grid_tiles(shape, batch);
    std::vector<std::uint16_t> h(exchange_numbers(shape, tiles));
    std::vector<unsigned> flags(exchange_flags(shape, tiles));
    run_emulated_grid<Maths, Stored>(shape, {call_of(results[0]), h.data(), flags.data(), tiles}, seed);

    const ResidentCall call = call_of(results[1]);
    for (Index t = 0; t < steps; ++t)
        for (Index row = 0; row < call.count(t); ++row) {
            std::vector<std::uint16_t> bits;
            for (Index k = 0; k < hidden; ++k) bits.push_back(Stored::bits(call.a.states[0][row * hidden + k]));
            for (Index unit = 0; unit < hidden; ++unit) {
                Vec<float> xs[G::gates], us[G::hiddens], biases[G::hiddens], now[G::states], next[G::states];
                const Index at = call.first(t) + row;
                Maths::begin(call, unit, biases);
                Maths::fetch(call, at, row, unit, xs);
                for (int i = 0; i < G::hiddens; ++i)
                    us[i] = plain_sum<Stored>(shape, &weight[(i * hidden + unit) * hidden], bits);
                for (int k = 0; k < G::states; ++k) now[k] = call.a.states[k][row * hidden + unit];
                Maths::step(call, at, row, unit, xs, us, biases, now, next);
                for (int k = 0; k < G::states; ++k) call.a.states[k][row * hidden + unit] = next[k].raw;
            }
        }
    const auto same = [](const auto& a, const auto& b) {
        return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0);
    };
    expect(same(results[0].output, results[1].output), "output", shape);
    expect(same(results[0].kept, results[1].kept), "what is kept", shape);
    for (int k = 0; k < G::states; ++k) expect(same(results[0].states[k], results[1].states[k]), "states", shape);
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
                    if (const Grid of = divide_grid(gates, hidden, batch, card.processors, card.capability);
                        of.blocks > 0)
                        check_maps(of, card.processors, card.capability, batch);
    expect(divide_grid(4, 2048, 16, 132, 90).blocks == 128, "bfloat16 of H = 2048 does not fit an H200", {});
    expect(divide_grid(4, 1024, 16, 108, 80).blocks > 0, "H = 1024 does not fit an A100", {});
    const Layer layers[] = {{3, 2, 1, {}},   {4, 9, 5, {}},  {3, 17, 33, {}}, {5, 1, 40, {}},
                            {2, 8, 100, {}}, {1, 3, 64, {}}, {0, 4, 16, {}},  {4, 5, 70, {0, 5, 9, 12, 13}}};
    unsigned seed = 1;
    for (const Layer& layer : layers)
        for (const int processors : {4, 132}) {
            check_cell<RnnTanh>(layer, processors, 90, seed += 31);
            check_cell<Gru>(layer, processors, 90, seed += 31);
            check_cell<Lstm>(layer, processors, 90, seed += 31);
            check_cell<Slstm>(layer, processors, 90, seed += 31);
        }
    check_cell<Lstm>({3, 40, 70, {}}, 10, 80, 5);  // several groups, tiles and parts
    check_cell<Lstm>({2, 1, 900, {}}, 60, 90, 6);  // weights in shared memory
    if (faults > 0) return 1;
    std::puts("grid kernels: ok");
}
