// Where threads meet or part: a place for a stress test to hold one of them up. Nothing at all, unless CMake's
// RNNKERNELS_STRESS is on. Not here: what is tested by it (tests/native/stress_threads.cpp).
#pragma once

namespace rnnkernels::cpu {

#if defined(RNNKERNELS_STRESS)
// Sleeps up to 200 us, offers the processor to others or does nothing, at random. Orders no memory.
void stress_point();
#else
__attribute__((always_inline)) inline void stress_point() {}
#endif

}  // namespace rnnkernels::cpu
