// Bits of what calls made, compared: what check_sets and stress_threads have in common.
#pragma once

#include <cstring>
#include <optional>
#include <string>

#include "problem.h"

namespace native {

// The first of `count` values that differs in a bit; `count`: none does.
template <class T>
Index first_difference(const T* one, const T* other, Index count) {
    Index i = 0;
    while (i < count && std::memcmp(one + i, other + i, sizeof(T)) == 0) ++i;
    return i;
}

// The array beside which something was written, as a sentence has it.
template <class T>
std::optional<std::string> written_outside(const Results<T>& results) {
    for (std::size_t a = 0; a < results.arrays.size(); ++a)
        if (!results.arrays[a].fences_stand()) return results.names[a];
    if (!results.reserve.fences_stand()) return "the reserve";
    return std::nullopt;
}

}  // namespace native
