// What a warp of a grid kernel can do (csrc/cuda/grid/warp.h, backward_warp.h), on the host: lanes one after the other,
// mma as the PTX manual has its fragments. Warps go on in a random order, from tile to tile, as far as what they wait
// for allows.
//
// The memory is weaker than any GPU's. What a warp stores reaches the others late and in any order, or when its count
// reaches the block's flag. What a warp loads is as old as its last acquire, or older: it sees a buffer as it was when
// it acquired, and NaNs before. A buffer that all of a team have read is poisoned; one that is written before that is a
// fault. Sums in shared memory are there from the barrier of who put them on, and NaN when all have read them; to put
// one before that is a fault.
//
// With two products in a step all of that is of exchanges, of which a step has two: each buffer is one's.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "cuda/grid/two_products_backward_warp.h"
#include "cuda/grid/two_products_warp.h"
#include "emulated_lanes.h"

namespace rnnkernels::RNNKERNELS_TARGET {

[[noreturn]] inline void grid_fault(const char* what) {
    std::fprintf(stderr, "grid kernel: %s\n", what);
    std::abort();
}

inline constexpr std::uint16_t kNoHalf = 0x7fff;  // a NaN of both halves

// The global memory of a team, and what is on its way there. A warp's number is of all in the team.
class EmulatedTeam {
public:
    // So many exchanges of each tile.
    EmulatedTeam(const GridExchange& exchange, Index exchanges, const Grid& shape, unsigned seed)
        : shape(shape), exchange_(exchange), exchanges_(exchanges), random_(seed), warps_(shape.blocks * kGridWarps) {}

    const Grid shape;

    unsigned any(std::size_t below) { return static_cast<unsigned>(random_() % below); }
    void begin(int warp, Index tile) {
        Warp& w = warps_[warp];
        w.tile = tile, w.reads = 0;
        w.seen.assign(2 * buffer_size(), kNoHalf);
    }
    // `product`: the shape of the one that waits.
    bool reached(const Grid& product, int warp, Index tile, unsigned value) const {
        for (int i = 0; i < awaited(product, warp % kGridWarps); ++i)
            if (flag(tile, awaited_block(product, warp / kGridWarps, warp % kGridWarps, i)) < value) return false;
        return true;
    }
    void acquire(int warp, Index tile, unsigned value) {
        if (value < flag_of(warps_[warp].reads)) grid_fault("a warp awaits less than it reads");
        warps_[warp].seen.assign(memory(tile), memory(tile) + 2 * buffer_size());
    }
    std::uint16_t seen(int warp, int buffer, int row, int k) const {
        return warps_[warp].seen[h_at(shape, 0, buffer, row, k)];
    }
    void store(const Grid& product, int warp, Index tile, int buffer, int row, int unit, const std::uint16_t* bits) {
        // What is for the next exchange takes the place of what the one before this one was.
        const Index now = warps_[warp].reads, needed = buffer == buffer_of(now) ? now - 1 : now;
        for (const Warp& other : warps_)
            if (reads_of(other, tile) < needed) grid_fault("something is stored where not all have read");
        for (int i = 0; i < product.numbers; ++i)
            warps_[warp].stored.push_back({h_at(product, tile, buffer, row, unit * product.numbers + i), bits[i]});
    }
    void publish(int warp, Index tile) {
        warps_[warp].counts.push_back({tile, std::move(warps_[warp].stored)});
        warps_[warp].stored.clear();
    }
    // A warp has multiplied what it got: it reads that buffer no more.
    void was_read(const Grid& product, int warp, Index tile) {
        const Index read = ++warps_[warp].reads;
        for (const Warp& other : warps_)
            if (reads_of(other, tile) < read) return;
        std::uint16_t* const h = memory(tile) + buffer_of(read - 1) * buffer_size();
        for (int row = 0; row < shape.rows(); ++row) std::fill_n(h + row * product.row(), product.depth(), kNoHalf);
    }
    // Something that is on its way arrives; false: nothing is.
    bool deliver() {
        const std::size_t first = any(warps_.size());
        for (std::size_t i = 0; i < warps_.size(); ++i) {
            const std::size_t warp = (first + i) % warps_.size();
            if (warps_[warp].counts.empty()) continue;
            const Count& count = warps_[warp].counts.front();
            for (const Store& store : count.covered) exchange_.numbers[store.at] = store.bits;
            ++flag(count.tile, static_cast<int>(warp) / kGridWarps);
            warps_[warp].counts.pop_front();
            return true;
        }
        return false;
    }

private:
    struct Store {
        Index at;
        std::uint16_t bits;
    };
    struct Count {
        Index tile;
        std::vector<Store> covered;
    };
    struct Warp {
        std::vector<std::uint16_t> seen;
        std::vector<Store> stored;  // and not counted yet
        std::deque<Count> counts;   // on their way
        Index tile = -1, reads = 0;
    };
    int buffer_size() const { return shape.rows() * shape.row(); }
    std::uint16_t* memory(Index tile) const { return exchange_.numbers + h_at(shape, tile, 0, 0, 0); }
    unsigned& flag(Index tile, int block) const { return exchange_.flags[tile * shape.blocks + block]; }
    // Exchanges of a tile that a warp has multiplied.
    Index reads_of(const Warp& warp, Index tile) const {
        return warp.tile == tile ? warp.reads : warp.tile > tile ? exchanges_ : 0;
    }
    const GridExchange& exchange_;
    const Index exchanges_;
    std::mt19937 random_;
    std::vector<Warp> warps_;
};

// The shared memory of a block, and its barrier.
class EmulatedGridBlock {
public:
    explicit EmulatedGridBlock(const Grid& shape) : weights(shape.sums_begin(), 0xffffffffU) {
        sums_.assign(shape.sums(), std::numeric_limits<float>::quiet_NaN());
    }

    std::vector<unsigned> weights;

    void put_sum(int warp, int at, float value) {
        for (const Warp& other : warps_)
            if (other.finished < warps_[warp].finished) grid_fault("a sum is put where not all have read");
        warps_[warp].put.push_back({at, value});
    }
    float sum(int at) const { return sums_[at]; }
    void arrive(int warp) {
        for (const auto& [at, value] : warps_[warp].put) sums_[at] = value;
        warps_[warp].put.clear();
        ++warps_[warp].arrived;
    }
    // Whether a warp may pass the barrier at which it is.
    bool passes(int warp) const {
        return std::all_of(std::begin(warps_), std::end(warps_),
                           [&](const Warp& other) { return other.arrived >= warps_[warp].arrived; });
    }
    // A warp has finished an exchange: it reads the sums no more.
    void was_read(int warp) {
        const Index finished = ++warps_[warp].finished;
        for (const Warp& other : warps_)
            if (other.finished < finished) return;
        sums_.assign(sums_.size(), std::numeric_limits<float>::quiet_NaN());
    }

private:
    struct Warp {
        std::vector<std::pair<int, float>> put;  // since its last barrier
        Index arrived = 0, finished = 0;
    };
    std::vector<float> sums_;
    Warp warps_[kGridWarps];
};

struct EmulatedGridMachine {
    template <class V>
    using Own = OwnValue<V>;
    template <int count>
    using Values = OwnValues<count>;
    static constexpr int kHeld = kMostHeld, kTiles = kMostTiles, kGroups = kMostGroups, kValues = kMostValues;
    const Grid& shape() const { return product; }

    EmulatedTeam& team;
    EmulatedGridBlock& shared;
    Grid product;
    int first_word;  // of its weights in shared memory
    int block, warp;

    int number() const { return block * kGridWarps + warp; }

    template <class Use>
    void lanes(Use use) const {
        const int first = static_cast<int>(team.any(kLanes));
        for (int i = 0; i < kLanes; ++i) use((first + i) % kLanes);
    }
    void barrier() const { shared.arrive(warp); }
    void wait(Index tile, unsigned value) const {
        if (!reached(tile, value)) grid_fault("a step begins before what it waits for");
        team.acquire(number(), tile, value);
    }
    bool reached(Index tile, unsigned value) const { return team.reached(product, number(), tile, value); }
    void publish(Index tile) const { team.publish(number(), tile); }
    void load(OwnValue<unsigned> (&b)[4], Index, int buffer, int group, int pair) const {
        for (int lane = 0; lane < kLanes; ++lane)
            for (int word = 0; word < 4; ++word) {
                const int row = group * kGroup + lane / 4, k = load_k(shape(), warp, lane, pair) + 2 * word;
                b[word][lane] = team.seen(number(), buffer, row, k) |
                                static_cast<unsigned>(team.seen(number(), buffer, row, k + 1)) << 16;
            }
    }
    void store(Index tile, int buffer, int row, int unit, const std::uint16_t* bits) const {
        team.store(product, number(), tile, buffer, row, unit, bits);
    }
    void keep(int lane, int pair, int word, unsigned bits) const { shared.weights[kept_at(lane, pair, word)] = bits; }
    void kept(OwnValue<unsigned> (&a)[2][4], int pair, int of_warp) const {
        for (int lane = 0; lane < kLanes; ++lane)
            for (int word = 0; word < kPairWords; ++word)
                a[word / 4][word % 4][lane] = shared.weights[kept_at(lane, pair, of_warp * kPairWords + word)];
    }
    void put_sum(int at, float value) const { shared.put_sum(warp, at, value); }
    float sum(int at) const { return shared.sum(at); }
    template <class Stored>
    void multiply(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4], const OwnValue<unsigned>& b0,
                  const OwnValue<unsigned>& b1) const {
        multiply_halves<Stored>(sum, a, b0, b1);
    }

private:
    int kept_at(int lane, int pair, int word) const {
        return first_word + (pair * kGridThreads + warp * kLanes + lane) * shape().words() + word;
    }
};

// A warp by its exchanges: of one product in a step, of two, or of a backward. begin(tile) is what comes before a
// tile's first exchange, finish(e) what comes behind the barrier of exchange e.
template <class Maths, class Stored, int exchanges = Maths::exchanges>
class EmulatedGridWarp {
public:
    EmulatedGridWarp(EmulatedTeam& team, EmulatedGridBlock& shared, int block, int warp, const ResidentCall& call)
        : machine{team, shared, team.shape, 0, block, warp}, warp_(machine, call) {}

    const EmulatedGridMachine machine;

    const EmulatedGridMachine& machine_of(Index) const { return machine; }
    void begin(Index tile) { warp_.begin(tile); }
    void multiply(Index exchange) { warp_.multiply(exchange); }
    void finish(Index exchange) { warp_.finish(exchange); }
    void end() { warp_.end(); }

private:
    GridWarp<Maths, Stored, EmulatedGridMachine> warp_;
};

template <class Maths, class Stored>
class EmulatedGridWarp<Maths, Stored, 2> {
public:
    EmulatedGridWarp(EmulatedTeam& team, EmulatedGridBlock& shared, int block, int warp, const ResidentCall& call)
        : machine{team, shared, team.shape, 0, block, warp},
          second{team, shared, team.shape.second(), team.shape.kept_words(), block, warp},
          warp_(machine, second, call) {}

    const EmulatedGridMachine machine, second;

    const EmulatedGridMachine& machine_of(Index exchange) const { return exchange & 1 ? second : machine; }
    void begin(Index tile) { warp_.begin(tile); }
    void multiply(Index exchange) { exchange & 1 ? warp_.multiply_gated(exchange / 2) : warp_.multiply(exchange / 2); }
    void finish(Index exchange) { exchange & 1 ? warp_.state(exchange / 2) : warp_.gates(exchange / 2); }
    void end() { warp_.end(); }

private:
    TwoProductsGridWarp<Maths, Stored, EmulatedGridMachine, EmulatedGridMachine> warp_;
};

template <class Maths, class Stored, int exchanges = Maths::exchanges>
class EmulatedGridBackwardWarp {
public:
    EmulatedGridBackwardWarp(EmulatedTeam& team, EmulatedGridBlock& shared, int block, int warp,
                             const ResidentBackwardCall& call)
        : machine{team, shared, team.shape, 0, block, warp}, warp_(machine, call), steps_(call.steps) {}

    const EmulatedGridMachine machine;

    const EmulatedGridMachine& machine_of(Index) const { return machine; }
    void begin(Index tile) {
        warp_.begin(tile);
        if (steps_ > 0) warp_.step(0);
    }
    void multiply(Index exchange) { warp_.multiply(exchange); }
    void finish(Index exchange) {
        warp_.sum();
        if (exchange + 1 < steps_) warp_.step(exchange + 1);
    }
    void end() { warp_.end(); }

private:
    GridBackwardWarp<Maths, Stored, EmulatedGridMachine> warp_;
    const Index steps_;
};

template <class Maths, class Stored>
class EmulatedGridBackwardWarp<Maths, Stored, 2> {
public:
    EmulatedGridBackwardWarp(EmulatedTeam& team, EmulatedGridBlock& shared, int block, int warp,
                             const ResidentBackwardCall& call)
        : machine{team, shared, team.shape, 0, block, warp},
          second{team, shared, team.shape.second(), team.shape.kept_words(), block, warp},
          warp_(machine, second, call),
          steps_(call.steps) {}

    const EmulatedGridMachine machine, second;

    const EmulatedGridMachine& machine_of(Index exchange) const { return exchange & 1 ? machine : second; }
    void begin(Index tile) {
        warp_.begin(tile);
        if (steps_ > 0) warp_.state(0);
    }
    void multiply(Index exchange) { exchange & 1 ? warp_.multiply(exchange / 2) : warp_.multiply_gated(exchange / 2); }
    void finish(Index exchange) {
        if (exchange % 2 == 0) return warp_.gates(exchange / 2);
        warp_.sum();
        if (exchange / 2 + 1 < steps_) warp_.state(exchange / 2 + 1);
    }
    void end() { warp_.end(); }

private:
    TwoProductsGridBackwardWarp<Maths, Stored, EmulatedGridMachine, EmulatedGridMachine> warp_;
    const Index steps_;
};

// A call, team by team.
template <class Warp, class Call>
void run_emulated_teams(const Grid& shape, const Call& call, Index exchanges, unsigned seed) {
    struct Runner {
        Index tile;
        std::unique_ptr<Warp> warp;
        Index exchange = -1;
        bool multiplied = false;
    };
    for (int number = 0; number < shape.teams; ++number) {
        EmulatedTeam team(call.exchange, exchanges, shape, seed + static_cast<unsigned>(number));
        std::vector<EmulatedGridBlock> blocks(shape.blocks, EmulatedGridBlock(shape));
        std::vector<std::unique_ptr<Runner>> runners;
        std::vector<Runner*> at_work;
        for (int i = 0; i < shape.blocks * kGridWarps; ++i) {
            EmulatedGridBlock& block = blocks[i / kGridWarps];
            auto warp = std::make_unique<Warp>(team, block, i / kGridWarps, i % kGridWarps, call.call);
            runners.push_back(std::make_unique<Runner>(Runner{number, std::move(warp)}));
            at_work.push_back(runners.back().get());
        }
        const auto turn = [&](Runner& runner) {
            Warp& warp = *runner.warp;
            const EmulatedGridMachine& machine = warp.machine;
            if (runner.tile >= call.exchange.tiles) return Turn::ended;
            if (runner.exchange < 0) {
                team.begin(machine.number(), runner.tile);
                warp.begin(runner.tile);
                runner.exchange = 0;
            } else if (runner.exchange == exchanges) {
                warp.end();
                runner.tile += shape.teams, runner.exchange = -1;
            } else if (runner.multiplied) {
                if (!machine.shared.passes(machine.warp)) return Turn::waits;
                warp.finish(runner.exchange);
                machine.shared.was_read(machine.warp);
                ++runner.exchange, runner.multiplied = false;
            } else {
                if (!warp.machine_of(runner.exchange).reached(runner.tile, flag_of(runner.exchange)))
                    return Turn::waits;
                warp.multiply(runner.exchange);
                team.was_read(warp.machine_of(runner.exchange).product, machine.number(), runner.tile);
                runner.multiplied = true;
            }
            return Turn::went_on;
        };
        if (!take_turns(
                at_work, [&](std::size_t below) { return team.any(below); }, [&] { return team.deliver(); }, turn))
            grid_fault("all wait for ever");
    }
}

template <class Maths, class Stored>
void run_emulated_grid(const Grid& shape, const GridCall& call, unsigned seed) {
    run_emulated_teams<EmulatedGridWarp<Maths, Stored>>(shape, call, Maths::exchanges * call.call.steps, seed);
}
template <class Maths, class Stored>
void run_emulated_grid(const Grid& shape, const GridBackwardCall& call, unsigned seed) {
    run_emulated_teams<EmulatedGridBackwardWarp<Maths, Stored>>(shape, call, Maths::exchanges * call.call.steps, seed);
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
