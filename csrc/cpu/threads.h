// The threads of a call: a pool, or a loaded OpenMP runtime's; who is in a call, and how they wait for each other.
//
// Work is claimed and not assigned (claims.h): a call needs no thread but its caller. Others join when they come,
// leave when there is nothing for them, and come back while the call runs; the caller takes over what nobody has begun.
// So a call beside other people's threads, which may hold a processor for milliseconds, never waits for a thread that
// has no processor, but for the one piece that such a thread has begun.
//
// Every participant runs with denormals flushed to zero (a denormal operand costs a hundredfold); the caller's setting
// is restored. A second caller while the pool is busy runs its call alone on its own thread: results do not depend on
// the number of threads, so only its speed does. After a fork the child starts a pool of its own.
//
// A call may be watched (recurrence/watch.h): then its threads look at the watch where they meet, and where `look`
// says.
#pragma once

#include "../recurrence/watch.h"
#include "stress_point.h"

namespace rnnkernels::cpu {

// What calls have that nothing stops.
Watch* unwatched();

// What a raised flag asks for; throws Stopped where the call is to end.
void heed(Watch& watch);

// Between pieces of work. Always inlined: this header is also compiled per instruction set.
__attribute__((always_inline)) inline void look(Watch* watch) {
    stress_point();
    if (__atomic_load_n(&watch->flag, __ATOMIC_RELAXED) != Watch::kRun) [[unlikely]]
        heed(*watch);
}

// Run calls on the threads of an OpenMP runtime that this process has loaded (its soname, as libgomp.so.1), or on the
// pool's own again (null); false where there is none of that name. Idle threads of OpenMP spin for milliseconds: a
// program that takes turns between such a library and this one would find a processor taken with every turn.
bool share_openmp(const char* library);

// That with the runtime of PyTorch, and no call gets more threads than PyTorch would use; false where PyTorch is not
// loaded. Calls look for it themselves, so that it need not have been loaded before the first.
bool join_torch();

// Threads that somebody lends for calls of one of their own: up to `workers` beside it. Those who lend theirs are in
// lend(thread), thread from 1 on, until end, which waits for them. Calls of a thread that has said use_lent run on
// these alone; null: on the usual ones.
class Pool;
Pool* borrow(int workers);
void lend(Pool& pool, int thread);
void end_lending(Pool& pool);  // by a process that is a child of the borrower's: nobody is waited for
void give_up(Pool* pool);
void use_lent(Pool* pool);

class Crew;

// A thread in a call, where it stands in the call's phases.
struct Member {
    int number;  // 0: the caller
    Watch* watch;
    Crew* crew = nullptr;       // of the call; null: its only thread
    long long* beat = nullptr;  // where the caller of a crew says that it goes on
    long long phase = 0;        // the last that it has entered, from 1 on; the same for all threads at the same place
};

// A wait of a member for others: what it has waited so far. `patience`: the turns after which it may take over work of
// a member that is there.
struct Wait {
    long long patience;
    long long turns = 0;
    long long begin = 0;  // when it became long, in nanoseconds
};
// Others' work is taken over after some 3 us: what one core writes another one sees after 0.3 us (measured, two cores
// of a Zen 4), so whoever is at work would have come by then. Where pieces are small (a step of one piece for each
// thread) by who has none itself only after some 60 us.
inline constexpr long long kPatience = 100, kLongPatience = 2000;

// A member has nothing to do: the next turn of its wait. A member that is not the caller, and has waited long, is
// thrown out of the call, to come back when something has happened there; it holds no work that others could wait for.
// Throws Stopped where the call is to end.
void wait_turn(Member& member, Wait& wait);
// The wait is over. A caller whose waits cost more than its threads give goes on alone.
void end_wait(Member& member, Wait& wait);
// Whether a thread is in the call.
bool is_there(const Member& member, int thread);

// task(context, member) on the caller and on up to `threads` - 1 others, as many as a call gets at most
// (thread_limits.h), the caller being number 0; returns, or throws
// Stopped, when the caller's has ended and no other thread is in the call. prepare(context, threads) runs first, on the
// caller, when the number of threads is settled.
using Task = void (*)(void* context, Member& member);
using Prepare = void (*)(void* context, int threads);
void run_parallel(int threads, Prepare prepare, Task task, void* context, Watch* watch = unwatched());

using Job = void (*)(void* context, int number);
// job(context, i) for every i in [0, jobs), all at the same time: 0 on the caller, each other one on a worker of its
// own, so that they may wait for each other. False, and none has run, when another caller holds the pool or the system
// refuses to start as many workers. Jobs throw nothing; only job 0 may count on the caller's denormal mode.
bool run_together(int jobs, Job job, void* context);

}  // namespace rnnkernels::cpu
