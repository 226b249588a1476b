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

// Flush denormals to zero, for as long as it lives.
class FlushDenormals {
public:
#if defined(__x86_64__) || defined(_M_X64)
    FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040U); }  // FTZ and DAZ
    ~FlushDenormals() { _mm_setcsr(saved_); }

private:
    unsigned saved_;
#elif defined(__aarch64__)
    FlushDenormals() {
        asm volatile("mrs %0, fpcr" : "=r"(saved_));
        asm volatile("msr fpcr, %0" ::"r"(saved_ | (1ULL << 24)));  // FZ
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

private:
    unsigned long long saved_ = 0;
#endif
public:
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;
};

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

class Pool {
public:
    // Returns false, having done nothing, when another caller holds the pool or no worker can be started.
    bool run(int threads, Prepare prepare, Task task, void* context) {
        const std::unique_lock<std::mutex> hold(in_use_, std::try_to_lock);
        if (!hold.owns_lock()) return false;
        threads = start_workers(threads - 1) + 1;
        if (threads == 1) return false;
        prepare(context, threads);
        task_ = task;
        context_ = context;
        processor_ = current_processor();
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
        {
            const FlushDenormals flush;
            task(context, 0);
        }
        for (int spins = 0; running_.load(std::memory_order_acquire) > 0; ++spins) relax(spins);
        return true;
    }

private:
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
        const FlushDenormals flush;
        for (;;) {
            seen = wait_for_signal(seen);
            if (thread >= static_cast<int>(seen & 0xffff)) continue;
            leave_processor(processor_);
            task_(context_, thread);
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

    std::mutex in_use_;
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
    bool run(int threads, Prepare prepare, Task task, void* context) {
        const std::unique_lock<std::mutex> hold(in_use_, std::try_to_lock);
        // As many as the runtime keeps, whatever the call can use: another number would make it end or start threads.
        const int team = most_();
        if (!hold.owns_lock() || team < threads) return false;
        Region region{this, threads, prepare, task, context, current_processor()};
        parallel_(enter, &region, static_cast<unsigned>(team), 0);
        if (region.failure) std::rethrow_exception(region.failure);
        return true;
    }

private:
    struct Region {
        const OpenMp* runtime;
        int wanted;
        Prepare prepare;
        Task task;
        void* context;
        int processor;                // the caller's
        std::atomic<int> threads{0};  // that take part; 0: not known yet, -1: nobody does
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
                region.threads.store(threads, std::memory_order_release);
            } catch (...) {
                region.failure = std::current_exception();
                region.threads.store(-1, std::memory_order_release);
            }
        }
        for (int spins = 0; region.threads.load(std::memory_order_acquire) == 0; ++spins) relax(spins);
        if (thread >= region.threads.load(std::memory_order_relaxed)) return;
        const FlushDenormals flush;
        region.task(region.context, thread);
    }

    template <class Function>
    static void take(Function& to, void* symbol) {
        to = reinterpret_cast<Function>(symbol);
    }

    void (*parallel_)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*thread_)() = nullptr;
    int (*size_)() = nullptr;
    int (*most_)() = nullptr;
    std::mutex in_use_;
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

void Barrier::reset(int threads) {
    size = threads;
    waiting = 0;
    generation = 0;
}

void Barrier::wait() {
    if (size == 1) return;
    const unsigned now = __atomic_load_n(&generation, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&waiting, 1, __ATOMIC_ACQ_REL) == size) {
        __atomic_store_n(&waiting, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&generation, now + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(&generation, __ATOMIC_ACQUIRE) == now; ++spins) relax(spins);
}

void Progress::reset() { done = 0; }

void Progress::publish(long long count) { __atomic_store_n(&done, count, __ATOMIC_RELEASE); }

void Progress::wait(long long count) {
    for (int spins = 0; __atomic_load_n(&done, __ATOMIC_ACQUIRE) < count; ++spins) relax(spins);
}

void run_parallel(int threads, Prepare prepare, Task task, void* context) {
    if (threads > 1) {
        OpenMp* const shared = openmp.load(std::memory_order_acquire);
        if (shared != nullptr && shared->run(threads, prepare, task, context)) return;
        if (the_pool().run(threads, prepare, task, context)) return;
    }
    prepare(context, 1);
    const FlushDenormals flush;
    task(context, 0);
}

}  // namespace rnnkernels::cpu
