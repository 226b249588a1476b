// What a block of a grid kernel can do (csrc/cuda/grid/block.h), on the host: threads one after the other, mma as the
// PTX manual has its fragments. Blocks go on in a random order, as far as the flags they wait for allow.
//
// The memory is weaker than any GPU's. What a block stores reaches the others late and in any order, or when a flag is
// released that comes after a barrier after it. What a block loads is as old as its last acquire, or older: it sees a
// buffer as it was when it acquired, and NaNs before. A buffer that all of a team have read is poisoned; one that is
// written before that is a fault. Sums in shared memory are NaN for all but who wrote them, until a barrier.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "cuda/grid/block.h"
#include "emulated_lanes.h"

namespace rnnkernels::RNNKERNELS_TARGET {

[[noreturn]] inline void grid_fault(const char* what) {
    std::fprintf(stderr, "grid kernel: %s\n", what);
    std::abort();
}

inline constexpr std::uint16_t kNoHalf = 0x7fff;  // a NaN of both halves

// The global memory of a team, and what is on its way there.
class EmulatedTeam {
public:
    EmulatedTeam(const GridCall& call, const Grid& shape, unsigned seed)
        : shape(shape), call(call), random_(seed), blocks_(shape.blocks) {
        for (Block& block : blocks_) block.seen.assign(2 * buffer_size(), kNoHalf);
    }

    const Grid shape;
    const GridCall& call;

    unsigned any(std::size_t below) { return static_cast<unsigned>(random_() % below); }
    int buffer_size() const { return shape.rows() * shape.row(); }
    void begin(Index tile) {
        for (Block& block : blocks_) {
            block.fresh.clear(), block.settled.clear(), block.covered.clear();
            block.acquired.clear(), block.flag_pending = false;
            block.seen.assign(2 * buffer_size(), kNoHalf);
            block.reads = -1;
        }
        tile_ = tile;
    }
    std::uint16_t* memory() { return call.h + h_at(shape, tile_, 0, 0, 0); }
    bool reached(Index tile, unsigned value) const {
        for (int of = 0; of < shape.blocks; ++of)
            if (call.flags[tile * shape.blocks + of] < value) return false;
        return true;
    }

    void acquire(int block) { blocks_[block].acquired.assign(memory(), memory() + 2 * buffer_size()); }
    void barrier(int block) {
        Block& b = blocks_[block];
        if (!b.acquired.empty()) b.seen.swap(b.acquired), b.acquired.clear();
        b.settled.insert(b.settled.end(), b.fresh.begin(), b.fresh.end());
        b.fresh.clear();
    }
    void store(int block, int buffer, int row, int unit, std::uint16_t bits) {
        for (const Block& other : blocks_)
            if (other.reads < writes_of(block, buffer)) grid_fault("h is stored where not all have read");
        blocks_[block].fresh.push_back({static_cast<int>(h_at(shape, 0, buffer, row, unit)), bits});
    }
    void publish(int block, unsigned value) {
        Block& b = blocks_[block];
        b.flag_pending = true, b.flag = value;
        b.covered.insert(b.covered.end(), b.settled.begin(), b.settled.end());
        b.settled.clear();
    }
    std::uint16_t seen(int block, int buffer, int row, int k) const {
        return blocks_[block].seen[h_at(shape, 0, buffer, row, k)];
    }
    // A block has done step t: it reads that buffer no more.
    void was_read(int block, Index t) {
        blocks_[block].reads = t + 1;
        for (const Block& other : blocks_)
            if (other.reads <= t) return;
        std::uint16_t* const h = memory() + buffer_of(t) * buffer_size();
        for (int row = 0; row < shape.rows(); ++row)
            for (int unit = 0; unit < shape.hidden; ++unit) h[row * shape.row() + unit] = kNoHalf;
    }
    void has_begun(int block) { blocks_[block].reads = 0; }
    // Something that is on its way arrives; false: nothing is.
    bool deliver() {
        const std::size_t first = any(blocks_.size());
        for (std::size_t i = 0; i < blocks_.size(); ++i) {
            Block& b = blocks_[(first + i) % blocks_.size()];
            if (b.flag_pending) {
                for (const Store& store : b.covered) memory()[store.at] = store.bits;
                b.covered.clear();
                call.flags[tile_ * shape.blocks + static_cast<Index>((first + i) % blocks_.size())] = b.flag;
                b.flag_pending = false;
                return true;
            }
        }
        return false;
    }

private:
    struct Store {
        int at;
        std::uint16_t bits;
    };
    struct Block {
        std::vector<std::uint16_t> seen, acquired;
        std::vector<Store> fresh, settled, covered;
        bool flag_pending = false;
        unsigned flag = 0;
        Index reads = -1;  // steps; -1: has not begun
    };
    // How many steps all must have done before a block may store into a buffer.
    Index writes_of(int block, int buffer) const {
        const Index now = blocks_[block].reads;  // in step `now` it writes for now + 1 what step now - 1 has read
        return buffer == buffer_of(now + 1) ? now : now + 1;
    }
    std::mt19937 random_;
    std::vector<Block> blocks_;
    Index tile_ = 0;
};

struct EmulatedGridMachine {
    template <class V>
    using Own = LaneValue<V, kGridThreads>;
    template <int count>
    using Values = LaneValues<count, kGridThreads>;
    static constexpr int kHeld = kMostHeld, kGroups = kMostGroups, kValues = kMostValues;
    const Grid& shape() const { return team->shape; }

    EmulatedTeam* team;
    int block;
    struct Shared {
        std::vector<unsigned> weights;
        std::vector<float> sums, put;  // put: since the last barrier
    };
    std::unique_ptr<Shared> shared;

    EmulatedGridMachine(EmulatedTeam& of, int number) : team(&of), block(number), shared(new Shared) {
        const auto nan = std::numeric_limits<float>::quiet_NaN();
        shared->weights.assign(of.shape.kept_words(), 0xffffffffU);
        shared->sums.assign(of.shape.sums(), nan), shared->put = shared->sums;
    }

    template <class Use>
    void threads(Use use) const {
        const int first = static_cast<int>(team->any(kGridThreads));
        for (int i = 0; i < kGridThreads; ++i) use((first + i) % kGridThreads);
    }
    void barrier() const {
        team->barrier(block);
        shared->sums.swap(shared->put);
        shared->put.assign(shape().sums(), std::numeric_limits<float>::quiet_NaN());
    }
    void wait(Index tile, unsigned value) const {
        if (!team->reached(tile, value)) grid_fault("a step begins before what it waits for");
        team->acquire(block);
    }
    void publish(Index, unsigned value) const { team->publish(block, value); }
    void load(Own<unsigned> (&b)[4], Index, int buffer, int group, int pair) const {
        for (int thread = 0; thread < kGridThreads; ++thread)
            for (int word = 0; word < 4; ++word) {
                const int lane = thread % 32, row = group * kGroup + lane / 4;
                const int k = load_k(shape(), thread / 32, lane, pair) + 2 * word;
                b[word][thread] = team->seen(block, buffer, row, k) |
                                  static_cast<unsigned>(team->seen(block, buffer, row, k + 1)) << 16;
            }
    }
    void store(Index, int buffer, int row, int unit, std::uint16_t bits) const {
        team->store(block, buffer, row, unit, bits);
    }
    void keep(int thread, int pair, int word, unsigned bits) const {
        shared->weights[(pair * kGridThreads + thread) * kPairWords + word] = bits;
    }
    void kept(Own<unsigned> (&a)[kPairWords], int pair) const {
        for (int thread = 0; thread < kGridThreads; ++thread)
            for (int word = 0; word < kPairWords; ++word)
                a[word][thread] = shared->weights[(pair * kGridThreads + thread) * kPairWords + word];
    }
    void put_sum(int at, float value) const { shared->put[at] = value; }
    float sum(int at) const { return shared->sums[at]; }

    template <class Stored>
    void multiply(Own<float> (&sum)[4], const Own<unsigned>& a0, const Own<unsigned>& a1, const Own<unsigned>& a2,
                  const Own<unsigned>& a3, const Own<unsigned>& b0, const Own<unsigned>& b1) const {
        for (int first = 0; first < kGridThreads; first += kLanes)
            multiply_halves<Stored>(sum, {&a0, &a1, &a2, &a3}, b0, b1, first);
    }
};

// A call, team by team.
template <class Maths, class Stored>
void run_emulated_grid(const Grid& shape, const GridCall& call, unsigned seed) {
    using Block = GridBlock<Maths, Stored, EmulatedGridMachine>;
    struct Runner {
        EmulatedGridMachine machine;
        std::unique_ptr<Block> block;
        Index t = 0;
    };
    for (int number = 0; number < shape.teams; ++number) {
        EmulatedTeam team(call, shape, seed + static_cast<unsigned>(number));
        std::vector<std::unique_ptr<Runner>> runners;
        for (int block = 0; block < shape.blocks; ++block) {
            runners.push_back(std::make_unique<Runner>(Runner{{team, block}, nullptr}));
            runners.back()->block = std::make_unique<Block>(runners.back()->machine, call.call);
        }
        for (Index tile = number; tile < call.tiles; tile += shape.teams) {
            team.begin(tile);
            std::vector<Runner*> at_work;
            for (const auto& runner : runners) {
                runner->t = -1;
                at_work.push_back(runner.get());
            }
            const auto turn = [&](Runner& runner) {
                if (runner.t < 0) {
                    runner.block->begin(tile);
                    team.has_begun(runner.machine.block);
                    runner.t = 0;
                } else if (runner.t == call.call.steps) {
                    runner.block->end();
                    return Turn::ended;
                } else if (team.reached(tile, flag_of(runner.t))) {
                    runner.block->step(runner.t);
                    team.was_read(runner.machine.block, runner.t);
                    ++runner.t;
                } else {
                    return Turn::waits;
                }
                return Turn::went_on;
            };
            if (!take_turns(
                    at_work, [&](std::size_t below) { return team.any(below); }, [&] { return team.deliver(); }, turn))
                grid_fault("all wait for ever");
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
