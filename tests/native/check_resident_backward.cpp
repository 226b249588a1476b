// Resident backwards (csrc/cuda/resident/backward_*.h) on the host: maps of every shape; and a layer's backward, warp
// by warp in random orders, against the engine's own bodies step by step with the same sums taken plainly, bit for bit.
// Sizes off every tile, more rows than a group, sequences of different lengths and in any order, steps in two runs.
#include <cmath>
#include <numeric>
#include <vector>

#include "cells/all.h"
#include "cuda/resident/two_products_backward_cell_maths.h"

#include "backward_layer_call.h"
#include "resident_backward_machine.h"
#include "resident_cells.h"
#include "resident_two_products.h"

using namespace rnnkernels;
using namespace rnnkernels::cuda;

namespace {

int faults = 0;
void expect(bool holds, const char* what, const ResidentBackward& shape) {
    if (holds) return;
    if (++faults < 20)
        std::fprintf(stderr, "backward: %s: gates %d hidden %d blocks %d groups %d rows %d operands %d\n", what,
                     shape.of.gates, shape.of.hidden, shape.of.blocks, shape.of.groups, shape.of.rows,
                     static_cast<int>(shape.of.operands));
}
void expect_once(const std::vector<int>& seen, const char* what, const ResidentBackward& shape) {
    for (const int count : seen) expect(count == 1, what, shape);
}

// Every number of a tile's weights belongs to one register of one lane.
void check_numbers(const ResidentBackward& shape) {
    std::vector<int> seen(kTileRows * shape.numbers());
    for (int lane = 0; lane < kLanes; ++lane)
        for (int k = 0; k < shape.depth(); ++k)
            for (int part = 0; part < kLaneValues; ++part) {
                const WeightPlace at = weight_place(shape.of, lane, k, part);
                ++seen[at.row * shape.numbers() + at.k];
            }
    expect_once(seen, "a weight is multiplied not once", shape);
}

// Places of the parts that a lane sends of a tile, for one sender and group: as many of each message.
template <class Use>
void each_sent(const ResidentBackward& shape, int warp, int lane, int tile, int sender, int g, Use use) {
    if (shape.of.operands == Operands::full) {
        const PartUnit first = part_unit(shape, warp, tile, weight_place(shape.of, lane, 0, 0).row);
        if (group_row(lane) >= shape.of.rows) return;
        for (int part = 0; part < kLaneValues; ++part) {
            const PartUnit at = part_unit(shape, warp, tile, weight_place(shape.of, lane, 0, part).row);
            expect(at.block == first.block && at.unit == first.unit + part, "four units are not side by side", shape);
        }
        use(first, full_part_place(shape, sender, group_row(lane), first.unit), 4);
        return;
    }
    for (int half = 0; half < 2; ++half) {
        const PartUnit at = part_unit(shape, warp, tile, part_row(lane, half));
        use(at, part_place(shape, sender, g, part_pair(lane), at.unit), 2);
    }
}

// Each section multiplies all gate gradients of its gates, whole multiples of what is multiplied at once: h those of
// gates that are not fed, a vector those of its own or, where vectors have weights of their own, all that are. Every
// weight is of one section.
void check_sections(const ResidentBackward& shape) {
    const Resident& of = shape.of;
    const int step = of.depth_step(), units = of.block_units();
    std::vector<int> seen(shape.weight_depth());
    expect(shape.sections() == 1 + of.vectors, "a section for h, and one for each vector", shape);
    expect(shape.buffer_bytes() == shape.sections() * shape.parts() * 4, "bytes of a buffer", shape);
    for (int section = 0; section < shape.sections(); ++section) {
        const DepthRange range = section == 0 ? DepthRange{0, shape.first_fed()} : shape.fed_depth(section - 1);
        std::vector<int> multiplied(shape.numbers());
        expect(range.section == section, "another's section", shape);
        expect(range.first % step == 0 && range.last % step == 0 && range.skipped % step == 0,
               "a section's k is no whole tiles", shape);
        for (int k = range.first; k < range.last; ++k) {
            ++seen.at(k);
            expect(shape.vector_of(k) == (section > 1 ? section - 1 : 0), "another vector's weight", shape);
            expect(shape.gradients_of(k) == k - range.skipped, "other gate gradients", shape);
            for (int i = 0; i < of.tile_depth(); ++i) ++multiplied.at((k - range.skipped) * of.tile_depth() + i);
        }
        for (int k = 0; k < shape.numbers(); ++k) {
            const bool fed = k / units >= of.first_fed();
            expect(multiplied[k] == (fed == (section > 0)), "a section has another's gates, or lacks some", shape);
        }
    }
    expect_once(seen, "a weight is of no section, or of two", shape);
    for (const int exchanges : {1, 2})
        for (const int buffer : {0, 1}) {
            const bool gated = exchanges == 2 && parts_are_gated(buffer);
            expect(bytes_in(shape, exchanges, buffer) == (gated ? 1 : shape.sections()) * shape.bytes(),
                   "bytes that come", shape);
        }
}

// Every unit of the cluster is a row of one tile of one warp; every number of a block's buffers is written once and
// read once; every gate gradient of every unit is multiplied.
void check_maps(const ResidentBackward& shape) {
    const Resident& of = shape.of;
    const int units = of.block_units(), blocks = of.blocks;
    std::vector<int> multiplied(blocks * units), from_warp(blocks * of.warps), sent(blocks * shape.parts()),
        taken(shape.parts()), finished(units * of.rows), put(shape.numbers());
    const bool full = of.operands == Operands::full;
    for (int warp = 0; warp < of.warps; ++warp)
        for (int tile = 0; tile < shape.tiles(); ++tile)
            for (int row = 0; row < kTileRows; ++row) {
                const PartUnit at = part_unit(shape, warp, tile, row);
                if (at.block >= blocks) continue;
                ++multiplied[at.block * units + at.unit], ++from_warp[at.block * of.warps + warp];
            }
    for (int warp = 0; warp < of.warps; ++warp)
        for (int lane = 0; lane < kLanes; ++lane) {
            for (int tile = 0; tile < shape.tiles(); ++tile)
                for (int g = 0; g < of.groups; ++g)
                    for (int sender = 0; sender < blocks; ++sender)
                        each_sent(shape, warp, lane, tile, sender, g, [&](PartUnit at, int place, int numbers) {
                            if (at.block >= blocks) return;
                            expect(place % numbers == 0, "a message is off its place", shape);
                            for (int i = 0; i < numbers; ++i) ++sent[at.block * shape.parts() + place + i];
                        });
            for (int s = 0; s < of.lane_units() && finishes(shape, warp); ++s) {
                const int unit = finished_unit(shape, warp, lane, s), row = finished_row(shape, warp, lane);
                ++finished[row * units + unit];
                for (int g = 0; g < of.groups; ++g)
                    for (int sender = 0; sender < blocks; ++sender) {
                        const int place = finished_place(shape, sender, g, warp, lane, s);
                        const int wanted = full ? full_part_place(shape, sender, row, unit)
                                                : part_place(shape, sender, g, row / 2, unit) + row % 2;
                        ++taken[place];
                        expect(place == wanted, "another's part", shape);
                    }
                for (int gate = 0; gate < of.gates && row == 0; ++gate) {
                    const int column = gradient_column(shape, gate, unit);
                    const GradientPlace back = gradient_place(shape, column);
                    ++put[column];
                    expect(back.gate == gate && back.unit == unit, "another's gate gradient", shape);
                }
            }
        }
    expect_once(multiplied, "a unit is multiplied not once", shape);
    expect_once(sent, "a part is sent not once", shape);
    expect_once(taken, "a part is taken not once", shape);
    expect_once(finished, "a unit is finished not once", shape);
    expect_once(put, "a gate gradient is put not once", shape);
    for (const int count : from_warp) expect(count > 0, "a block gets nothing of a warp", shape);
    if (of.operands != Operands::halves) check_numbers(shape);
    check_sections(shape);
    expect(shape.depth() % of.depth_step() == 0 && shape.depth() * of.tile_depth() == shape.numbers(),
           "k is no whole tiles", shape);
    std::vector<int> spare(shape.spare());
    for (int tile = 0; tile < shape.tiles(); ++tile) {
        expect(shape.held(tile) % of.depth_step() == 0 && shape.held(tile) <= shape.held(), "held", shape);
        for (int k = shape.held(tile); k < shape.weight_depth(); ++k) ++spare.at(shape.spare_of(tile, k));
    }
    expect_once(spare, "a spare weight has not one place", shape);
    expect(shape.row() * of.number_bytes() % 32 == 16, "rows of gate gradients share banks", shape);
    expect(shape.gradients_begin() % 16 == 0 && shape.parts_begin() % 16 == 0 && shape.spare_begins() % 16 == 0,
           "off 16 bytes", shape);
    expect(shape.weights() <= kMostWeights && of.blocks <= kMostCluster, "too large", shape);
    using Emulated = EmulatedBackwardMachine;
    expect(shape.tiles() <= Emulated::kTiles && shape.held() <= Emulated::kDepth, "too large to emulate", shape);
}

// Of two products: each multiplies all gate gradients of its own gates, whole multiples of what is multiplied at
// once; an exchange
// puts them where it multiplies them, and the next one takes the parts.
void check_two_products(const ResidentBackward& shape) {
    for (int hiddens = 1; hiddens < shape.of.first_fed(); ++hiddens)
        for (const bool gated : {false, true}) {
            const DepthRange range = depth_of(shape, hiddens, gated);
            const int step = shape.of.depth_step(), depth = shape.of.tile_depth();
            expect(range.first % step == 0 && range.last % step == 0, "a product's k is no whole tiles", shape);
            for (int k = 0; k < shape.numbers(); ++k) {
                const bool in = k / depth >= range.first && k / depth < range.last;
                const int gate = gradient_place(shape, k).gate;
                expect(in == (gate < shape.of.first_fed() && (gate >= hiddens) == gated), "another product's gates",
                       shape);
            }
        }
    for (Index steps = 1; steps < 4; ++steps)
        for (Index e = 0; e < 2 * steps; ++e) {
            const bool gated = exchange_is_gated(2 * steps - 1 - e);
            expect(gated == (e % 2 == 0), "the halves' order", shape);
            expect(gradients_are_gated(backward_buffer(e)) == gated, "the other's gate gradients", shape);
            expect(parts_are_gated(backward_buffer(e + 1)) == gated, "the other's parts", shape);
        }
}

// What comes to a column from a row's gradients of `count` gates, the first-th and following. Block by block even tiles
// along k, odd ones, then both; in full eight chains, added by halves.
template <class Call, class Word>
float block_sum(const Call& call, const ResidentBackward& shape, Index hidden, const Word* gradient, int first,
                int count, Index column, int vector, Index block) {
    const Index units = shape.of.block_units(), depth = shape.of.tile_depth();
    const auto pair = [&](Index k) {
        const Index gate = k / units, unit = block * units + k % units;
        if (unit >= hidden) return std::pair(0.0F, 0.0F);
        return std::pair(call.weight(first + gate, unit, column, vector),
                         Call::operand(gradient[gate * hidden + unit]));
    };
    if (shape.of.operands == Operands::full) {
        float chain[8] = {};
        for (Index k = 0; k < count * units; ++k)
            chain[k / 4 % 8] = std::fma(pair(k).first, pair(k).second, chain[k / 4 % 8]);
        return ((chain[0] + chain[4]) + (chain[1] + chain[5])) + ((chain[2] + chain[6]) + (chain[3] + chain[7]));
    }
    float sum[2] = {};
    for (Index k = 0; k < count * units; k += depth) {
        double products = 0;
        for (Index i = k; i < k + depth; ++i) products += double{pair(i).first} * pair(i).second;
        sum[k / depth % 2] = static_cast<float>(sum[k / depth % 2] + products);
    }
    return sum[0] + sum[1];
}

template <template <class> class OneCell, class Stored>
void check_layer(const BackwardLayer& layer, int processors, Operands operands, unsigned seed,
                 const Noise* noise = nullptr) {
    using Cell = OneCell<Vec<float>>;
    using G = Geometry<Cell>;
    constexpr TileGates gates{G::hiddens + G::gateds + G::feedbacks, G::vectors, G::feedbacks};
    const int shared = most_shared(90);
    const ResidentBackward shape =
        divide_backward(gates, layer.hidden, layer.batch, processors, shared, operands, noise ? masks_of(*noise) : 0);
    if (operands == Operands::full && layer.batch > most_rows(gates, layer.hidden, processors, shared))
        return expect(shape.of.blocks == 0, "more rows than there may be", shape);
    if (shape.of.blocks == 0) return expect(false, "does not fit", shape);
    BackwardLayerCall<Cell, Stored> layer_call(layer, seed, noise);
    layer_call.run([&](const ResidentBackwardCall& call) {
        run_emulated_backward<ResidentBackwardMathsOf<Cell>, Stored>(shape, call, seed + 3);
    });
    layer_call.run_plainly([&](const WordOf<Stored>* gradient, int first, int count, Index column, int vector) {
        float all = 0;
        for (Index block = 0; block < shape.of.blocks; ++block)
            all += block_sum(layer_call, shape, layer.hidden, gradient, first, count, column, vector, block);
        return all;
    });
    layer_call.compare([&](bool same, const char* what) { expect(same, what, shape); });
}

template <template <class> class OneCell>
void check_cell(const BackwardLayer& layer, int processors, unsigned seed) {
    check_layer<OneCell, Bfloat16>(layer, processors, Operands::halves, seed);
    check_layer<OneCell, Float16>(layer, processors, Operands::halves, seed + 7);
    check_layer<OneCell, Tf32>(layer, processors, Operands::tf32, seed + 11);
    check_layer<OneCell, Full>(layer, processors, Operands::full, seed + 13);
}

// Zoneout and recurrent dropout: both, by step and by sequence; each alone; as in evaluation; masks that stand where
// the rows do not.
void check_masks(const BackwardLayer& layer, unsigned seed) {
    std::vector<Index> places(static_cast<std::size_t>(layer.first(layer.steps)));
    std::iota(places.rbegin(), places.rend(), 5);
    Noise noise{};
    noise.seed = 0x1234567890abcdef, noise.layer = 3, noise.first_step = 2, noise.batch = layer.batch;
    for (int kind = 0; kind < 6; ++kind) {
        noise.zones = kind != 3, noise.recurrent = kind == 2 ? 0 : 0.25;
        noise.per_step = kind != 1, noise.expected = kind == 4;
        noise.places = kind == 5 ? places.data() : nullptr;
        for (int k = 0; k < kMaxStates; ++k) noise.zoneout[k] = noise.zones ? 0.125 * (k + 1) : 0;
        check_layer<RnnTanh, Bfloat16>(layer, 132, Operands::halves, seed += 31, &noise);
        check_layer<Lstm, Bfloat16>(layer, 1, Operands::halves, seed += 31, &noise);
        check_layer<Gru, Full>(layer, 132, Operands::full, seed += 31, &noise);
        check_layer<Slstm, Tf32>(layer, 132, Operands::tf32, seed += 31, &noise);
        check_layer<SixGates, Float16>(layer, 1, Operands::halves, seed += 31, &noise);
        check_layer<GruResetBefore, Tf32>(layer, 1, Operands::tf32, seed += 31, &noise);
        check_layer<FiveGates, Float16>(layer, 132, Operands::halves, seed += 31, &noise);
        check_layer<FiveGates, Full>(layer, 132, Operands::full, seed += 31, &noise);
    }
}

void check_shape(const TileGates& gates, Index hidden, Index batch, int processors, Operands operands, int capability) {
    const int shared = most_shared(capability);
    const ResidentBackward shape = divide_backward(gates, hidden, batch, processors, shared, operands);
    const Resident forward = divide(gates, hidden, batch, processors, operands, shared);
    // Of halves whatever a forward serves, but that vectors' own weights may be too many; float32 has gate gradients in
    // memory beside its spare weights.
    if (operands == Operands::halves && gates.vectors < 2)
        expect((shape.of.blocks > 0) == (forward.blocks > 0), "does not fit", shape);
    else if (gates.all == 4 && gates.vectors < 2 && hidden <= 384 && capability == 90 && forward.blocks > 0)
        expect(shape.of.blocks > 0, "does not fit", shape);
    // Else a row's gradients would be sums of another order among more rows.
    if (operands == Operands::full && forward.blocks > 0)
        expect((shape.of.blocks > 0) == (divide_backward(gates, hidden, 1, processors, shared, operands).of.blocks > 0),
               "another kernel for more rows", shape);
    expect(shape.shared_bytes() <= shared || shape.of.blocks == 0, "shared memory", shape);
    if (shape.of.blocks > 0) check_maps(shape), check_two_products(shape);
}

}  // namespace

int check_resident_backward() {
    for (const TileGates& gates : every_gates())
        for (const int processors : {1, 132})
            for (const Index batch : {1, 8, 9, 64, 200, 1000})
                for (Index hidden = 1; hidden <= 600; hidden += hidden < 40 ? 1 : 13)
                    for (const Operands operands : {Operands::halves, Operands::tf32, Operands::full})
                        for (const int capability : {90, 120})
                            check_shape(gates, hidden, batch, processors, operands, capability);
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
    for (const BackwardLayer& layer : layers) check_masks(layer, seed += 31);
    for (const BackwardLayer& layer : layers)
        for (const int processors : {1, 132}) {
            check_cell<RnnTanh>(layer, processors, seed += 31);
            check_cell<Janet>(layer, processors, seed += 31);
            check_cell<Gru>(layer, processors, seed += 31);
            check_cell<Lstm>(layer, processors, seed += 31);
            check_cell<LstmPeephole>(layer, processors, seed += 31);
            check_cell<Slstm>(layer, processors, seed += 31);
            check_cell<SixGates>(layer, processors, seed += 31);
            check_cell<Mgu>(layer, processors, seed += 31);
            check_cell<GruResetBefore>(layer, processors, seed += 31);
            check_cell<Mut1>(layer, processors, seed += 31);
            check_cell<Mut2Projected>(layer, processors, seed += 31);
            check_cell<FiveGates>(layer, processors, seed += 31);
            check_cell<Mut3>(layer, processors, seed += 31);
            check_cell<LstmFgr>(layer, processors, seed += 31);
            check_cell<FedGates>(layer, processors, seed += 31);
            check_cell<FedSixGates>(layer, processors, seed += 31);
        }
    check_cell<Lstm>({3, 3, 512, 9, {}}, 132, 5);
    check_cell<Lstm>({2, 40, 200, 9, {}}, 1, 6);
    check_cell<Gru>({2, 5, 301, 9, {}}, 132, 7);
    check_cell<GruResetBefore>({3, 3, 512, 9, {}}, 132, 8);
    check_cell<Mgu>({2, 40, 200, 9, {}}, 1, 9);
    check_layer<Mut3, Bfloat16>({3, 3, 512, 9, {}}, 132, Operands::halves, 10);
    check_cell<Mut3>({3, 9, 256, 2, {}}, 132, 11);
    check_cell<LstmFgr>({3, 9, 128, 2, {}}, 132, 12);
    check_layer<SixGates, Tf32>({2, 9, 250, 9, {}}, 132, Operands::tf32, 8);
    check_layer<SixGates, Full>({2, 70, 150, 9, {}}, 132, Operands::full, 9);
    for (const Index batch : {1, 2, 3, 4, 5, 8}) check_layer<Lstm, Full>({3, batch, 33, 2, {}}, 1, Operands::full, 10);
    return faults;
}
