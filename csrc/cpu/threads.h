// The thread pool: one dispatch per call, a spinning barrier per step, asleep in between.
//
// Every participant runs with denormals flushed to zero (a denormal operand costs a hundredfold); the
// caller's setting is restored. A second caller while the pool is busy runs its call alone on its own
// thread: results do not depend on the number of threads, so only its speed does. After a fork the child
// starts a pool of its own.
#pragma once

namespace rnnkernels::cpu {

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

    void reset(int threads);
    void wait();
};

// How far one thread has come, for others to follow: a count that only grows. Plain memory: reset() makes it ready.
struct alignas(64) Progress {
    long long done;

    void reset();
    void publish(long long count);  // what was written before is seen by who waits for it
    void wait(long long count);
};

// task(context, thread) on 1 to `threads` threads, the caller being thread 0; returns when all have.
// prepare(context, threads) runs first, on the caller, when the number of threads is settled.
using Task = void (*)(void* context, int thread);
using Prepare = void (*)(void* context, int threads);
void run_parallel(int threads, Prepare prepare, Task task, void* context);

}  // namespace rnnkernels::cpu
