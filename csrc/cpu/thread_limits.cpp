// The limits of thread_limits.h. Compiled once, for the baseline instruction set.
#include "thread_limits.h"

#include <atomic>
#include <climits>
#include <thread>

#if !defined(_WIN32)
#include <dlfcn.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rnnkernels::cpu {
namespace {

using Ask = int (*)();

std::atomic<int> own{1};
std::atomic<int> bound{INT_MAX};
std::atomic<Ask> other{nullptr};  // a plain function: it outlives a fork, which the library's threads do not
std::atomic<bool> beyond{false};

int least(int a, int b) { return a < b ? a : b; }

// The processors that the calling thread may run on; 0 where the system does not say.
int usable_processors() {
#if defined(__linux__)
    // Not glibc's wrapper: it clears what the system leaves of the mask, which has room for the largest machines.
    unsigned long mask[128];
    const long words = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask) / static_cast<long>(sizeof *mask);
    int count = 0;
    for (long word = 0; word < words; ++word) count += __builtin_popcountl(mask[word]);
    if (count > 0) return count;
#endif
    static const int processors = static_cast<int>(std::thread::hardware_concurrency());
    return processors;
}

}  // namespace

void set_num_threads(int threads) { own.store(threads); }
void bound_threads(int threads) { bound.store(threads); }
void set_oversubscribed(bool oversubscribed) { beyond.store(oversubscribed); }
bool oversubscribed() { return beyond.load(std::memory_order_relaxed); }

bool ask_threads(const char* library, const char* function) {
#if defined(__linux__)
    void* const handle = dlopen(library, RTLD_NOLOAD | RTLD_NOW);  // never closed: it is used from now on
    void* const found = handle != nullptr ? dlsym(handle, function) : nullptr;
    if (found == nullptr) return false;
    other.store(reinterpret_cast<Ask>(found));
    return true;
#else
    (void)library, (void)function;
    return false;
#endif
}

int most_threads() {
    const int set = own.load(std::memory_order_relaxed), most = bound.load(std::memory_order_relaxed);
    return set == 0 || (set > most && !beyond.load(std::memory_order_relaxed)) ? most : set;
}

int threads_for_call(int wanted) {
    if (wanted < 2 || (beyond.load(std::memory_order_relaxed) && own.load(std::memory_order_relaxed) > 0))
        return wanted;
    int threads = wanted;
    const Ask ask = other.load(std::memory_order_acquire);
    if (ask != nullptr) threads = least(threads, ask());
    if (threads < 2) return 1;
    const int processors = usable_processors();
    return processors > 0 ? least(threads, processors) : threads;
}

}  // namespace rnnkernels::cpu
