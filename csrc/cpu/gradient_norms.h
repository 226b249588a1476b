// Readings of the gradient's flow: ||dL/d(a state after step t)|| of each row, over its units.
//
// The squares of a block of units are summed where the backward has them in registers; at a chunk's end the blocks of
// a row are added in ascending order, so that threads that divide the units change nothing. A vanishing gradient's
// squares vanish long before it does: there are three sums of each (recurrence/norm.h).
#pragma once

#include "../recurrence/norm.h"
#include "../recurrence/rows.h"
#include "workspace.h"

namespace rnnkernels::RNNKERNELS_TARGET {

template <class T>
class GradientNorms {
public:
    using V = Vec<T>;

    // Blocks of h, and of the other states.
    void take(cpu::Workspace& workspace, int states, Index rows, Index h_blocks, Index blocks) {
        states_ = states;
        blocks_[0] = h_blocks, blocks_[1] = blocks;
        most_ = h_blocks > blocks ? h_blocks : blocks;
        sums_ = workspace.take<Sums>(rows * most_ * states_);
    }

    // A state's gradient in one row of the chunk and one block, of whose units the first `valid` exist.
    RNNKERNELS_INLINE void note(Index row, Index block, int state, V dn, Index valid) const {
        using S = NormScale<T>;
        const V d = first_lanes(dn, valid), raised = d * V(S::up), lowered = d * V(S::down);
        sums_[(row * most_ + block) * states_ + state] = {sum_of_lanes(d * d).first_lane(),
                                                          sum_of_lanes(raised * raised).first_lane(),
                                                          sum_of_lanes(lowered * lowered).first_lane()};
    }
    // The readings of a chunk of `count` rows from row `begin` on, a thread's share of them.
    void write(const Rows& rows, Index begin, Index count, int thread, int threads, void* const* to) const {
        for (Index row = count * thread / threads; row < count * (thread + 1) / threads; ++row)
            for (int k = 0; k < states_; ++k) static_cast<T*>(to[k])[rows.place(begin + row)] = norm(row, k);
    }

private:
    struct Sums {
        T plain, raised, lowered;
    };

    T norm(Index row, int state) const {
        Sums all{};
        for (Index block = 0; block < blocks_[state > 0]; ++block) {
            const Sums& of_block = sums_[(row * most_ + block) * states_ + state];
            all.plain += of_block.plain, all.raised += of_block.raised, all.lowered += of_block.lowered;
        }
        return norm_of_sums(all.plain, all.raised, all.lowered);
    }

    int states_ = 0;
    Index blocks_[2] = {}, most_ = 0;
    Sums* sums_ = nullptr;  // (chunk*B, most blocks, states)
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
