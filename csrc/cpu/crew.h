// Who is in a call: its caller, and threads that join, leave and come back while it runs.
//
// A crew is memory that outlives calls, one for each source of threads (pool.h, openmp_team.h), and serves one call
// after the other. What belongs to a call, its claims for one, may only be touched by a thread that has joined: the
// caller returns when nobody is in the call any more. Nobody waits in there for long, but for work that somebody else
// holds: who finds nothing to do leaves.
// Not here: what is done in a call (claims.h).
#pragma once

#include <atomic>
#include <cstdint>

#include "threads.h"

namespace rnnkernels::cpu {

// More than a process may ask for (python/rnnkernels/_runtime.py).
inline constexpr int kMostThreads = 1024;

// One turn of a waiting loop, its `spins`-th. After some 30 us the core is offered to others: whoever we wait for may
// need it (more threads than cores; another process).
void relax(long long spins);

// The processor this thread runs on, -1 where the system does not say.
int current_processor();

// Who this thread is: an address that no other has.
const void* this_thread();

// One caller at a time; a second one goes its own way. No mutex: the second may be the first one's own thread, in a
// handler of a signal that it was told of in its call.
class Turn {
public:
    explicit Turn(std::atomic<bool>& taken) : taken_(taken), mine_(!taken.exchange(true, std::memory_order_acquire)) {}
    ~Turn() {
        if (mine_) taken_.store(false, std::memory_order_release);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    bool mine() const { return mine_; }

private:
    std::atomic<bool>& taken_;
    bool mine_;
};

class Crew {
public:
    // Whether calls should go alone for the time being: the last ones lost by their meetings.
    bool has_break() const;
    // Opens a call, for threads 1 to threads - 1; its number.
    std::uint32_t open(Task task, void* context, Watch& watch);
    // The caller's own part of the open call, and its end. Throws Stopped where it was stopped.
    void lead();
    // Its end: nobody is in the call any more. Whether nobody has stopped it.
    bool close();
    // Another thread's part: it joins while there is something to do. Returns at once where the call is over.
    void serve(std::uint32_t call, int thread);

    // For those who are in the call (threads.h).
    bool is_there(int thread) const { return there_[thread].load(std::memory_order_acquire); }
    void turn(Member& member, Wait& wait);
    void end_wait(const Member& member, const Wait& wait);

private:
    enum class Outcome { finished, left, stopped };
    // The door: the call's number << 32, whether it is closed, how many are inside beside the caller.
    static constexpr std::uint64_t kClosed = 1u << 31, kInside = kClosed - 1;

    Outcome run(int thread);
    bool join(std::uint32_t call, int thread);
    bool worth_coming_back(std::uint32_t call, long long seen) const;
    void count_wait(const Wait& wait, long long time);

    alignas(64) std::atomic<std::uint64_t> door_{kClosed};
    alignas(64) long long beat_ = 0;  // changes with every phase of the caller's
    alignas(64) std::atomic<bool> alone_{false};
    Task task_ = nullptr;
    void* context_ = nullptr;
    Watch* watch_ = nullptr;
    int processor_ = -1;  // the caller's
    // Of the caller's, in nanoseconds.
    long long begin_ = 0, waited_ = 0, break_ = 0, break_end_ = 0;
    alignas(64) std::atomic<bool> there_[kMostThreads]{};
};

}  // namespace rnnkernels::cpu
