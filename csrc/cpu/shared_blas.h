// The work of NumPy's OpenBLAS on our threads, so that no others wait for it, spinning, on our processors.
//
// Its jobs run as they would on OpenBLAS' own threads: as many, cut alike, in the caller's rounding and denormal mode,
// so with the same bits. Where a call's threads cannot be had, OpenBLAS' own serve that call. A fork waits for the
// calls that are under way and holds up new ones: OpenBLAS takes its buffers back in a fork, also those in use. Nothing
// here throws through OpenBLAS' frames or knows Python.
#pragma once

#include <atomic>

#include "../backend_table.h"

namespace rnnkernels::cpu {

// The number-th OpenBLAS of this process; 0 looks for new ones, and behind the last one there is no path.
BlasInfo blas(int number);
void set_blas_threads(int number, int threads);

// Every OpenBLAS loaded now that can: on our threads from the next call on, or on its own ones again. One that hands
// its work to somebody else already keeps doing so. Calls under way end as they began.
void share_blas(bool share);

// Share in the first parallel call from now on, or do not: what has no say after a share_blas.
void share_blas_when_parallel(bool share);

extern std::atomic<bool> blas_is_due;
void share_due_blas() noexcept;
// Before a call that may use several threads.
inline void share_blas_if_due() noexcept {
    if (blas_is_due.load(std::memory_order_relaxed)) share_due_blas();
}

}  // namespace rnnkernels::cpu
