// Scratch memory of a call, cut from one block that the caller gives. With no block it only measures: the same code
// that lays a call's memory out says, before the call, how much it will need.
#pragma once

#include <cstddef>

#include "storage.h"

namespace rnnkernels::RNNKERNELS_TARGET {

class Arena {
public:
    explicit Arena(void* block) : block_(static_cast<char*>(block)) {}

    // `count` values, 256-byte aligned as the block is; null where it only measures.
    template <class T>
    T* take(Index count) {
        return static_cast<T*>(take(count * static_cast<Index>(sizeof(T))));
    }
    void* take(Index count, Dtype dtype) { return take(count * bytes_of(dtype)); }

    Index used() const { return used_; }

private:
    void* take(Index bytes) {
        void* begin = block_ ? block_ + used_ : nullptr;
        used_ += (bytes + 255) / 256 * 256;
        return begin;
    }

    char* block_;
    Index used_ = 0;
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
