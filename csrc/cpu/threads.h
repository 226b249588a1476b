// The thread pool: one dispatch per call, a spinning barrier per step, asleep in between.
//
// Every participant runs with denormals flushed to zero (a denormal operand costs a hundredfold); the
// caller's setting is restored. A second caller while the pool is busy runs its call alone on its own
// thread: results do not depend on the number of threads, so only its speed does. After a fork the child
// starts a pool of its own.
//
// A call may be watched (recurrence/watch.h): then its threads look at the watch where they meet, and where `look`
// says.
#pragma once

#include "../recurrence/watch.h"

namespace rnnkernels::cpu {

// What calls have that nothing stops.
Watch* unwatched();

// What a raised flag asks for; throws Stopped where the call is to end.
void heed(Watch& watch);

// Between pieces of work. Always inlined: this header is also compiled per instruction set.
__attribute__((always_inline)) inline void look(Watch* watch) {
    if (__atomic_load_n(&watch->flag, __ATOMIC_RELAXED) != Watch::kRun) [[unlikely]]
        heed(*watch);
}

int num_threads();
void set_num_threads(int threads);

// Run calls on the threads of an OpenMP runtime that this process has loaded (its soname, as libgomp.so.1), or on the
// pool's own again (null); false where there is none of that name. Idle threads of OpenMP spin for milliseconds: a
// program that takes turns between such a library and this one would find a processor taken with every turn.
bool share_openmp(const char* library);

// Meeting point of a few threads, usable again at once. Plain memory: reset() makes it ready.
struct alignas(64) Barrier {
    int size;
    int waiting;
    unsigned generation;
    Watch* watch;

    void reset(int threads, Watch* of_call);
    void wait();
};

// How far one thread has come, for others to follow: a count that only grows. Plain memory: reset() makes it ready.
struct alignas(64) Progress {
    long long done;

    void reset();
    void publish(long long count);  // what was written before is seen by who waits for it
    void wait(long long count, Watch* watch);
};

// task(context, thread) on 1 to `threads` threads, the caller being thread 0; returns, or throws Stopped, when all
// have. prepare(context, threads) runs first, on the caller, when the number of threads is settled.
using Task = void (*)(void* context, int thread);
using Prepare = void (*)(void* context, int threads);
void run_parallel(int threads, Prepare prepare, Task task, void* context, Watch* watch = unwatched());

// job(context, i) for every i in [0, jobs), all at the same time: 0 on the caller, each other one on a worker of its
// own, so that they may wait for each other. False, and none has run, when another caller holds the pool or the system
// refuses to start as many workers. Jobs throw nothing; only job 0 may count on the caller's denormal mode.
bool run_together(int jobs, Task job, void* context);

}  // namespace rnnkernels::cpu
