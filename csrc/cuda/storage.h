// Numbers as they stand in memory: in the dtype of the arithmetic, or as bfloat16 or float16 beside float arithmetic.
//
// Which one is asked at run time, in every load and store: the branch is the same in all threads and hides behind the
// memory, and kernels are compiled once for float and once for double instead of four times.
#pragma once

#include "../math/vec.h"
#include "../recurrence/problem.h"

namespace rnnkernels::RNNKERNELS_TARGET {

constexpr Index bytes_of(Dtype dtype) { return dtype == Dtype::float64 ? 8 : dtype == Dtype::float32 ? 4 : 2; }

template <class T>
inline constexpr Dtype dtype_of = sizeof(T) == 8 ? Dtype::float64 : Dtype::float32;
// Of the arithmetic on numbers that are stored so.
constexpr Dtype arithmetic_of(Dtype storage) { return storage == Dtype::float64 ? storage : Dtype::float32; }

RNNKERNELS_INLINE float from_bfloat16(std::uint16_t bits) {
    return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}
// To the nearest, ties to even; a NaN stays one.
RNNKERNELS_INLINE std::uint16_t to_bfloat16(float value) {
    const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>(bits >> 16 | 0x40U);
    return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
}

RNNKERNELS_INLINE float from_float16(std::uint16_t bits) {
#if defined(__CUDA_ARCH__)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#elif defined(__CUDACC__)
    (void)bits;
    __builtin_trap();  // the host's half of a kernel that only the device runs
#else
    return static_cast<float>(__builtin_bit_cast(_Float16, bits));
#endif
}
RNNKERNELS_INLINE std::uint16_t to_float16(float value) {
#if defined(__CUDA_ARCH__)
    std::uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#elif defined(__CUDACC__)
    (void)value;
    __builtin_trap();
#else
    return __builtin_bit_cast(std::uint16_t, static_cast<_Float16>(value));
#endif
}

// How elements of an array become numbers of the arithmetic, and back.
template <class T>
struct Whole {
    RNNKERNELS_INLINE static T get(const void* array, Index at) { return static_cast<const T*>(array)[at]; }
    RNNKERNELS_INLINE static void set(void* array, Index at, T value) { static_cast<T*>(array)[at] = value; }
};
struct Bfloat16 {
    static constexpr bool kBfloat16 = true;
    RNNKERNELS_INLINE static std::uint16_t bits(float value) { return to_bfloat16(value); }
    RNNKERNELS_INLINE static float number(std::uint16_t bits) { return from_bfloat16(bits); }
    RNNKERNELS_INLINE static float get(const void* array, Index at) {
        return from_bfloat16(static_cast<const std::uint16_t*>(array)[at]);
    }
    RNNKERNELS_INLINE static void set(void* array, Index at, float value) {
        static_cast<std::uint16_t*>(array)[at] = to_bfloat16(value);
    }
};
struct Float16 {
    static constexpr bool kBfloat16 = false;
    RNNKERNELS_INLINE static std::uint16_t bits(float value) { return to_float16(value); }
    RNNKERNELS_INLINE static float number(std::uint16_t bits) { return from_float16(bits); }
    RNNKERNELS_INLINE static float get(const void* array, Index at) {
        return from_float16(static_cast<const std::uint16_t*>(array)[at]);
    }
    RNNKERNELS_INLINE static void set(void* array, Index at, float value) {
        static_cast<std::uint16_t*>(array)[at] = to_float16(value);
    }
};
// use(one of these) for arrays of this dtype, which is T's or a half: for several elements it is asked once.
template <class T, class Use>
RNNKERNELS_INLINE auto with_dtype(Dtype dtype, Use use) {
    if constexpr (sizeof(T) == 4) {
        if (dtype == Dtype::bfloat16) return use(Bfloat16{});
        if (dtype == Dtype::float16) return use(Float16{});
    }
    return use(Whole<T>{});
}

// Element `at` of such an array.
template <class T>
RNNKERNELS_INLINE T load_as(const void* array, Dtype dtype, Index at) {
    return with_dtype<T>(dtype, [&](auto stored) RNNKERNELS_INLINED { return stored.get(array, at); });
}
template <class T>
RNNKERNELS_INLINE void store_as(void* array, Dtype dtype, Index at, T value) {
    with_dtype<T>(dtype, [&](auto stored) RNNKERNELS_INLINED { stored.set(array, at, value); });
}

// `at` elements into an array of this dtype; null stays null.
inline const void* offset(const void* array, Dtype dtype, Index at) {
    return array ? static_cast<const char*>(array) + at * bytes_of(dtype) : nullptr;
}
inline void* offset(void* array, Dtype dtype, Index at) {
    return array ? static_cast<char*>(array) + at * bytes_of(dtype) : nullptr;
}

}  // namespace rnnkernels::RNNKERNELS_TARGET
