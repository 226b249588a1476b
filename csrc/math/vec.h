// Vec<T>: as many T as a register of this instruction set holds, with the operators of a number.
//
// A thin struct over the compilers' vector extension (GCC, Clang): arithmetic is the language's, and a set
// adds only what the extension cannot spell (fma). The compiler never contracts a*b + c by itself here
// (-ffp-contract=off): where a fused multiply-add is meant the code says fma, so that two copies of one
// formula always round alike. Not here: exp, tanh, log and their kind (functions.h).
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
#elif RNNKERNELS_SET == RNNKERNELS_SET_cuda
#include "vec_cuda.h"
#else
#error "RNNKERNELS_TARGET names no known instruction set"
#endif

#if RNNKERNELS_SET != RNNKERNELS_SET_cuda  // whose header has all of Vec

namespace rnnkernels::RNNKERNELS_TARGET {

#if RNNKERNELS_SET != RNNKERNELS_SET_scalar
template <class T>
struct Register {
    typedef T type __attribute__((vector_size(kVectorBytes)));
    typedef T in_memory __attribute__((vector_size(kVectorBytes), aligned(alignof(T))));
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
    using InMemory = typename Register<T>::in_memory;
    static constexpr int lanes = Register<T>::lanes;

    Raw raw;

    Vec() = default;
    RNNKERNELS_INLINE Vec(Raw value)
        requires(!std::is_same_v<Raw, T>)
        : raw(value) {}
    // Every lane the same. (value - 0 is value for every float, so this compiles to a broadcast.)
    RNNKERNELS_INLINE Vec(T value) : raw(value - Raw{}) {}

    // Through a vector type that is aligned as its elements are, and not by memcpy: what is stored is known to be a T,
    // and the compiler need not read every pointer and size again after it.
    static RNNKERNELS_INLINE Vec load(const T* from) { return Vec(*reinterpret_cast<const InMemory*>(from)); }
    RNNKERNELS_INLINE void store(T* to) const { *reinterpret_cast<InMemory*>(to) = raw; }

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

    // a*b + c, rounded once (twice on the scalar set).
    friend RNNKERNELS_INLINE Vec fma(Vec a, Vec b, Vec c) { return Vec(raw_fma(a.raw, b.raw, c.raw)); }

    // x held inside [low, high]; a NaN stays a NaN.
    friend RNNKERNELS_INLINE Vec clamp(Vec x, Vec low, Vec high) {
        return Vec(raw_min(high.raw, raw_max(low.raw, x.raw)));
    }
    // `value` where x > 0, elsewhere (where x is a NaN, too) `otherwise`, or 0.
    friend RNNKERNELS_INLINE Vec where_positive(Vec x, Vec value, Vec otherwise) {
        return Vec(x.raw > Raw{} ? value.raw : otherwise.raw);
    }
    friend RNNKERNELS_INLINE Vec where_positive(Vec x, Vec value) { return where_positive(x, value, Vec(Raw{})); }
    // `value` where |x| < limit or is a NaN, elsewhere 0.
    friend RNNKERNELS_INLINE Vec where_inside(Vec x, Vec limit, Vec value) {
        return Vec(x.raw >= limit.raw ? Raw{} : x.raw <= -limit.raw ? Raw{} : value.raw);
    }
    // max(0, x); a NaN stays a NaN.
    friend RNNKERNELS_INLINE Vec relu(Vec x) { return Vec(x.raw < Raw{} ? Raw{} : x.raw); }
    // The larger of the two; a NaN where either is one. (raw_max alone may lose a NaN in its first operand.)
    friend RNNKERNELS_INLINE Vec max(Vec a, Vec b) {
        const Raw larger = raw_max(a.raw, b.raw);
        return Vec(a.raw == a.raw ? larger : a.raw);
    }
    // The smaller of the two; a NaN where either is one.
    friend RNNKERNELS_INLINE Vec min(Vec a, Vec b) {
        const Raw smaller = raw_min(a.raw, b.raw);
        return Vec(a.raw == a.raw ? smaller : a.raw);
    }
    // `yes` where a > b, a >= b, a == b, elsewhere (where either is a NaN, too) `no`.
    friend RNNKERNELS_INLINE Vec where_gt(Vec a, Vec b, Vec yes, Vec no) {
        return Vec(a.raw > b.raw ? yes.raw : no.raw);
    }
    friend RNNKERNELS_INLINE Vec where_ge(Vec a, Vec b, Vec yes, Vec no) {
        return Vec(a.raw >= b.raw ? yes.raw : no.raw);
    }
    friend RNNKERNELS_INLINE Vec where_eq(Vec a, Vec b, Vec yes, Vec no) {
        return Vec(a.raw == b.raw ? yes.raw : no.raw);
    }
    // The root, rounded as IEEE 754 says; a NaN below zero.
    friend RNNKERNELS_INLINE Vec sqrt(Vec x) { return Vec(raw_sqrt(x.raw)); }
    friend RNNKERNELS_INLINE Vec abs(Vec x) { return from_bits(x.bits() & static_cast<BitsLane>(~BitsLane{} >> 1)); }
    // x with the sign of `sign`.
    friend RNNKERNELS_INLINE Vec copysign(Vec x, Vec sign) {
        return from_bits(abs(x).bits() | (sign.bits() ^ abs(sign).bits()));
    }

    // Within each block of `block` lanes, cut into units of `size`: the even units (odd = 0; or the odd ones) of a,
    // then those of b.
    template <int odd, int size, int block>
    static RNNKERNELS_INLINE Vec unzip(Vec a, Vec b) {
        return unzip_lanes<odd, size, block>(a.raw, b.raw, std::make_index_sequence<static_cast<std::size_t>(lanes)>{});
    }

    // The first `count` lanes, zeros in the others, whatever those hold.
    friend RNNKERNELS_INLINE Vec first_lanes(Vec v, std::int64_t count) {
        if (count >= lanes) return v;
        T lane[lanes];
        v.store(lane);
        return load(lane, count);
    }
    // The sum of all lanes, in every lane: neighbours are added, then their sums, and so on.
    friend RNNKERNELS_INLINE Vec sum_of_lanes(Vec v) {
        if constexpr (lanes > 1) {
#pragma GCC unroll 4
            for (int half = lanes / 2; half > 0; half /= 2) v = unzip<0, 1, lanes>(v, v) + unzip<1, 1, lanes>(v, v);
        }
        return v;
    }
    RNNKERNELS_INLINE T first_lane() const {
        T lane[lanes];
        store(lane);
        return lane[0];
    }

private:
    // Where lane `lane` of an unzip comes from: lanes of a, then lanes of b.
    static constexpr int unzip_source(int lane, int odd, int size, int block) {
        const int unit = lane % block / size, half = block / size / 2;
        return unit / half * lanes + lane / block * block + (unit % half * 2 + odd) * size + lane % size;
    }
    template <int odd, int size, int block, std::size_t... lane>
    static RNNKERNELS_INLINE Vec unzip_lanes(Raw a, Raw b, std::index_sequence<lane...>) {
#if defined(__clang__)
        return Vec(__builtin_shufflevector(a, b, unzip_source(static_cast<int>(lane), odd, size, block)...));
#else
        return Vec(__builtin_shuffle(
            a, b, Bits{static_cast<BitsLane>(unzip_source(static_cast<int>(lane), odd, size, block))...}));
#endif
    }
};

// Rows become columns, for a square of units of `size` lanes: in every block of `block` lanes, unit j of row i and
// unit i of row j change places; the rows stand `stride` apart. A round turns the number of a unit, (row, unit) in
// binary, by one digit: unzip takes the unit's last digit, which becomes the row's first.
template <int size, int block, class V>
RNNKERNELS_INLINE void transpose_units(V* rows, int stride) {
    constexpr int count = block / size;
#pragma GCC unroll 8
    for (int digit = count; digit > 1; digit /= 2) {
        V turned[count];
#pragma GCC unroll 16
        for (int i = 0; i < count / 2; ++i) {
            turned[i] = V::template unzip<0, size, block>(rows[2 * i * stride], rows[(2 * i + 1) * stride]);
            turned[i + count / 2] = V::template unzip<1, size, block>(rows[2 * i * stride], rows[(2 * i + 1) * stride]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < count; ++i) rows[i * stride] = turned[i];
    }
}

// Lane j of rows[i] and lane i of rows[j] change places. First inside 128 bits, then whole pieces of 128 bits: both
// are single instructions on x86, where moving lanes freely is slower.
template <class V>
RNNKERNELS_INLINE void transpose(V* rows) {
    if constexpr (V::lanes > 1) {
        constexpr int inner = 16 / static_cast<int>(sizeof(typename V::Lane));
#pragma GCC unroll 16
        for (int group = 0; group < V::lanes; group += inner) transpose_units<1, inner>(rows + group, 1);
        if constexpr (V::lanes > inner) {
#pragma GCC unroll 16
            for (int i = 0; i < inner; ++i) transpose_units<inner, V::lanes>(rows + i, inner);
        }
    }
}

}  // namespace rnnkernels::RNNKERNELS_TARGET

#endif
