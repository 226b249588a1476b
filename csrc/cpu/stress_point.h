// Where threads meet or part: a place for a stress test to hold one of them up. Nothing at all, unless CMake's
// RNNKERNELS_STRESS is on. Not here: what is tested by it (tests/native/stress_threads.cpp).
#pragma once

namespace rnnkernels {
struct Watch;
}

namespace rnnkernels::cpu {

#if defined(RNNKERNELS_STRESS)
// Sleeps up to 200 us, offers the processor to others or does nothing, at random. Orders no memory.
void stress_point();
// The same in a thread that has claimed a piece of work, for which others wait; then what a test does there, or null.
void stress_piece(Watch* watch);
void do_in_pieces(void (*test)(Watch* of_the_call));
#else
__attribute__((always_inline)) inline void stress_point() {}
__attribute__((always_inline)) inline void stress_piece(Watch*) {}
inline void do_in_pieces(void (*)(Watch*)) {}
#endif

}  // namespace rnnkernels::cpu
