// Whether the calling thread's arithmetic takes denormals as zeros, and all of its mode. For what is compiled once.
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

// How the thread that made it calculates (denormals, rounding, traps), for other threads to do alike.
class Arithmetic {
public:
    Arithmetic() : mode_(read()) {}

    // The calling thread's mode, for as long as this lives.
    class Here {
    public:
        explicit Here(const Arithmetic& of) : saved_(read()) { write(of.mode_); }
        ~Here() { write(saved_); }
        Here(const Here&) = delete;
        Here& operator=(const Here&) = delete;

    private:
        unsigned long long saved_;
    };

private:
#if defined(__x86_64__) || defined(_M_X64)
    static unsigned long long read() { return _mm_getcsr(); }
    static void write(unsigned long long mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
    static unsigned long long read() {
        unsigned long long mode = 0;
        asm volatile("mrs %0, fpcr" : "=r"(mode));
        return mode;
    }
    static void write(unsigned long long mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
    static unsigned long long read() { return 0; }
    static void write(unsigned long long) {}
#endif

    unsigned long long mode_;
};

}  // namespace rnnkernels::cpu
