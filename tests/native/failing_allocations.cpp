// An operator new that fails when it is told to: preloaded into a Python process by tests/cpu/test_process.py, so that
// every allocation of the extension can be made to fail once. What deletes is the standard library's, which frees.
#include <cstdlib>
#include <new>

namespace {

// Allocations until the one that fails; below 0: none does, or it has.
thread_local long left = -1;

void* take(std::size_t size, std::size_t alignment) {
    if (left >= 0 && left-- == 0) throw std::bad_alloc();
    if (size == 0) size = 1;
    void* memory = alignment > 0 ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                                 : std::malloc(size);
    if (!memory) throw std::bad_alloc();
    return memory;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void fail_allocation(long number) { left = number; }
// Whether the one that was to fail has.
extern "C" __attribute__((visibility("default"))) int allocation_failed() { return left < 0; }

void* operator new(std::size_t size) { return take(size, 0); }
void* operator new[](std::size_t size) { return take(size, 0); }
void* operator new(std::size_t size, std::align_val_t alignment) { return take(size, std::size_t(alignment)); }
void* operator new[](std::size_t size, std::align_val_t alignment) { return take(size, std::size_t(alignment)); }
