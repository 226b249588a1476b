// The random sleeps of stress_point.h. Compiled with RNNKERNELS_STRESS alone.
#include "stress_point.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace rnnkernels::cpu {
namespace {

// A thread sleeps often for a while, or now and then, or it stays awake: threads that are all alike meet in the same
// order again and again.
class Sleeper {
public:
    void pass() {
        if (left_-- == 0) {
            left_ = 60;
            mood_ = static_cast<Mood>(below(4));
        }
        if (mood_ == sleepy ? below(8) == 0 : mood_ == steady && below(200) == 0)
            std::this_thread::sleep_for(std::chrono::microseconds(below(200)));
        else if (mood_ == yielding && below(4) == 0)
            std::this_thread::yield();
    }

private:
    enum Mood { awake, sleepy, steady, yielding };

    std::uint64_t below(std::uint64_t count) {
        state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
        return (state_ >> 33U) % count;
    }

    static inline std::atomic<std::uint64_t> threads{0};
    std::uint64_t state_ = threads.fetch_add(0x9e3779b97f4a7c15ULL, std::memory_order_relaxed);
    int left_ = 0;
    Mood mood_ = awake;
};

std::atomic<void (*)(Watch*)> in_pieces{nullptr};

}  // namespace

void stress_point() {
    static thread_local Sleeper sleeper;
    sleeper.pass();
}

void stress_piece(Watch* watch) {
    stress_point();
    if (void (*const test)(Watch*) = in_pieces.load(std::memory_order_relaxed)) test(watch);
}

void do_in_pieces(void (*test)(Watch*)) { in_pieces.store(test); }

}  // namespace rnnkernels::cpu
