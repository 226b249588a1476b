// A pool: our own threads, which it starts when they are wanted first, or somebody else's, who lends them for a while.
// They spin a little for the next call, then sleep.
#pragma once

#include <condition_variable>
#include <mutex>

#include "crew.h"

namespace rnnkernels::cpu {

class Pool {
public:
    Pool() = default;
    // Of threads that are lent to it (lend), `workers` at most. It starts none.
    explicit Pool(int workers) : lent_(true), workers_(workers) {}

    // Runs a call; false, having done nothing, where another caller holds the pool, no worker can be started, or calls
    // should go alone for the time being.
    bool run(int threads, Prepare prepare, Task task, void* context, Watch& watch);
    // run_together of threads.h.
    bool run_together(int jobs, Job job, void* context);

    // The calling thread is worker number `thread`, from 1 on, until the pool's end.
    void lend(int thread);
    // Gives all threads back, and waits for those that are here. No call is under way.
    void end();

private:
    int start_workers(int wanted);
    void work(int thread, std::uint64_t seen);
    void send(std::uint64_t signal);
    void call_workers(int threads, Task task, void* context, Watch& watch);
    std::uint64_t wait_for_signal(std::uint64_t seen);

    // A signal that is no call.
    static constexpr std::uint64_t kEnd = ~std::uint64_t{0};

    const bool lent_ = false;
    std::atomic<int> here_{0};  // lent threads
    std::atomic<bool> in_use_{false};
    int workers_ = 0;
    Crew crew_;
    alignas(64) std::atomic<std::uint64_t> signal_{0};  // the call's number << 16 | its participants
    std::atomic<int> sleepers_{0};
    std::mutex sleep_;
    std::condition_variable wake_;
};

}  // namespace rnnkernels::cpu
