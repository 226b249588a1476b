// The spare threads of together.h. Compiled once, for the baseline instruction set.
#include "together.h"

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace rnnkernels::cpu {
namespace {

class Spares {
public:
    // run_at_once on spare threads. Throws, and none has run, where a thread that is missing cannot be started.
    void run(int jobs, Job job, void* context) {
        Call call{job, context, {jobs - 1}};
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            while (idle_ < jobs - 1) start_one();  // before the first job begins: jobs wait for each other
            for (int i = 1; i < jobs; ++i) {
                Spare* const spare = first_;
                first_ = spare->next;
                --idle_;
                spare->number = i;
                spare->call = &call;
                spare->wake.notify_one();
            }
        }
        job(context, 0);
        while (call.running.load(std::memory_order_acquire) > 0) std::this_thread::yield();
    }

private:
    struct Call {
        Job job;
        void* context;
        std::atomic<int> running;  // beside the caller
    };
    struct Spare {
        Spare* next = nullptr;  // idle ones
        Call* call = nullptr;   // null: idle
        int number = 0;         // its job
        std::condition_variable wake{};
    };

    void start_one() {
        auto spare = std::make_unique<Spare>();
        std::thread(&Spares::serve, this, spare.get()).detach();
        rest(*spare.release());  // never ends
    }

    void rest(Spare& spare) {
        spare.next = first_;
        first_ = &spare;
        ++idle_;
    }

    void serve(Spare* spare) {
        for (;;) {
            Call* call = nullptr;
            int number = 0;
            {
                std::unique_lock<std::mutex> lock(mutex_);
                spare->wake.wait(lock, [&] { return spare->call != nullptr; });
                call = spare->call;
                number = spare->number;
            }
            call->job(call->context, number);
            {
                // Idle before the caller hears of it: its next call finds this thread and starts no other.
                const std::lock_guard<std::mutex> lock(mutex_);
                spare->call = nullptr;
                rest(*spare);
            }
            call->running.fetch_sub(1, std::memory_order_release);
        }
    }

    std::mutex mutex_;
    Spare* first_ = nullptr;
    int idle_ = 0;
};

// Never destroyed: spare threads wait in it while the process ends.
std::atomic<Spares*> spares{nullptr};

// In the child of a fork: the threads did not come along.
[[maybe_unused]] void forget_spares() { spares.store(nullptr); }

Spares& the_spares() {
    Spares* current = spares.load(std::memory_order_acquire);
    if (current != nullptr) return *current;
#if !defined(_WIN32)
    static const int registered = pthread_atfork(nullptr, nullptr, forget_spares);
    (void)registered;
#endif
    auto fresh = std::make_unique<Spares>();
    if (spares.compare_exchange_strong(current, fresh.get())) return *fresh.release();
    return *current;
}

}  // namespace

bool run_at_once(int jobs, Job job, void* context) noexcept {
    if (jobs == 1) {
        job(context, 0);
        return true;
    }
    try {
        if (!run_together(jobs, job, context)) the_spares().run(jobs, job, context);
        return true;
    } catch (...) {  // no memory, no thread: both are asked for before the first job
        return false;
    }
}

void prepare_run_at_once() {
    the_spares();
    run_together(1, [](void*, int) {}, nullptr);
}

}  // namespace rnnkernels::cpu
