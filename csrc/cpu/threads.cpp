// Where a call's threads come from (threads.h): the pool, or an OpenMP runtime's team. Compiled once, for the baseline
// instruction set.
#include "threads.h"

#include <atomic>
#include <memory>

#include "flush_denormals.h"
#include "openmp_team.h"
#include "pool.h"
#include "thread_limits.h"

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace rnnkernels::cpu {
namespace {

std::atomic<OpenMpTeam*> openmp{nullptr};
thread_local Pool* lent = nullptr;
std::atomic<int> forks{0};  // that this process is a child of
std::atomic<bool> torch_joined{false};
std::atomic<unsigned> parallel_calls{0};
// Never destroyed: workers may still wait in it while the process ends.
std::atomic<Pool*> pool{nullptr};

// In the child of a fork: the workers did not come along, nor did OpenMP's.
[[maybe_unused]] void forget_pool() {
    forks.fetch_add(1);
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

bool share_openmp(const char* library) {
    if (library == nullptr) {
        openmp.store(nullptr);
        return true;
    }
    auto team = std::make_unique<OpenMpTeam>();
    if (!team->find(library)) return false;
    forget_in_children();
    openmp.store(team.release());  // one that was there before stays: a call may be in it
    return true;
}

bool join_torch() {
    if (torch_joined.load(std::memory_order_acquire)) return true;
    if (!ask_threads("libtorch_cpu.so", "_ZN2at15get_num_threadsEv")) return false;
    share_openmp("libgomp.so.1");
    torch_joined.store(true, std::memory_order_release);
    return true;
}

namespace {
struct Borrowed : Pool {
    explicit Borrowed(int workers) : Pool(workers) {}
    const int forks_then = forks.load();
};
}  // namespace

Pool* borrow(int workers) {
    forget_in_children();
    return new Borrowed(workers);
}
void lend(Pool& pool, int thread) { pool.lend(thread); }
void end_lending(Pool& pool) {
    if (static_cast<Borrowed&>(pool).forks_then == forks.load()) pool.end();
}
void give_up(Pool* pool) { delete static_cast<Borrowed*>(pool); }
void use_lent(Pool* pool) { lent = pool; }

Watch* unwatched() {
    static Watch never;  // its flag stays as it is
    return &never;
}

void run_parallel(int threads, Prepare prepare, Task task, void* context, Watch* watch) {
    if (watch != unwatched()) watch->asker = this_thread();
    if (threads > 1) {
        // Asking the system's loader takes 1 us: now and then it is time enough.
        if (parallel_calls.fetch_add(1, std::memory_order_relaxed) % 64 == 0) join_torch();
        threads = threads_for_call(threads);
    }
    if (threads > 1) {
        if (lent != nullptr) {
            if (lent->run(threads, prepare, task, context, *watch)) return;
            threads = 1;
        }
    }
    if (threads > 1) {
        OpenMpTeam* const shared = openmp.load(std::memory_order_acquire);
        if (shared != nullptr && shared->run(threads, prepare, task, context, *watch)) return;
        if (the_pool().run(threads, prepare, task, context, *watch)) return;
    }
    prepare(context, 1);
    const FlushDenormals flush;
    Member alone{0, watch};
    task(context, alone);
}

bool run_together(int jobs, Job job, void* context) { return the_pool().run_together(jobs, job, context); }

}  // namespace rnnkernels::cpu
