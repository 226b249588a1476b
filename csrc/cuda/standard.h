// What the headers of kernels use of the standard library and of a host compiler's own functions. NVRTC, which compiles
// cells at run time, has neither.
#pragma once

#if defined(__CUDACC_RTC__)

namespace std {

using int8_t = signed char;
using int64_t = long long;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long long;
using size_t = decltype(sizeof(0));
using ::memcpy;
template <bool, class Yes, class>
struct conditional {
    using type = Yes;
};
template <class Yes, class No>
struct conditional<false, Yes, No> {
    using type = No;
};
template <bool yes, class Yes, class No>
using conditional_t = typename conditional<yes, Yes, No>::type;

}  // namespace std

#define __builtin_fmaf(a, b, c) __fmaf_rn(a, b, c)
#define __builtin_fma(a, b, c) __fma_rn(a, b, c)
#define __builtin_sqrtf(x) __fsqrt_rn(x)
#define __builtin_sqrt(x) __dsqrt_rn(x)
#define __builtin_inff() __builtin_bit_cast(float, 0x7f800000U)
#define __builtin_inf() __builtin_bit_cast(double, 0x7ff0000000000000ULL)
#define __builtin_nanf(text) __builtin_bit_cast(float, 0x7fc00000U)
#define __builtin_nan(text) __builtin_bit_cast(double, 0x7ff8000000000000ULL)

#else

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#endif
