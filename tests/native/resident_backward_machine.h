// A resident backward on the host (csrc/cuda/resident/backward_warp.h): the warps of a cluster in a random order, parts
// that come in any order, and steps that each warp takes as far as what it waits for has come. What a GPU would get
// away with most of the time is found here at once: a buffer that is written before all have read it, numbers that are
// read before they have come (they are NaN until then), bytes that are too many or too few, warps that wait for ever.
#pragma once

#include "cuda/resident/backward_kernel.h"
#include "resident_machine.h"

namespace rnnkernels::RNNKERNELS_TARGET {

// The blocks of a cluster, and what is on its way between them.
class EmulatedBackwardCluster {
public:
    // `exchanges`: of a step.
    EmulatedBackwardCluster(const ResidentBackward& shape, int exchanges, unsigned seed)
        : shape(shape), exchanges_(exchanges), random_(seed), blocks_(shape.of.blocks) {
        for (Block& block : blocks_)
            for (int buffer = 0; buffer < 2; ++buffer) {
                block.parts[buffer].number.assign(shape.sections() * shape.parts(), kNan);
                block.parts[buffer].missing = bytes_in(buffer);
                block.gradients[buffer].number.assign(shape.buffer(), nan());
            }
    }

    const ResidentBackward shape;

    unsigned any(std::size_t below) { return static_cast<unsigned>(random_() % below); }

    // ---- gate gradients of a block

    void put(int block, int buffer, int row, int column, std::uint32_t bits) {
        Gradients& to = blocks_[block].gradients[buffer];
        if (!to.free) resident_fault("a gate gradient is put into a buffer that was not read yet");
        if (column >= shape.numbers() || row >= shape.of.cluster_rows()) resident_fault("a gate gradient has no place");
        to.number[row * shape.row() + column] = bits;
    }
    void arrive(int block) {
        Block& of = blocks_[block];
        if (++of.arrived < shape.of.warps) return;
        of.arrived = 0;
        of.gradients[of.phase++ & 1].free = false;
    }
    bool gradients_have_come(int block, Index e) const {
        const Index phase = blocks_[block].phase;
        return (phase & 1) != gradients_parity(e) && phase > e;
    }
    // A number of any operands is a word.
    const std::uint32_t* gradients(int block, int buffer) const {
        return blocks_[block].gradients[buffer].number.data();
    }
    void gradients_were_read(int block, int buffer) {
        Gradients& of = blocks_[block].gradients[buffer];
        if (++of.reads < shape.of.warps) return;
        of.reads = 0, of.free = true;
        of.number.assign(of.number.size(), nan());
    }

    // ---- parts that come to it

    bool parts_have_come(int block, Index e) const {
        const Parts& of = blocks_[block].parts[backward_buffer(e)];
        return !waits_for(e) || ((of.phase & 1) != parity_of(e) && of.phase > (e - 1) / 2);
    }
    float part(int block, int buffer, int place) const { return blocks_[block].parts[buffer].number.at(place); }
    void parts_were_read(int block, int buffer) {
        Parts& of = blocks_[block].parts[buffer];
        if (++of.reads < shape.of.warps) return;
        of.reads = 0, of.free = true;
        of.number.assign(of.number.size(), kNan);
    }
    void send(int block, int buffer, int place, std::vector<float> numbers) {
        flying_.push_back({block, buffer, place, std::move(numbers)});
    }
    bool flying() const { return !flying_.empty(); }
    void deliver() {
        const std::size_t which = any(flying_.size());
        const Message message = flying_[which];
        flying_[which] = flying_.back();
        flying_.pop_back();
        Parts& to = blocks_[message.block].parts[message.buffer];
        if (!to.free && to.missing == bytes_in(message.buffer))
            resident_fault("a part is sent to a buffer that was not read yet");
        const int size = static_cast<int>(message.number.size());
        if (message.place % size != 0 || message.place + size > shape.sections() * shape.parts())
            resident_fault("a part has no place");
        to.free = false;
        for (int i = 0; i < size; ++i) to.number[message.place + i] = message.number[i];
        to.missing -= 4 * size;
        if (to.missing > 0) return;
        ++to.phase;
        to.missing = bytes_in(message.buffer);
    }

private:
    int bytes_in(int buffer) const { return cuda::bytes_in(shape, exchanges_, buffer); }
    static constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    std::uint32_t nan() const { return shape.of.operands == Operands::halves ? 0x7fff : 0x7fffffff; }
    struct Parts {
        std::vector<float> number;
        int missing = 0, reads = 0;
        Index phase = 0;
        bool free = true;
    };
    struct Gradients {
        std::vector<std::uint32_t> number;
        int reads = 0;
        bool free = true;
    };
    struct Block {
        Parts parts[2];
        Gradients gradients[2];
        int arrived = 0;
        Index phase = 0;
    };
    struct Message {
        int block, buffer, place;
        std::vector<float> number;
    };
    const int exchanges_;
    std::mt19937 random_;
    std::vector<Block> blocks_;
    std::vector<Message> flying_;
};

struct EmulatedBackwardMachine {
    template <class V>
    using Own = OwnValue<V>;
    template <int count>
    using Values = OwnValues<count>;
    static constexpr int kTiles = 5, kDepth = 32, kGroups = kMostGroups, kLaneUnits = 4;
    const ResidentBackward& shape() const { return cluster.shape; }

    EmulatedBackwardCluster& cluster;
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
    void put(int, int buffer, int row, int column, std::uint32_t bits) const {
        cluster.put(block, buffer, row, column, bits);
    }
    void arrive() const { cluster.arrive(block); }
    void load(OwnValue<unsigned> (&b)[4], int buffer, int group, int k) const {
        const bool halves = shape().of.operands == Operands::halves;
        for (int matrix = 0; matrix < 4; ++matrix)
            for (int lane = 0; lane < kLanes; ++lane) {
                const std::uint32_t* const row =
                    cluster.gradients(block, buffer) + (group * kGroup + lane / 4) * shape().row();
                const std::uint32_t* const pair = row + k * kTileDepth + 8 * matrix + 2 * (lane % 4);
                b[matrix][lane] = halves ? pair[0] | pair[1] << 16 : row[k * 8 + 4 * matrix + lane % 4];
            }
    }
    void load_numbers(int, int buffer, int row, int column, float (&to)[4]) const {
        if (column % 4 != 0) resident_fault("four numbers are loaded off their place");
        const std::uint32_t* const du = cluster.gradients(block, buffer) + row * shape().row() + column;
        for (int i = 0; i < 4; ++i) to[i] = Full::number(du[i]);
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
        if constexpr (is_half<Stored>)
            multiply_halves<Stored>(sum, a, b0, b1);
        else
            multiply_rounded(sum, a, b0, b1);
    }
    void send_part(int, int peer, int buffer, int place, float a, float b) const {
        cluster.send(peer, buffer, place, {a, b});
    }
    void send_parts(int, int peer, int buffer, int place, const float (&of)[4]) const {
        cluster.send(peer, buffer, place, {of[0], of[1], of[2], of[3]});
    }
    float take_part(int, int buffer, int place) const { return cluster.part(block, buffer, place); }
};

// A cluster's part of a call.
template <class Maths, class Stored>
void run_emulated_backward_cluster(const ResidentBackward& shape, const ResidentBackwardCall& call, Index tile,
                                   unsigned seed) {
    using Warp = BackwardWarpOf<Maths, Stored, EmulatedBackwardMachine>;
    const Index exchanges = Maths::exchanges * call.steps;
    enum class Next { sum, step, multiply };
    struct Runner {
        EmulatedBackwardMachine machine;
        std::unique_ptr<Warp> warp;
        Index e = 0;
        Next next = Next::sum;
    };
    EmulatedBackwardCluster cluster(shape, Maths::exchanges, seed);
    std::vector<std::unique_ptr<Runner>> runners;
    std::vector<Runner*> at_work;
    for (int i = 0; i < shape.of.blocks * shape.of.warps; ++i) {
        runners.push_back(std::make_unique<Runner>(Runner{{cluster, i / shape.of.warps, i % shape.of.warps}, nullptr}));
        runners.back()->warp = std::make_unique<Warp>(runners.back()->machine, call, tile);
        at_work.push_back(runners.back().get());
    }
    // What backward_kernel.h does with a warp, as far as it comes; false: it waits.
    const auto go_on = [&](Runner& of) {
        const int block = of.machine.block, buffer = backward_buffer(of.e);
        if (of.next == Next::sum) {
            if (!cluster.parts_have_come(block, of.e)) return false;
            if (waits_for(of.e)) of.warp->sum(buffer), cluster.parts_were_read(block, buffer);
            of.next = Next::step;
        } else if (of.next == Next::step) {
            of.warp->step(exchanges - 1 - of.e, buffer);
            of.next = Next::multiply;
        } else {
            if (!cluster.gradients_have_come(block, of.e)) return false;
            of.warp->multiply(buffer, backward_buffer(of.e + 1));
            cluster.gradients_were_read(block, buffer);
            ++of.e, of.next = Next::sum;
        }
        return true;
    };
    // A few that run ahead as far as they may, rather than all in step: which ones changes now and then.
    for (std::size_t idle = 0; !at_work.empty();) {
        if (cluster.flying() && (cluster.any(3) == 0 || idle > 4 * at_work.size())) cluster.deliver(), idle = 0;
        const std::size_t which = cluster.any(2) ? at_work.size() - 1 : cluster.any(at_work.size());
        Runner& runner = *at_work[which];
        if (runner.e == exchanges && runner.next == Next::step) {
            runner.warp->end();
            at_work.erase(at_work.begin() + static_cast<std::ptrdiff_t>(which));
        } else if (go_on(runner)) {
            idle = 0;
        } else {
            std::swap(at_work[which], at_work[cluster.any(at_work.size())]);
            if (++idle > 64 * at_work.size() && !cluster.flying()) resident_fault("all wait for ever");
        }
    }
}

template <class Maths, class Stored>
void run_emulated_backward(const ResidentBackward& shape, const ResidentBackwardCall& call, unsigned seed) {
    const Index rows = shape.of.cluster_rows();
    for (Index tile = 0; tile * rows < call.batch; ++tile)
        run_emulated_backward_cluster<Maths, Stored>(shape, call, tile, seed + static_cast<unsigned>(tile));
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
