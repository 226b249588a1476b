// A pthread_create that fails while it is told to: preloaded into a Python process by
// tests/cpu/test_shared_blas_process.py.
#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>

namespace {

std::atomic<bool> failing{false};

}  // namespace

extern "C" __attribute__((visibility("default"))) void fail_threads(int fail) { failing = fail != 0; }

extern "C" __attribute__((visibility("default"))) int pthread_create(pthread_t* thread,
                                                                     const pthread_attr_t* attributes,
                                                                     void* (*begin)(void*), void* argument) noexcept {
    if (failing) return EAGAIN;
    using Create = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
    static const auto create = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
    return create(thread, attributes, begin, argument);
}
