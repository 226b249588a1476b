// Scratch memory for one call: taken piece by piece, given back all at once, kept for the next call.
//
// Pieces start on 64-byte boundaries and hold what the last call left there (or NaN, when tests ask for it).
#pragma once

#include <cstddef>

namespace rnnkernels::cpu {

struct Arena;

class Workspace {
public:
    Workspace();
    ~Workspace();
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;

    // `count` elements of `size` bytes. Throws std::bad_alloc when they cannot be had.
    void* take(long long count, std::size_t size);

    // Always inlined: this header is also compiled per instruction set, into which no copy may leak.
    template <class T>
    __attribute__((always_inline)) T* take(long long count) {
        return static_cast<T*>(take(count, sizeof(T)));
    }

private:
    Arena* arena_;
};

// Tests: every piece starts as NaN.
void set_poison(bool poison);
bool poison();

}  // namespace rnnkernels::cpu
