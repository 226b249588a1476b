// Vec<T>: as many T as a register of this instruction set holds, with the operators of a number.
//
// A thin struct over the compilers' vector extension (GCC, Clang): arithmetic is the language's, and a set
// adds only what the extension cannot spell (fma). The compiler never contracts a*b + c by itself here
// (-ffp-contract=off): where a fused multiply-add is meant the code says fma, so that two copies of one
// formula always round alike. Not here: exp, tanh, sigmoid (functions.h).
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "target.h"

#if RNNKERNELS_SET == RNNKERNELS_SET_scalar
#include "vec_scalar.h"
#elif RNNKERNELS_SET == RNNKERNELS_SET_avx2
#include "vec_avx2.h"
#elif RNNKERNELS_SET == RNNKERNELS_SET_avx512
#include "vec_avx512.h"
#elif RNNKERNELS_SET == RNNKERNELS_SET_neon
#include "vec_neon.h"
#else
#error "RNNKERNELS_TARGET names no known instruction set"
#endif

namespace rnnkernels::RNNKERNELS_TARGET {

#if RNNKERNELS_SET != RNNKERNELS_SET_scalar
template <class T>
struct Register {
    typedef T type __attribute__((vector_size(kVectorBytes)));
    static constexpr int lanes = kVectorBytes / static_cast<int>(sizeof(T));
};
#endif

template <class T>
struct Vec {
    using Lane = T;
    using Raw = typename Register<T>::type;
    // Unsigned integers of the lane's size: the bits of a float, to shift and add.
    using BitsLane = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    using Bits = typename Register<BitsLane>::type;
    static constexpr int lanes = Register<T>::lanes;

    Raw raw;

    Vec() = default;
    RNNKERNELS_INLINE Vec(Raw value)
        requires(!std::is_same_v<Raw, T>)
        : raw(value) {}
    // Every lane the same. (value - 0 is value for every float, so this compiles to a broadcast.)
    RNNKERNELS_INLINE Vec(T value) : raw(value - Raw{}) {}

    static RNNKERNELS_INLINE Vec load(const T* from) {
        Vec out;
        std::memcpy(&out.raw, from, sizeof(Raw));
        return out;
    }
    RNNKERNELS_INLINE void store(T* to) const { std::memcpy(to, &raw, sizeof(Raw)); }

    // The first `count` lanes only; the other lanes read as zero and are not written.
    static RNNKERNELS_INLINE Vec load(const T* from, std::int64_t count) {
        if (count >= lanes) return load(from);
        T lane[lanes] = {};
        for (std::int64_t i = 0; i < count; ++i) lane[i] = from[i];
        return load(lane);
    }
    RNNKERNELS_INLINE void store(T* to, std::int64_t count) const {
        if (count >= lanes) return store(to);
        T lane[lanes];
        store(lane);
        for (std::int64_t i = 0; i < count; ++i) to[i] = lane[i];
    }

    RNNKERNELS_INLINE Bits bits() const { return __builtin_bit_cast(Bits, raw); }
    static RNNKERNELS_INLINE Vec from_bits(Bits bits) { return Vec(__builtin_bit_cast(Raw, bits)); }

    friend RNNKERNELS_INLINE Vec operator+(Vec a, Vec b) { return Vec(a.raw + b.raw); }
    friend RNNKERNELS_INLINE Vec operator-(Vec a, Vec b) { return Vec(a.raw - b.raw); }
    friend RNNKERNELS_INLINE Vec operator*(Vec a, Vec b) { return Vec(a.raw * b.raw); }
    friend RNNKERNELS_INLINE Vec operator/(Vec a, Vec b) { return Vec(a.raw / b.raw); }
    friend RNNKERNELS_INLINE Vec operator-(Vec a) { return Vec(-a.raw); }

    // a*b + c, rounded once (twice on the scalar set).
    friend RNNKERNELS_INLINE Vec fma(Vec a, Vec b, Vec c) { return Vec(raw_fma(a.raw, b.raw, c.raw)); }

    // x held inside [low, high]; a NaN stays a NaN.
    friend RNNKERNELS_INLINE Vec clamp(Vec x, Vec low, Vec high) {
        Raw y = x.raw < low.raw ? low.raw : x.raw;
        return Vec(y > high.raw ? high.raw : y);
    }
    // `value` where x > 0, elsewhere 0 (0 too where x is a NaN).
    friend RNNKERNELS_INLINE Vec where_positive(Vec x, Vec value) { return Vec(x.raw > Raw{} ? value.raw : Raw{}); }
    // max(0, x); a NaN stays a NaN.
    friend RNNKERNELS_INLINE Vec relu(Vec x) { return Vec(x.raw < Raw{} ? Raw{} : x.raw); }
};

}  // namespace rnnkernels::RNNKERNELS_TARGET
