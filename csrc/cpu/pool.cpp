// The pool of pool.h. Compiled once, for the baseline instruction set.
#include "pool.h"

#include <chrono>
#include <system_error>
#include <thread>

namespace rnnkernels::cpu {

bool Pool::run(int threads, Prepare prepare, Task task, void* context, Watch& watch) {
    const Turn turn(in_use_);
    if (!turn.mine() || crew_.has_break()) return false;
    threads = start_workers(threads - 1) + 1;
    if (threads == 1) return false;
    prepare(context, threads);
    stress_point();
    call_workers(threads, task, context, watch);
    crew_.lead();
    return true;
}

bool Pool::run_together(int jobs, Job job, void* context) {
    const Turn turn(in_use_);
    if (!turn.mine() || lent_ || start_workers(jobs - 1) < jobs - 1) return false;
    struct Jobs {
        Job job;
        void* context;
        std::atomic<int> left;  // beside the caller's
    } of_call{job, context, {jobs - 1}};
    // Every worker that is called comes, sooner or later, and does its own job: the door stays open until then.
    const Task one = [](void* all, Member& member) {
        auto& [run_job, of_jobs, left] = *static_cast<Jobs*>(all);
        run_job(of_jobs, member.number);
        left.fetch_sub(1, std::memory_order_release);
    };
    call_workers(jobs, one, &of_call, *unwatched());
    job(context, 0);
    for (long long spins = 0; of_call.left.load(std::memory_order_acquire) > 0; ++spins) relax(spins);
    crew_.close();
    return true;
}

// How many workers stand ready, up to `wanted`.
int Pool::start_workers(int wanted) {
    while (!lent_ && workers_ < wanted) {
        try {
            std::thread(&Pool::work, this, workers_ + 1, signal_.load()).detach();
        } catch (const std::system_error&) {
            break;  // the system refuses more threads: go on with those there are
        }
        ++workers_;
    }
    return workers_ < wanted ? workers_ : wanted;
}

void Pool::lend(int thread) {
    here_.fetch_add(1, std::memory_order_relaxed);
    work(thread, 0);  // a call that is under way is joined
    here_.fetch_sub(1, std::memory_order_release);
}

void Pool::end() {
    send(kEnd);
    for (long long spins = 0; here_.load(std::memory_order_acquire) > 0; ++spins) relax(spins);
}

// A worker's life. The number of participants travels in the signal: a worker that is not needed must not join.
void Pool::work(int thread, std::uint64_t seen) {
    for (;;) {
        seen = wait_for_signal(seen);
        stress_point();
        if (seen == kEnd) return;
        if (thread < static_cast<int>(seen & 0xffff)) crew_.serve(static_cast<std::uint32_t>(seen >> 16), thread);
    }
}

void Pool::call_workers(int threads, Task task, void* context, Watch& watch) {
    const std::uint64_t call = crew_.open(task, context, watch);
    send(call << 16 | static_cast<std::uint64_t>(threads));
}

void Pool::send(std::uint64_t signal) {
    signal_.store(signal, std::memory_order_seq_cst);
    // Either we see the sleeper or it sees the signal. The order of the two is sequentially consistent as it
    // stands; qemu lets a 64-bit ARM's store-release pass a later load-acquire on x86, and a worker slept for ever.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    stress_point();
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
        const std::lock_guard<std::mutex> lock(sleep_);
        wake_.notify_all();
    }
}

// Spins a little for the next call (its dispatch then costs about 1 us), then sleeps.
std::uint64_t Pool::wait_for_signal(std::uint64_t seen) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
    do {
        for (int i = 0; i < 64; ++i) {
            const std::uint64_t signal = signal_.load(std::memory_order_acquire);
            if (signal != seen) return signal;
            relax(i);
        }
    } while (std::chrono::steady_clock::now() < until);
    stress_point();
    std::unique_lock<std::mutex> lock(sleep_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    stress_point();
    wake_.wait(lock, [&] { return signal_.load(std::memory_order_seq_cst) != seen; });
    sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    return signal_.load(std::memory_order_seq_cst);
}

}  // namespace rnnkernels::cpu
