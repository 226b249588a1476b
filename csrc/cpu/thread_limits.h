// How many threads a call gets: the least of what was set, what bounds the process, what another library says, and the
// processors that the calling thread may run on. Not here: the threads themselves (threads.h), and where the process's
// bounds are read (python/rnnkernels/_threads.py).
#pragma once

namespace rnnkernels::cpu {

// What was set for calls, 1 at first; 0: nothing.
void set_num_threads(int threads);

// What environment and quota leave to this process.
void bound_threads(int threads);

// From now on a function of a loaded library, int (), is asked on the calling thread in each call that can use several
// threads, and in forked children too: a call gets no more threads than it says. False, and nothing is changed, where
// there is no such library or function.
bool ask_threads(const char* library, const char* function);

// Calls get as many threads as were set, whatever bounds them, and keep them, whatever waits they cost: for tests of
// many threads on few processors.
void set_oversubscribed(bool oversubscribed);
bool oversubscribed();

// The most threads that a call may plan for: what was set, within the process's bound. Asks nobody.
int most_threads();

// How many of `wanted` threads a call of the calling thread gets now, itself included. Costs a call of the system: for
// calls that can use several.
int threads_for_call(int wanted);

}  // namespace rnnkernels::cpu
