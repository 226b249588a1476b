// Readings of the gradient's flow: ||dL/d(a state after step t)|| of each row, over its units.
//
// The squares of a block of units are summed where the backward has them in registers; at a chunk's end the blocks of
// a row are added in ascending order, so that threads that divide the units change nothing.
#pragma once

#include "../math/functions.h"
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
        squares_ = workspace.take<T>(rows * most_ * states_);
    }

    // A state's gradient in one row of the chunk and one block, of whose units the first `valid` exist.
    RNNKERNELS_INLINE void note(Index row, Index block, int state, V dn, Index valid) const {
        const V d = first_lanes(dn, valid);
        squares_[(row * most_ + block) * states_ + state] = sum_of_lanes(d * d).first_lane();
    }
    // The readings of a chunk of `count` rows from row `begin` on, a thread's share of them.
    void write(const Rows& rows, Index begin, Index count, int thread, int threads, void* const* to) const {
        for (Index row = count * thread / threads; row < count * (thread + 1) / threads; ++row)
            for (int k = 0; k < states_; ++k) static_cast<T*>(to[k])[rows.place(begin + row)] = norm(row, k);
    }

private:
    T norm(Index row, int state) const {
        T sum = 0;
        for (Index block = 0; block < blocks_[state > 0]; ++block)
            sum += squares_[(row * most_ + block) * states_ + state];
        return square_root(sum);
    }

    int states_ = 0;
    Index blocks_[2] = {}, most_ = 0;
    T* squares_ = nullptr;  // (chunk*B, most blocks, states)
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
