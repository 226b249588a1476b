// The thread pool of threads.h. Compiled once, for the baseline instruction set.
#include "threads.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#include "flush_denormals.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif
#if !defined(_WIN32)
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#endif

namespace rnnkernels::cpu {
namespace {

// One turn of a waiting loop, its `spins`-th. After some 20 us the core is offered to others: whoever we wait
// for may need it (more threads than cores; another process).
void relax(int spins) {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
    if (spins > 1000) std::this_thread::yield();
}

// The processor this thread runs on, -1 where the system does not say.
int current_processor() {
#if defined(__linux__)
    return sched_getcpu();
#else
    return -1;
#endif
}

// A worker that wakes on its caller's processor would take turns with it, a slice at a time, until the system
// moves one of them: for the next milliseconds every meeting would cost 30 us instead of 0.2. So it goes away by
// itself: barred from that processor for the moment, then free again.
void leave_processor(int processor) {
#if defined(__linux__)
    if (processor < 0 || sched_getcpu() != processor || processor >= CPU_SETSIZE) return;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0 || CPU_COUNT(&allowed) < 2) return;
    cpu_set_t others = allowed;
    CPU_CLR(static_cast<std::size_t>(processor), &others);
    sched_setaffinity(0, sizeof others, &others);
    sched_setaffinity(0, sizeof allowed, &allowed);
#else
    (void)processor;
#endif
}

// Who this thread is: an address that no other has.
const void* this_thread() {
    static thread_local char here;
    return &here;
}

// heed without the throw: whether the call goes on.
bool goes_on(Watch& watch) {
    if (__atomic_load_n(&watch.flag, __ATOMIC_RELAXED) == Watch::kAsk && watch.asker == this_thread()) {
        __atomic_store_n(&watch.flag, Watch::kRun, __ATOMIC_RELAXED);
        const FlushDenormals as_usual(false);  // whoever is asked may calculate
        if (!watch.go_on(watch.context)) __atomic_store_n(&watch.flag, Watch::kStop, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&watch.flag, __ATOMIC_RELAXED) != Watch::kStop;
}

// A thread's task; whether it came to its end.
bool finishes(Task task, void* context, int thread) {
    try {
        const FlushDenormals flush;
        task(context, thread);
        return true;
    } catch (const Stopped&) {
        return false;
    }
}

// The caller's task is done, or was stopped: waits for the others'. Throws Stopped where the call was stopped.
void wait_for_workers(const std::atomic<int>& running, bool finished, Watch& watch) {
    for (int spins = 0; running.load(std::memory_order_acquire) > 0; ++spins) {
        relax(spins);
        finished = finished && goes_on(watch);
    }
    if (!finished) throw Stopped{};
}

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

class Pool {
public:
    // Returns false, having done nothing, when another caller holds the pool or no worker can be started.
    bool run(int threads, Prepare prepare, Task task, void* context, Watch& watch) {
        const Turn turn(in_use_);
        if (!turn.mine()) return false;
        threads = start_workers(threads - 1) + 1;
        if (threads == 1) return false;
        prepare(context, threads);
        call_workers(threads, task, context);
        wait_for_workers(running_, finishes(task, context, 0), watch);
        return true;
    }

    // run_together of threads.h.
    bool run_together(int jobs, Task job, void* context) {
        const Turn turn(in_use_);
        if (!turn.mine() || start_workers(jobs - 1) < jobs - 1) return false;
        call_workers(jobs, job, context);
        job(context, 0);
        wait_for_workers(running_, true, *unwatched());
        return true;
    }

private:
    void call_workers(int threads, Task task, void* context) {
        task_ = task, context_ = context, processor_ = current_processor();
        running_.store(threads - 1, std::memory_order_relaxed);
        const std::uint64_t call = (signal_.load(std::memory_order_relaxed) >> 16) + 1;
        signal_.store(call << 16 | static_cast<std::uint64_t>(threads), std::memory_order_seq_cst);
        // Either we see the sleeper or it sees the signal. The order of the two is sequentially consistent as it
        // stands; qemu lets a 64-bit ARM's store-release pass a later load-acquire on x86, and a worker slept for ever.
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (sleepers_.load(std::memory_order_seq_cst) > 0) {
            const std::lock_guard<std::mutex> lock(sleep_);
            wake_.notify_all();
        }
    }

    // How many workers stand ready, up to `wanted`.
    int start_workers(int wanted) {
        while (workers_ < wanted) {
            try {
                std::thread(&Pool::work, this, workers_ + 1, signal_.load()).detach();
            } catch (const std::system_error&) {
                break;  // the system refuses more threads: go on with those there are
            }
            ++workers_;
        }
        return workers_ < wanted ? workers_ : wanted;
    }

    // A worker's life. The number of participants travels in the signal itself: a worker that is not needed
    // may look late, and must not read one call's number with another call's task.
    void work(int thread, std::uint64_t seen) {
        for (;;) {
            seen = wait_for_signal(seen);
            if (thread >= static_cast<int>(seen & 0xffff)) continue;
            leave_processor(processor_);
            finishes(task_, context_, thread);
            running_.fetch_sub(1, std::memory_order_release);
        }
    }

    // Spin a little for the next call (its dispatch then costs about 1 us), then sleep.
    std::uint64_t wait_for_signal(std::uint64_t seen) {
        const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
        do {
            for (int i = 0; i < 64; ++i) {
                const std::uint64_t signal = signal_.load(std::memory_order_acquire);
                if (signal != seen) return signal;
                relax(i);
            }
        } while (std::chrono::steady_clock::now() < until);
        std::unique_lock<std::mutex> lock(sleep_);
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        wake_.wait(lock, [&] { return signal_.load(std::memory_order_seq_cst) != seen; });
        sleepers_.fetch_sub(1, std::memory_order_seq_cst);
        return signal_.load(std::memory_order_seq_cst);
    }

    std::atomic<bool> in_use_{false};
    int workers_ = 0;
    Task task_ = nullptr;
    void* context_ = nullptr;
    int processor_ = -1;  // the caller's
    std::atomic<int> running_{0};
    std::atomic<std::uint64_t> signal_{0};  // the call's number << 16 | its participants
    std::atomic<int> sleepers_{0};
    std::mutex sleep_;
    std::condition_variable wake_;
};

// Calls on the threads of an OpenMP runtime, through the entry points of GNU's.
class OpenMp {
public:
    // Whether a library of this name is loaded and has them all.
    bool find(const char* library) {
#if defined(__linux__)
        void* const handle = dlopen(library, RTLD_NOLOAD | RTLD_NOW);  // never closed: it is used from now on
        if (handle == nullptr) return false;
        take(parallel_, dlsym(handle, "GOMP_parallel"));
        take(thread_, dlsym(handle, "omp_get_thread_num"));
        take(size_, dlsym(handle, "omp_get_num_threads"));
        take(most_, dlsym(handle, "omp_get_max_threads"));
        return parallel_ != nullptr && thread_ != nullptr && size_ != nullptr && most_ != nullptr;
#else
        (void)library;
        return false;
#endif
    }

    // Returns false, having done nothing, when another caller is at work or the runtime has fewer threads.
    bool run(int threads, Prepare prepare, Task task, void* context, Watch& watch) {
        const Turn turn(in_use_);
        // As many as the runtime keeps, whatever the call can use: another number would make it end or start threads.
        const int team = most_();
        if (!turn.mine() || team < threads) return false;
        Region region{this, threads, prepare, task, context, watch, current_processor()};
        parallel_(enter, &region, static_cast<unsigned>(team), 0);
        if (region.failure) std::rethrow_exception(region.failure);  // nothing is thrown through the runtime's frames
        return true;
    }

private:
    struct Region {
        const OpenMp* runtime;
        int wanted;
        Prepare prepare;
        Task task;
        void* context;
        Watch& watch;
        int processor;                // the caller's
        std::atomic<int> threads{0};  // that take part; 0: not known yet, -1: nobody does
        std::atomic<int> running{0};  // beside the caller
        std::exception_ptr failure{};
    };

    static void enter(void* argument) {
        Region& region = *static_cast<Region*>(argument);
        const int thread = region.runtime->thread_();
        if (thread > 0) leave_processor(region.processor);
        if (thread == 0) {
            const int size = region.runtime->size_();  // fewer than asked for, inside another parallel region
            const int threads = size < region.wanted ? size : region.wanted;
            try {
                region.prepare(region.context, threads);
                region.running.store(threads - 1, std::memory_order_relaxed);
                region.threads.store(threads, std::memory_order_release);
            } catch (...) {
                region.failure = std::current_exception();
                region.threads.store(-1, std::memory_order_release);
            }
        }
        for (int spins = 0; region.threads.load(std::memory_order_acquire) == 0; ++spins) relax(spins);
        if (thread >= region.threads.load(std::memory_order_relaxed)) return;
        const bool finished = finishes(region.task, region.context, thread);
        if (thread > 0) {
            region.running.fetch_sub(1, std::memory_order_release);
            return;
        }
        try {
            wait_for_workers(region.running, finished, region.watch);
        } catch (const Stopped&) {
            region.failure = std::current_exception();
        }
    }

    template <class Function>
    static void take(Function& to, void* symbol) {
        to = reinterpret_cast<Function>(symbol);
    }

    void (*parallel_)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*thread_)() = nullptr;
    int (*size_)() = nullptr;
    int (*most_)() = nullptr;
    std::atomic<bool> in_use_{false};
};

std::atomic<int> thread_limit{1};
std::atomic<OpenMp*> openmp{nullptr};
// Never destroyed: workers may still wait in it while the process ends.
std::atomic<Pool*> pool{nullptr};

// In the child of a fork: the workers did not come along, nor did OpenMP's.
void forget_pool() {
    pool.store(nullptr);
    openmp.store(nullptr);
}

void forget_in_children() {
#if !defined(_WIN32)
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)registered;
#endif
}

Pool& the_pool() {
    Pool* current = pool.load(std::memory_order_acquire);
    if (current != nullptr) return *current;
    forget_in_children();
    auto fresh = std::make_unique<Pool>();
    if (pool.compare_exchange_strong(current, fresh.get())) return *fresh.release();
    return *current;
}

}  // namespace

int num_threads() { return thread_limit.load(); }
void set_num_threads(int threads) { thread_limit.store(threads); }

bool share_openmp(const char* library) {
    if (library == nullptr) {
        openmp.store(nullptr);
        return true;
    }
    auto runtime = std::make_unique<OpenMp>();
    if (!runtime->find(library)) return false;
    forget_in_children();
    openmp.store(runtime.release());  // one that was there before stays: a call may be in it
    return true;
}

Watch* unwatched() {
    static Watch never;  // its flag stays as it is
    return &never;
}

void heed(Watch& watch) {
    if (!goes_on(watch)) throw Stopped{};
}

void Barrier::reset(int threads, Watch* of_call) {
    size = threads;
    watch = of_call;
    waiting = 0;
    generation = 0;
}

void Barrier::wait() {
    look(watch);
    if (size == 1) return;
    const unsigned now = __atomic_load_n(&generation, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&waiting, 1, __ATOMIC_ACQ_REL) == size) {
        __atomic_store_n(&waiting, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&generation, now + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(&generation, __ATOMIC_ACQUIRE) == now; ++spins) {
        relax(spins);
        look(watch);
    }
}

void Progress::reset() { done = 0; }

void Progress::publish(long long count) { __atomic_store_n(&done, count, __ATOMIC_RELEASE); }

void Progress::wait(long long count, Watch* watch) {
    for (int spins = 0; __atomic_load_n(&done, __ATOMIC_ACQUIRE) < count; ++spins) {
        relax(spins);
        look(watch);
    }
}

void run_parallel(int threads, Prepare prepare, Task task, void* context, Watch* watch) {
    if (watch != unwatched()) watch->asker = this_thread();
    if (threads > 1) {
        OpenMp* const shared = openmp.load(std::memory_order_acquire);
        if (shared != nullptr && shared->run(threads, prepare, task, context, *watch)) return;
        if (the_pool().run(threads, prepare, task, context, *watch)) return;
    }
    prepare(context, 1);
    const FlushDenormals flush;
    task(context, 0);
}

bool run_together(int jobs, Task job, void* context) { return the_pool().run_together(jobs, job, context); }

}  // namespace rnnkernels::cpu
