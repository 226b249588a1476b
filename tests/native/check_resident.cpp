// Resident kernels (csrc/cuda/resident/) on the host: maps of every shape; and a layer's forward, warp by warp in
// random orders, against the same sums taken plainly, bit for bit. Cells of one to six gates, of one product and of
// two, sizes off every tile, more rows than a group, sequences of different lengths, one step and none. Backwards are
// check_resident_backward.cpp's.
#include <cmath>

#include "cells/all.h"

#include "cuda/resident/occupancy.h"
#include "layer_call.h"
#include "resident_cells.h"
#include "resident_machine.h"
#include "resident_two_products.h"

using namespace rnnkernels;
using namespace rnnkernels::cuda;

namespace {

int faults = 0;
void expect(bool holds, const char* what, const Resident& of) {
    if (holds) return;
    if (++faults < 20)
        std::fprintf(stderr, "%s: gates %d hidden %d blocks %d groups %d\n", what, of.gates, of.hidden, of.blocks,
                     of.groups);
}

template <class Stored>
constexpr Operands operands_with() {
    if constexpr (is_half<Stored>)
        return Operands::halves;
    else
        return Stored::kFull ? Operands::full : Operands::tf32;
}

// Of a row of the buffer every number of h and the vectors is multiplied where it stands; of the spare weights' places
// each has one; a gate is of one part of the product, and multiplies all vectors or one.
void check_sections(const Resident& of) {
    expect(of.section() >= of.units() && of.section() >= of.depth() * of.tile_depth(), "a section is too short", of);
    std::vector<int> places(of.spare());
    for (int tile = 0; tile < of.tiles(); ++tile) {
        expect(of.held_of(tile) % of.depth_step() == 0 && of.held_of(tile) <= 32, "held of a tile", of);
        for (int k = of.held_of(tile); k < of.depth_of(tile); ++k) ++places.at(of.spare_of(tile, k));
    }
    for (int count : places) expect(count == 1, "a spare weight has no place of its own", of);
    std::vector<int> parts(of.gates);
    for (int which = 0; which < of.parts(); ++which) {
        const ProductPart part = of.part(which);
        const int length = of.length(part.first_tile);
        for (int tile = part.first_tile; tile < part.first_tile + part.tiles; ++tile)
            expect(of.length(tile) == length, "tiles of several lengths in a part", of);
        for (int gate = part.first_gate; gate < part.first_gate + part.gates; ++gate) {
            ++parts.at(gate);
            int values = 0;
            for (int tile = part.first_tile; tile < part.first_tile + part.tiles; ++tile)
                for (int value = 0; value < of.slots() && value < kLaneValues; ++value)
                    values += of.gate_of(tile, value) == gate;
            expect(values == 1, "a gate has no place in its tiles", of);
        }
        for (int vector = 0; vector < length; ++vector)
            for (int k = 0; k < of.depth(); ++k) {
                const int section = which == 0 ? 0 : 1 + vector;
                expect(of.column(part.section, vector * of.depth() + k) == section * of.section() + k * of.tile_depth(),
                       "a vector is read where it is not", of);
            }
    }
    for (int count : parts) expect(count == 1, "a gate is of no part, or of two", of);
}

// Every number of a tile's weights belongs to one register of one lane; a half's register has two.
void check_weights(const Resident& of) {
    const int depth = of.depth() * of.tile_depth(), numbers = of.operands == Operands::halves ? 2 : 1;
    std::vector<int> seen(kTileRows * depth);
    check_sections(of);
    for (int lane = 0; lane < kLanes; ++lane)
        for (int k = 0; k < of.depth(); ++k)
            for (int part = 0; part < kLaneValues; ++part) {
                const WeightPlace at = weight_place(of, lane, k, part);
                for (int i = 0; i < numbers; ++i) ++seen[at.row * depth + at.k + i];
                if (of.operands != Operands::full) continue;
                // A lane's parts are its units' gates: what it has after the sums of eight lanes are added.
                const TileRow row = tile_row(of, 0, at.row);
                const int slots = of.slots();
                expect(row.unit == first_unit(of, lane) + (slots < 4 ? part / slots : 0), "another lane's unit", of);
                expect(row.gate == of.gate_of(0, part), "another value's gate", of);
            }
    for (int count : seen) expect(count == 1, "a weight is multiplied not once", of);
    // The row that a lane has after three rounds is its own.
    for (int lane = 0; lane < kLanes && of.operands == Operands::full; ++lane) {
        int row = 0;
        for (int round = 0; of.rows >> round > 1; ++round) row |= (lane & round_distance(round) ? 1 : 0) << round;
        expect(group_row(lane) >= of.rows || row == group_row(lane), "a lane has another's row", of);
    }
    expect(of.held() <= of.depth() && of.held() % of.depth_step() == 0, "held", of);
    expect(of.spare_begins() % 16 == 0 && of.row() * of.number_bytes() % 16 == 0, "off 16 bytes", of);
    expect(of.shared_bytes() <= most_shared(90), "too much shared memory", of);
}

// Every gate of every unit, and every row of a group, belongs to one lane; each lane's eight bytes go to every block
// once.
void check_maps(const Resident& of) {
    std::vector<int> seen(of.warp_units() * of.gates * kGroup);
    check_weights(of);
    std::vector<int> sent(of.warp_units() / 4 * kGroup * of.blocks);
    for (int lane = 0; lane < kLanes; ++lane) {
        for (int tile = 0; tile < of.tiles(); ++tile)
            for (int value = 0; value < kLaneValues; ++value) {
                // Its own values are of rows lane/4 and 8 further, the others of its neighbour's.
                const int from = value % 2 == own_side(lane) ? lane : lane ^ kNeighbour;
                const TileRow at = tile_row(of, tile, from / 4 + value / 2 * 8);
                const int slots = of.slots(), unit = first_unit(of, lane) + (slots < 4 ? value / slots : 0);
                const int gate = of.gate_of(tile, value);
                expect(at.unit == unit && at.gate == gate, "a lane has another unit's gate", of);
                if (gate < of.gates) ++seen[(unit * of.gates + gate) * kGroup + group_row(lane)];
            }
        for (int peer = first_peer(of, lane); peer < of.blocks; peer += of.sharers())
            ++sent[(chunk_unit(of, lane) / 4 * kGroup + group_row(lane)) * of.blocks + peer];
    }
    for (int count : seen) expect(count == 1, "a gate is finished not once", of);
    for (int count : sent) expect(count == 1, "h is sent not once", of);
    expect(of.units() >= of.hidden && of.depth() * of.tile_depth() >= of.hidden && of.depth() % 2 == 0, "too small",
           of);
    expect(of.row() * of.number_bytes() % 32 == 16, "rows of h share banks", of);
    expect(of.weights() <= kMostWeights && of.blocks <= kMostCluster, "too large", of);
}

// Ties away from zero, over the largest number, what is not finite.
void check_rounding() {
    const std::pair<std::uint32_t, std::uint32_t> rounded[] = {
        {0x3f800000, 0x3f800000}, {0x3f800fff, 0x3f800000}, {0x3f801000, 0x3f802000}, {0xbf801000, 0xbf802000},
        {0x3f803000, 0x3f804000}, {0x7f7fffff, 0x7f800000}, {0xff800000, 0xff800000}, {0x00000fff, 0},
        {0x7f800001, 0x7fffffff}, {0x3f801fff, 0x3f802000}};
    for (const auto& [given, wanted] : rounded)
        expect(Tf32::bits(Full::number(given)) == wanted, "rounded to TF32", Resident{});
}

// What is multiplied of a weight as it stands in memory.
template <class Stored>
WordOf<Stored> weight_bits(WordOf<Stored> word) {
    if constexpr (operands_with<Stored>() == Operands::tf32)
        return Tf32::bits(Full::number(word));
    else
        return word;
}

// A row of a weight and a vector, which are multiplied.
template <class Stored>
struct Pair {
    const WordOf<Stored>* weight;
    const std::vector<WordOf<Stored>>* vector;
};

// u of a row, of one such pair or of several: even tiles along k, odd ones, then both, each sixteen products at once
// (resident_machine.h). Of TF32 eight; of float32 eight chains, each of every eighth four of k, added by halves.
template <class Stored>
float plain_sum(const std::vector<Pair<Stored>>& pairs, Index hidden) {
    if constexpr (operands_with<Stored>() == Operands::full) {
        float chain[8] = {};
        for (const auto& [weight, vector] : pairs)
            for (Index k = 0; k < hidden; ++k)
                chain[k / 4 % 8] = std::fma(Full::number(weight[k]), Full::number((*vector)[k]), chain[k / 4 % 8]);
        return ((chain[0] + chain[4]) + (chain[1] + chain[5])) + ((chain[2] + chain[6]) + (chain[3] + chain[7]));
    }
    const Index depth = is_half<Stored> ? 16 : 8;
    float sum[2] = {};
    for (const auto& [weight, vector] : pairs)
        for (Index k = 0; k < (hidden + 2 * depth - 1) / (2 * depth) * 2 * depth; k += depth) {
            double products = 0;
            for (Index i = k; i < k + depth && i < hidden; ++i)
                products += double{Stored::number(weight_bits<Stored>(weight[i]))} * Stored::number((*vector)[i]);
            sum[k / depth % 2] = static_cast<float>(sum[k / depth % 2] + products);
        }
    return sum[0] + sum[1];
}

template <template <class> class OneCell, class Stored>
void check_layer(const Layer& layer, const ClusterRoom& room, unsigned seed, const Noise* noise = nullptr) {
    using Cell = OneCell<Vec<float>>;
    using Maths = ResidentMathsOf<Cell>;
    const Index hidden = layer.hidden, batch = layer.batch;
    using G = Geometry<Cell>;
    constexpr TileGates gates{Maths::hiddens, G::vectors, G::feedbacks};
    const Resident shape =
        divide(gates, hidden, batch, room, operands_with<Stored>(), most_shared(90), noise ? masks_of(*noise) : 0);
    if (shape.operands == Operands::full && batch > most_rows(gates, hidden, room, most_shared(90)))
        return expect(shape.blocks == 0, "more rows than there may be", shape);
    if (shape.blocks == 0) return expect(false, "does not fit", shape);
    LayerCall<Cell, Stored, Maths::hiddens> layer_call(layer, seed, noise);
    Inputs in{};
    in.shape.steps = layer.steps, in.shape.batch = batch;
    in.starts = layer.starts.empty() ? nullptr : layer.starts.data();
    const Masks<float> masks(noise ? *noise : in.noise, Rows(in));
    const PlainMasks plain = noise ? &masks : nullptr;
    run_emulated<Maths, Stored>(shape, layer_call.to(0), seed);
    const ResidentCall call = layer_call.to(1);
    const auto sum = [&](int gate, Index unit, const auto& vector) {
        std::vector<Pair<Stored>> pairs;
        if constexpr (std::is_same_v<decltype(vector), const std::vector<WordOf<Stored>>&>)
            pairs.push_back({layer_call.weight(gate, unit), &vector});
        else if (!own_feedback_weight<Cell>)
            pairs.push_back({layer_call.weight(gate, unit), &vector.at(0)});
        else
            for (int k = 0; k < G::vectors; ++k) pairs.push_back({layer_call.fed_weight(gate, unit, k), &vector.at(k)});
        return plain_sum<Stored>(pairs, hidden);
    };
    if constexpr (two_products<Cell>)
        plain_two_products<Cell, Stored>(call, hidden, sum, plain);
    else
        plain_one_product<Cell, Stored>(call, hidden, sum, plain);
    layer_call.compare([&](bool same, const char* what) { expect(same, what, shape); });
}

template <template <class> class OneCell>
void check_halves(const Layer& layer, int processors, unsigned seed) {
    check_layer<OneCell, Bfloat16>(layer, processors, seed);
    check_layer<OneCell, Float16>(layer, processors, seed + 7);
}

template <template <class> class OneCell>
void check_cell(const Layer& layer, int processors, unsigned seed) {
    check_halves<OneCell>(layer, processors, seed);
    check_layer<OneCell, Tf32>(layer, processors, seed + 11);
    check_layer<OneCell, Full>(layer, processors, seed + 13);
}

// Zoneout and recurrent dropout: both, by step and by sequence; each alone; as in evaluation.
void check_masks(const Layer& layer, unsigned seed) {
    Noise noise{};
    noise.seed = 0x1234567890abcdef, noise.layer = 3, noise.first_step = 2, noise.batch = layer.batch;
    for (int kind = 0; kind < 5; ++kind) {
        noise.zones = kind != 3, noise.recurrent = kind == 2 ? 0 : 0.25;
        noise.per_step = kind != 1, noise.expected = kind == 4;
        for (int k = 0; k < kMaxStates; ++k) noise.zoneout[k] = noise.zones ? 0.125 * (k + 1) : 0;
        check_layer<Lstm, Bfloat16>(layer, 132, seed += 31, &noise);
        check_layer<GruResetBefore, Tf32>(layer, 1, seed += 31, &noise);
        check_layer<Mut3, Float16>(layer, 132, seed += 31, &noise);
        check_layer<LstmFgr, Bfloat16>(layer, 132, seed += 31, &noise);
        check_layer<FedGates, Full>(layer, 132, seed += 31, &noise);
    }
}

}  // namespace

int check_resident_backward();  // check_resident_backward.cpp

int main() {
    for (const TileGates& gates : every_gates())
        for (const int processors : {1, 132})
            for (const Index batch : {1, 8, 9, 64, 1000})
                for (Index hidden = 1; hidden <= 600; hidden += hidden < 40 ? 1 : 13)
                    for (const Operands operands : {Operands::halves, Operands::tf32, Operands::full})
                        for (const int capability : {90, 120}) {
                            const int shared = most_shared(capability);
                            const Resident of = divide(gates, hidden, batch, processors, operands, shared);
                            expect(of.shared_bytes() <= shared || of.blocks == 0, "shared memory", of);
                            if (of.blocks > 0) check_maps(of);
                        }
    expect(divide({3, 1, 1}, 512, 16, 132).blocks > 0, "mut3 of H = 512 does not fit", {});
    expect(divide({7, 3, 3}, 128, 16, 132).blocks > 0, "lstm_fgr of H = 128 does not fit", {});
    expect(divide({7, 3, 3}, 144, 8, 132, Operands::tf32).blocks > 0, "lstm_fgr of H = 144 in TF32 does not fit", {});
    check_rounding();
    const Layer layers[] = {{3, 2, 1, {}},   {4, 9, 5, {}},  {3, 17, 33, {}}, {5, 1, 40, {}},
                            {2, 8, 100, {}}, {1, 3, 64, {}}, {0, 4, 16, {}},  {4, 5, 70, {0, 5, 9, 12, 13}}};
    unsigned seed = 1;
    for (const Layer& layer : layers) check_masks(layer, seed += 31);
    for (const Layer& layer : layers)
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
    // The same sums whatever the card has room for.
    for (const ClusterRoom& room : {modelled_room(90, 132), half_of(modelled_room(90, 132)), modelled_room(120, 20)}) {
        check_layer<Lstm, Bfloat16>({2, 70, 40, {}}, room, 15);
        check_layer<GruResetBefore, Tf32>({2, 70, 40, {}}, room, 16);
        check_layer<Gru, Full>({2, 70, 40, {}}, room, 17);
    }
    check_cell<Lstm>({2, 3, 512, {}}, 132, 5);
    check_cell<Lstm>({2, 40, 200, {}}, 1, 6);
    check_halves<GruResetBefore>({2, 3, 512, {}}, 132, 7);
    check_halves<Mgu>({3, 40, 200, {}}, 1, 8);
    check_cell<Gru>({2, 5, 301, {}}, 132, 7);
    check_layer<SixGates, Tf32>({2, 9, 300, {}}, 132, 8);
    check_layer<SixGates, Full>({2, 70, 150, {}}, 132, 9);
    for (const Index batch : {1, 2, 3, 4, 5, 8}) {
        check_layer<Lstm, Full>({2, batch, 33, {}}, 1, 10);
        check_layer<GruResetBefore, Full>({2, batch, 33, {}}, 1, 11);
        check_layer<FiveGates, Full>({2, batch, 33, {}}, 1, 12);
    }
    check_halves<Mut3>({2, 9, 512, {}}, 132, 16);
    check_halves<LstmFgr>({2, 9, 128, {}}, 132, 17);
    check_layer<Mut3, Full>({2, 3, 300, {}}, 132, 18);
    check_layer<LstmFgr, Tf32>({3, 9, 143, {}}, 132, 19);
    check_layer<LstmFgr, Full>({3, 9, 150, {}}, 132, 20);
    check_layer<FedGates, Tf32>({3, 9, 170, {}}, 132, 21);
    check_layer<GruResetBefore, Tf32>({2, 9, 301, {}}, 132, 12);
    check_layer<GruResetBefore, Full>({2, 9, 301, {}}, 132, 13);
    check_layer<FiveGates, Tf32>({2, 9, 200, {}}, 132, 14);
    check_layer<FiveGates, Full>({2, 9, 200, {}}, 132, 15);
    faults += check_resident_backward();
    if (faults > 0) return 1;
    std::puts("resident kernels: ok");
}
