// What emulated kernels of csrc/cuda/ share (resident_machine.h, grid_machine.h): values of every lane's own, products
// as the PTX manual has mma's fragments, and turns in a random order. Not here: memory, and what waits for what.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "cuda/storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

inline constexpr int kLanes = 32;

template <class V>
struct OwnValue {
    V value[kLanes];
    V& operator[](int lane) { return value[lane]; }
    const V& operator[](int lane) const { return value[lane]; }
};
template <int count>
struct OwnValues {
    Vec<float> value[kLanes][count > 0 ? count : 1];
    Vec<float>* of(int lane) { return value[lane]; }
    const Vec<float>* of(int lane) const { return value[lane]; }
};

// The products along k are added exactly, as far as a double goes, then to the sum.
template <int depth>
void add_products(OwnValue<float> (&sum)[4], const float (&weight)[16][depth], const float (&h)[depth][8]) {
    for (int lane = 0; lane < kLanes; ++lane)
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + (i / 2 ? 8 : 0), column = 2 * (lane % 4) + i % 2;
            double products = 0;
            for (int k = 0; k < depth; ++k) products += double{weight[row][k]} * h[k][column];
            sum[i][lane] = static_cast<float>(sum[i][lane] + products);
        }
}

// mma.m16n8k16 of halves.
template <class Stored>
void multiply_halves(OwnValue<float> (&sum)[4], const OwnValue<unsigned> (&a)[4], const OwnValue<unsigned>& b0,
                     const OwnValue<unsigned>& b1) {
    float weight[16][16], h[16][8];
    const auto low = [](unsigned pair) { return Stored::number(static_cast<std::uint16_t>(pair)); };
    const auto high = [](unsigned pair) { return Stored::number(static_cast<std::uint16_t>(pair >> 16)); };
    for (int lane = 0; lane < kLanes; ++lane) {
        const int g = lane / 4, t = lane % 4;
        for (int part = 0; part < 4; ++part) {
            const int row = g + (part % 2 ? 8 : 0), k = 2 * t + (part / 2 ? 8 : 0);
            weight[row][k] = low(a[part][lane]), weight[row][k + 1] = high(a[part][lane]);
        }
        h[2 * t][g] = low(b0[lane]), h[2 * t + 1][g] = high(b0[lane]);
        h[2 * t + 8][g] = low(b1[lane]), h[2 * t + 9][g] = high(b1[lane]);
    }
    add_products(sum, weight, h);
}

enum class Turn { went_on, waits, ended };

// Gives turns until all have ended; false: all wait for ever. A few run ahead as far as they may, rather than all in
// step: which ones changes now and then.
//
//   any(below)      a random number
//   deliver()       something that is on its way arrives; false: nothing is
//   turn(runner)    what came of it
template <class Runner, class Any, class Deliver, class TakeTurn>
bool take_turns(std::vector<Runner*> at_work, Any any, Deliver deliver, TakeTurn turn) {
    for (std::size_t idle = 0; !at_work.empty();) {
        if ((any(3) == 0 || idle > 4 * at_work.size()) && deliver()) idle = 0;
        const std::size_t which = any(2) ? at_work.size() - 1 : any(at_work.size());
        const Turn came = turn(*at_work[which]);
        if (came == Turn::ended) {
            at_work.erase(at_work.begin() + static_cast<std::ptrdiff_t>(which));
        } else if (came == Turn::went_on) {
            idle = 0;
        } else {
            std::swap(at_work[which], at_work[any(at_work.size())]);
            if (++idle > 64 * at_work.size() && !deliver()) return false;
        }
    }
    return true;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
