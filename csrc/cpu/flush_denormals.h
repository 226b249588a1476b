// Whether the calling thread's arithmetic takes denormals as zeros. For what is compiled once (threads.cpp).
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace rnnkernels::cpu {

// Flush denormals to zero, or do not, for as long as it lives.
class FlushDenormals {
public:
#if defined(__x86_64__) || defined(_M_X64)
    explicit FlushDenormals(bool flush = true) : saved_(_mm_getcsr()) {
        constexpr unsigned both = 0x8040;  // FTZ and DAZ
        _mm_setcsr(flush ? saved_ | both : saved_ & ~both);
    }
    ~FlushDenormals() { _mm_setcsr(saved_); }

private:
    unsigned saved_;
#elif defined(__aarch64__)
    explicit FlushDenormals(bool flush = true) {
        constexpr unsigned long long fz = 1ULL << 24;
        asm volatile("mrs %0, fpcr" : "=r"(saved_));
        asm volatile("msr fpcr, %0" ::"r"(flush ? saved_ | fz : saved_ & ~fz));
    }
    ~FlushDenormals() { asm volatile("msr fpcr, %0" ::"r"(saved_)); }

private:
    unsigned long long saved_ = 0;
#else
    explicit FlushDenormals(bool = true) {}
#endif
public:
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;
};

}  // namespace rnnkernels::cpu
