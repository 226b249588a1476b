// Random bits from a counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3;
// SC 2011), one counter in each lane.
//
// Four words of 32 bits are a function of a key (the seed) and a counter, here (unit, step, row, stream): no state, so
// that any thread makes any mask at any time, and a backward makes again what the forward had. The same words on every
// instruction set, for any vector width. Not here: what is done with them (cpu/masks.h).
#pragma once

#include "vec.h"

namespace rnnkernels::RNNKERNELS_TARGET {

struct Counter {
    std::uint32_t unit;  // of lane 0; the lanes count on from it
    std::uint32_t step;
    std::uint32_t row;
    std::uint32_t stream;
};

// The lower and the upper half of a * m in each lane; of a double's 64-bit lanes only the lower 32 bits are used.
template <class T>
RNNKERNELS_INLINE void multiply_wide(typename Vec<T>::Bits a, std::uint32_t m, typename Vec<T>::Bits& low,
                                     typename Vec<T>::Bits& high) {
    using Bits = typename Vec<T>::Bits;
    constexpr std::uint64_t lower = 0xffffffffU;
    if constexpr (kVectorBytes == 0) {
        const std::uint64_t product = raw_multiply_even(a, m);
        low = static_cast<Bits>(product & lower), high = static_cast<Bits>(product >> 32);
    }
#if RNNKERNELS_SET != RNNKERNELS_SET_cuda  // nvcc 13.0 stumbles over the casts, though nobody takes this branch
    else {
        using Wide = typename Register<std::uint64_t>::type;
        const auto times_m = [m](Wide even) RNNKERNELS_INLINED {
            return __builtin_bit_cast(
                Wide, raw_multiply_even(__builtin_bit_cast(RawWide, even), __builtin_bit_cast(RawWide, Wide{} + m)));
        };
        const Wide wide = __builtin_bit_cast(Wide, a);
        const Wide even = times_m(wide);
        if constexpr (sizeof(T) == 8) {
            low = even & lower, high = even >> 32;
        } else {
            const Wide odd = times_m(wide >> 32);
            low = __builtin_bit_cast(Bits, (even & lower) | (odd << 32));
            high = __builtin_bit_cast(Bits, (even >> 32) | (odd & ~lower));
        }
    }
#endif
}

// Four words for each lane.
template <class T>
struct Words {
    typename Vec<T>::Bits word[4];
};

// Not inlined: it is 200 instructions, and every cell asks for it. A function of its arguments alone, which the
// compiler is told: a loop that may call it need not read everything again after it.
template <class T>
RNNKERNELS_NOINLINE Words<T> random_words(std::uint64_t key, Counter counter) {
    using Bits = typename Vec<T>::Bits;
    using Lane = typename Vec<T>::BitsLane;
    const auto all = [](std::uint32_t value) RNNKERNELS_INLINED { return Bits{} + static_cast<Lane>(value); };
    Lane unit[Vec<T>::lanes];
    for (int lane = 0; lane < Vec<T>::lanes; ++lane) unit[lane] = counter.unit + static_cast<std::uint32_t>(lane);
    Bits c[4];
    std::memcpy(&c[0], unit, sizeof c[0]);
    c[1] = all(counter.step), c[2] = all(counter.row), c[3] = all(counter.stream);
    auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
    RNNKERNELS_UNROLL(10)
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
        Bits low0, high0, low1, high1;
        multiply_wide<T>(c[0], 0xD2511F53U, low0, high0);
        multiply_wide<T>(c[2], 0xCD9E8D57U, low1, high1);
        c[0] = high1 ^ c[1] ^ all(k0), c[1] = low1;
        c[2] = high0 ^ c[3] ^ all(k1), c[3] = low0;
    }
    return {{c[0], c[1], c[2], c[3]}};
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
