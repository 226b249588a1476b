// What a warp of a resident kernel can do (csrc/cuda/resident/warp.h), on the host: lanes one after the other, mma and
// ldmatrix as the PTX manual has their fragments, h sent as messages that arrive in any order. Warps go on in a random
// order, as far as what they wait for has come. What a GPU would get away with most of the time is found here at once:
// a buffer that is written before all have read it, h that is read before it has come (it is NaN until then), bytes
// that are too many or too few, warps that wait for ever.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "cuda/resident/kernel.h"
#include "emulated_lanes.h"

namespace rnnkernels::RNNKERNELS_TARGET {

[[noreturn]] inline void resident_fault(const char* what) {
    std::fprintf(stderr, "resident kernel: %s\n", what);
    std::abort();
}

// The blocks of a cluster, and what is on its way between them.
class EmulatedCluster {
public:
    // So many bytes come to a block in each buffer.
    EmulatedCluster(const Resident& shape, int of_first, int of_second, unsigned seed)
        : shape(shape), random_(seed), blocks_(shape.blocks) {
        for (Block& block : blocks_) {
            block.h.resize(2 * shape.buffer());
            block.box[0].missing = block.box[0].bytes = of_first;
            block.box[1].missing = block.box[1].bytes = of_second;
        }
    }

    const Resident shape;

    // A number of h, of any operands, is a word.
    std::uint32_t* buffer(int block, int buffer) { return &blocks_[block].h[buffer * shape.buffer()]; }
    unsigned any(std::size_t below) { return static_cast<unsigned>(random_() % below); }

    // Whether the phase that exchange t of a block waits for is over; then the next one's bytes may be counted.
    bool has_come(int block, Index t) const {
        const Box& box = blocks_[block].box[t & 1];
        return !waits_for(t) || ((box.phase & 1) != parity_of(t) && box.phase > (t - 1) / 2);
    }
    // A warp has read what its block has for an exchange; with the last one the buffer is poisoned.
    void was_read(int block, Index t) {
        Box& box = blocks_[block].box[t & 1];
        if (++box.reads < shape.warps) return;
        box.reads = 0, box.free = true;
        std::uint32_t* const h = buffer(block, t & 1);
        for (int row = 0; row < shape.cluster_rows(); ++row)
            for (int at = 0; at < box.bytes / shape.bytes() * shape.units(); ++at)
                h[row * shape.row() + at / shape.units() * shape.section() + at % shape.units()] =
                    shape.operands == Operands::halves ? 0x7fff : 0x7fffffff;  // a NaN
    }
    void send(int block, int buffer, int row, int column, const std::uint32_t (&numbers)[4]) {
        flying_.push_back({block, buffer, row, column, {numbers[0], numbers[1], numbers[2], numbers[3]}});
    }
    // Something that is on its way arrives; false: nothing is.
    bool deliver() {
        if (flying_.empty()) return false;
        const std::size_t which = any(flying_.size());
        const Message message = flying_[which];
        flying_[which] = flying_.back();
        flying_.pop_back();
        Box& box = blocks_[message.block].box[message.buffer];
        if (!box.free && box.missing == box.bytes) resident_fault("h is sent to a buffer that was not read yet");
        const int section = message.column / shape.section(), column = message.column % shape.section();
        if (column % 4 != 0 || column + 4 > shape.units() || message.row >= shape.cluster_rows() ||
            section >= box.bytes / shape.bytes())
            resident_fault("h is sent to no unit's place");
        box.free = false;
        for (int i = 0; i < 4; ++i)
            buffer(message.block, message.buffer)[message.row * shape.row() + message.column + i] = message.numbers[i];
        box.missing -= 4 * shape.number_bytes();
        if (box.missing > 0) return true;
        ++box.phase;
        box.missing = box.bytes;
        return true;
    }
    // The first buffer holds what was given; the second may be written.
    void begin() {
        for (Block& block : blocks_) block.box[1].free = true;
    }

private:
    struct Box {
        int bytes = 0, missing = 0, reads = 0;
        Index phase = 0;
        bool free = false;
    };
    struct Block {
        std::vector<std::uint32_t> h;
        Box box[2];
    };
    struct Message {
        int block, buffer, row, column;
        std::uint32_t numbers[4];
    };
    std::mt19937 random_;
    std::vector<Block> blocks_;
    std::vector<Message> flying_;
};

// mma.m16n8k8 of TF32.
inline void multiply_rounded(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4], const OwnValue<unsigned>& b0,
                             const OwnValue<unsigned>& b1) {
    float weight[kTileRows][8], h[8][kGroup];
    const auto number = [](unsigned bits) {
        if ((bits & 0x1fffU) != 0 && (bits & 0x7fffffffU) < 0x7f800000U)
            resident_fault("a number that is not rounded is multiplied in TF32");
        return Tf32::number(bits);
    };
    for (int lane = 0; lane < kLanes; ++lane) {
        const int g = lane / 4, t = lane % 4;
        for (int part = 0; part < 4; ++part)
            weight[g + (part % 2 ? 8 : 0)][t + (part / 2 ? 4 : 0)] = number(a[part][lane]);
        h[t][g] = number(b0[lane]), h[t + 4][g] = number(b1[lane]);
    }
    add_products(sum, weight, h);
}

struct EmulatedMachine {
    template <class V>
    using Own = OwnValue<V>;
    template <int count>
    using Values = OwnValues<count>;
    static constexpr int kTiles = 2, kDepth = 32, kGroups = kMostGroups, kLaneUnits = 4;
    const Resident& shape() const { return cluster.shape; }

    EmulatedCluster& cluster;
    int block, warp;
    // Of one warp, (spare(), 32, 4): NaN until they are put there.
    std::vector<unsigned> spare = std::vector<unsigned>(cluster.shape.spare() * kLanes * 4, 0x7fffffff);

    template <class Use>
    void lanes(Use use) const {
        const int first = static_cast<int>(cluster.any(kLanes));
        for (int i = 0; i < kLanes; ++i) use((first + i) % kLanes);
    }
    template <class Use>
    void lanes_later(Use use) const {
        lanes(use);
    }
    template <class V>
    void shuffle(OwnValue<V>& own, int distance) const {
        const OwnValue<V> before = own;
        for (int lane = 0; lane < kLanes; ++lane) own[lane] = before[lane ^ distance];
    }
    void load(OwnValue<unsigned> (&b)[4], int buffer, int group, int column) const {
        const std::uint32_t* const h = cluster.buffer(block, buffer) + column;
        if (shape().operands == Operands::tf32) {
            for (int matrix = 0; matrix < 4; ++matrix)
                for (int lane = 0; lane < kLanes; ++lane)
                    b[matrix][lane] = h[(group * kGroup + lane / 4) * shape().row() + 4 * matrix + lane % 4];
            return;
        }
        for (int matrix = 0; matrix < 4; ++matrix)
            for (int lane = 0; lane < kLanes; ++lane) {
                const int row = group * kGroup + lane / 4;
                const std::uint32_t* const pair = h + row * shape().row() + 8 * matrix + 2 * (lane % 4);
                b[matrix][lane] = pair[0] | pair[1] << 16;
            }
    }
    void load_numbers(int, int buffer, int row, int column, float (&to)[4]) const {
        if (column % 4 != 0) resident_fault("four numbers are loaded off their place");
        const std::uint32_t* const h = cluster.buffer(block, buffer) + row * shape().row() + column;
        for (int i = 0; i < 4; ++i) to[i] = Full::number(h[i]);
    }
    // Lane by lane: a spare weight may be got by who put it alone.
    void put_spare(int lane, int index, const unsigned (&words)[4]) const {
        for (int i = 0; i < 4; ++i) const_cast<unsigned&>(spare.at((index * kLanes + lane) * 4 + i)) = words[i];
    }
    void get_spare(int index, OwnValue<unsigned> (&own)[4]) const {
        for (int lane = 0; lane < kLanes; ++lane)
            for (int i = 0; i < 4; ++i) own[i][lane] = spare.at((index * kLanes + lane) * 4 + i);
    }
    template <class Stored>
    void multiply(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4], const OwnValue<unsigned>& b0,
                  const OwnValue<unsigned>& b1) const {
        if constexpr (!is_half<Stored>)
            return multiply_rounded(sum, a, b0, b1);
        else
            multiply_halves<Stored>(sum, a, b0, b1);
    }
    void send(int, int peer, int buffer, int row, int column, std::uint64_t bytes) const {
        std::uint32_t numbers[4];
        for (int i = 0; i < 4; ++i) numbers[i] = static_cast<std::uint16_t>(bytes >> 16 * i);
        cluster.send(peer, buffer, row, column, numbers);
    }
    void send_words(int, int peer, int buffer, int row, int column, const unsigned (&words)[4]) const {
        cluster.send(peer, buffer, row, column, words);
    }
};

// A cluster's part of a call.
template <class Maths, class Stored>
void run_emulated_cluster(const Resident& shape, const ResidentCall& call, Index tile, unsigned seed) {
    using Warp = WarpOf<Maths, Stored, EmulatedMachine>;
    const Index exchanges = Maths::exchanges * call.steps;
    struct Runner {
        EmulatedMachine machine;
        std::unique_ptr<Warp> warp;
        Index exchange = 0;
        bool multiplied = false;
    };
    EmulatedCluster cluster(shape, bytes_in<Maths>(shape, 0), bytes_in<Maths>(shape, 1), seed);
    for (int block = 0; block < shape.blocks; ++block)
        fill_buffers<Maths, Stored>(shape, call, tile, 0, 1,
                                    [&](Index at, WordOf<Stored> bits) { cluster.buffer(block, 0)[at] = bits; });
    cluster.begin();
    std::vector<std::unique_ptr<Runner>> runners;
    for (int i = 0; i < shape.blocks * shape.warps; ++i) {
        runners.push_back(std::make_unique<Runner>(Runner{{cluster, i / shape.warps, i % shape.warps}, nullptr}));
        runners.back()->warp = std::make_unique<Warp>(runners.back()->machine, call, tile);
    }
    std::vector<Runner*> at_work;
    for (const auto& runner : runners) at_work.push_back(runner.get());
    const auto turn = [&](Runner& runner) {
        if (runner.exchange == exchanges) {
            runner.warp->end();
            return Turn::ended;
        }
        if (runner.multiplied) {
            runner.warp->step(runner.exchange, runner.exchange + 1 == exchanges);
            ++runner.exchange, runner.multiplied = false;
        } else if (cluster.has_come(runner.machine.block, runner.exchange)) {
            runner.warp->multiply(runner.exchange & 1);
            cluster.was_read(runner.machine.block, runner.exchange);
            runner.multiplied = true;
        } else {
            return Turn::waits;
        }
        return Turn::went_on;
    };
    if (!take_turns(
            at_work, [&](std::size_t below) { return cluster.any(below); }, [&] { return cluster.deliver(); }, turn))
        resident_fault("all wait for ever");
}

template <class Maths, class Stored>
void run_emulated(const Resident& shape, const ResidentCall& call, unsigned seed) {
    const Index rows = shape.cluster_rows();
    for (Index tile = 0; tile * rows < call.batch; ++tile)
        run_emulated_cluster<Maths, Stored>(shape, call, tile, seed + static_cast<unsigned>(tile));
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
