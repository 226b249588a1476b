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
    // Memory for longer than a call: its own, none that other calls left, given back to the system at its end. It
    // begins as zeros, so that equal contents are equal bytes.
    enum Fresh { kFresh };
    explicit Workspace(Fresh);
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

    // Held in all, in use or not.
    long long bytes() const;
    // Those bytes, of fresh memory: out, and in from one of which the same pieces were taken.
    void read(void* to) const;
    void write(const void* from);

private:
    Arena* arena_;
    bool kept_;  // on the shelf, after the call
};

// Memory that outlives a call and comes again in the same size (the reserves of a training loop): the last ones
// given back are kept for the next to take, since fresh pages cost more than filling them. 64-byte aligned.
void* take_block(std::size_t size);
void give_block(void* memory, std::size_t size) noexcept;

// Tests: every piece starts as NaN.
void set_poison(bool poison);
bool poison();

}  // namespace rnnkernels::cpu
