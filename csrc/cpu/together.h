// Jobs that wait for each other: all at the same time, each on a thread of its own. Not here: the pool (threads.h).
#pragma once

#include "threads.h"

namespace rnnkernels::cpu {

// job(context, i) for every i in [0, jobs), 0 on the caller: on the pool's workers, or, while another call holds the
// pool, on spare threads, which sleep between two calls and are kept. False, and none has run, where the system refuses
// to start as many threads as are missing. Jobs throw nothing; only job 0 may count on the caller's denormal mode.
bool run_at_once(int jobs, Job job, void* context) noexcept;

// What the first run_at_once does once: it registers handlers of forks. For who holds up forks during a run_at_once: a
// C library may keep the list of handlers locked while one of them waits.
void prepare_run_at_once();

}  // namespace rnnkernels::cpu
