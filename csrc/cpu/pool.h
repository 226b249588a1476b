// Our own threads: a pool that starts them when they are wanted first. They spin a little for the next call, then
// sleep.
#pragma once

#include <condition_variable>
#include <mutex>

#include "crew.h"

namespace rnnkernels::cpu {

class Pool {
public:
    // Runs a call; false, having done nothing, where another caller holds the pool, no worker can be started, or calls
    // should go alone for the time being.
    bool run(int threads, Prepare prepare, Task task, void* context, Watch& watch);
    // run_together of threads.h.
    bool run_together(int jobs, Job job, void* context);

private:
    int start_workers(int wanted);
    void work(int thread, std::uint64_t seen);
    void call_workers(int threads, Task task, void* context, Watch& watch);
    std::uint64_t wait_for_signal(std::uint64_t seen);

    std::atomic<bool> in_use_{false};
    int workers_ = 0;
    Crew crew_;
    alignas(64) std::atomic<std::uint64_t> signal_{0};  // the call's number << 16 | its participants
    std::atomic<int> sleepers_{0};
    std::mutex sleep_;
    std::condition_variable wake_;
};

}  // namespace rnnkernels::cpu
