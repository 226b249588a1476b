// A random call of the backend's, and its answer on one thread, which every other way of making the call must give:
// bit for bit, with NaN in outputs and scratch before. Not here: the other ways (stress_threads.cpp).
#pragma once

#include <memory>
#include <string>

#include "problem.h"

namespace native {

class RandomCall {
public:
    RandomCall() = default;
    RandomCall(const RandomCall&) = delete;
    RandomCall& operator=(const RandomCall&) = delete;
    virtual ~RandomCall() = default;

    // Which one it is, in words.
    virtual std::string text() const = 0;
    // Make the call on one thread and keep what it gave. The backend's number of threads is left at one.
    virtual void answer() = 0;
    // Make the call as the backend is set, and fail() unless it gives the same; by as many threads at once as there
    // may be. `watch` may be null; Stopped passes.
    virtual void repeat(rnnkernels::Watch* watch) const = 0;
    // Whether the backend plans to divide it among `threads` threads.
    virtual bool divided(int threads) const = 0;
};

// One of any kind, cell, set, dtype and size, of about `most_work` multiply-adds at most.
std::unique_ptr<RandomCall> draw_call(Random& random, Index most_work);

// Uniform in [low, high], and true once in `count`.
inline Index between(Random& random, Index low, Index high) {
    return low + static_cast<Index>(random.next() % static_cast<std::uint32_t>(high - low + 1));
}
inline bool once_in(Random& random, std::uint32_t count) { return random.next() % count == 0; }

}  // namespace native
