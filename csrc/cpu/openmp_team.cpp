// The team of openmp_team.h. Compiled once, for the baseline instruction set.
#include "openmp_team.h"

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

namespace rnnkernels::cpu {
namespace {

template <class Function>
void take(Function& to, void* symbol) {
    to = reinterpret_cast<Function>(symbol);
}

}  // namespace

// A parallel region, on its caller's stack: the runtime ends it when all of its threads have left `enter`.
struct OpenMpTeam::Region {
    OpenMpTeam& team;
    int wanted;
    Prepare prepare;
    Task task;
    void* context;
    Watch& watch;
    std::uint32_t call = 0;
    std::atomic<int> threads{0};  // that take part; 0: not known yet, -1: nobody does
    std::exception_ptr failure{};
};

bool OpenMpTeam::find(const char* library) {
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

bool OpenMpTeam::run(int threads, Prepare prepare, Task task, void* context, Watch& watch) {
    const Turn turn(in_use_);
    // As many as the runtime keeps, whatever the call can use: another number would make it end or start threads.
    const int team = most_();
    if (!turn.mine() || team < threads || crew_.has_break()) return false;
    Region region{*this, threads, prepare, task, context, watch};
    parallel_(enter, &region, static_cast<unsigned>(team), 0);
    if (region.failure) std::rethrow_exception(region.failure);  // nothing is thrown through the runtime's frames
    return true;
}

void OpenMpTeam::enter(void* argument) {
    Region& region = *static_cast<Region*>(argument);
    OpenMpTeam& team = region.team;
    const int thread = team.thread_();
    if (thread > 0) {
        for (long long spins = 0; region.threads.load(std::memory_order_acquire) == 0; ++spins) relax(spins);
        if (thread < region.threads.load(std::memory_order_relaxed)) team.crew_.serve(region.call, thread);
        return;
    }
    try {
        const int size = team.size_();  // fewer than asked for, inside another parallel region
        const int threads = size < region.wanted ? size : region.wanted;
        region.prepare(region.context, threads);
        region.call = team.crew_.open(region.task, region.context, region.watch);
        stress_point();
        region.threads.store(threads, std::memory_order_release);
        team.crew_.lead();
    } catch (...) {
        region.failure = std::current_exception();
        int unknown = 0;
        region.threads.compare_exchange_strong(unknown, -1, std::memory_order_release);
    }
}

}  // namespace rnnkernels::cpu
