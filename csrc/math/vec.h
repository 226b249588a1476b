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
#include <utility>

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
        if constexpr (kMaskedMemory) {
            return Vec(raw_load_first(from, static_cast<int>(count)));
        } else {
            T lane[lanes] = {};
            for (std::int64_t i = 0; i < count; ++i) lane[i] = from[i];
            return load(lane);
        }
    }
    RNNKERNELS_INLINE void store(T* to, std::int64_t count) const {
        if (count >= lanes) return store(to);
        if constexpr (kMaskedMemory) {
            raw_store_first(to, static_cast<int>(count), raw);
        } else {
            T lane[lanes];
            store(lane);
            for (std::int64_t i = 0; i < count; ++i) to[i] = lane[i];
        }
    }

    RNNKERNELS_INLINE Bits bits() const { return __builtin_bit_cast(Bits, raw); }
    static RNNKERNELS_INLINE Vec from_bits(Bits bits) { return Vec(__builtin_bit_cast(Raw, bits)); }

    friend RNNKERNELS_INLINE Vec operator+(Vec a, Vec b) { return Vec(a.raw + b.raw); }
    friend RNNKERNELS_INLINE Vec operator-(Vec a, Vec b) { return Vec(a.raw - b.raw); }
    friend RNNKERNELS_INLINE Vec operator*(Vec a, Vec b) { return Vec(a.raw * b.raw); }
    friend RNNKERNELS_INLINE Vec operator/(Vec a, Vec b) { return Vec(a.raw / b.raw); }
    friend RNNKERNELS_INLINE Vec operator-(Vec a) { return Vec(-a.raw); }

    // The lanes of a and b in turn, a first: of their lower halves (high = 0) or of their upper ones (high = 1).
    template <int high>
    friend RNNKERNELS_INLINE Vec zip(Vec a, Vec b) {
        return zip_lanes<high>(a.raw, b.raw, std::make_index_sequence<static_cast<std::size_t>(lanes)>{});
    }

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

private:
    template <int high, std::size_t... lane>
    static RNNKERNELS_INLINE Vec zip_lanes(Raw a, Raw b, std::index_sequence<lane...>) {
#if defined(__clang__)
        return Vec(__builtin_shufflevector(a, b, (high * lanes / 2 + lane / 2 + lane % 2 * lanes)...));
#else
        return Vec(
            __builtin_shuffle(a, b, Bits{static_cast<BitsLane>(high * lanes / 2 + lane / 2 + lane % 2 * lanes)...}));
#endif
    }
};

// Rows become columns: lane j of rows[i] and lane i of rows[j] change places. Each round of zips turns the
// number of an element, (row, lane) in binary, by one digit; after log2(lanes) rounds row and lane are swapped.
template <class V>
RNNKERNELS_INLINE void transpose(V* rows) {
    if constexpr (V::lanes > 1) {
        constexpr int half = V::lanes / 2;
#pragma GCC unroll 8
        for (int digit = V::lanes; digit > 1; digit /= 2) {
            V zipped[V::lanes];
#pragma GCC unroll 16
            for (int i = 0; i < half; ++i) {
                zipped[2 * i] = zip<0>(rows[i], rows[i + half]);
                zipped[2 * i + 1] = zip<1>(rows[i], rows[i + half]);
            }
#pragma GCC unroll 16
            for (int i = 0; i < V::lanes; ++i) rows[i] = zipped[i];
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
