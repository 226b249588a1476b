// int8 products for the avx2 set with vpdpbusd of 256 bits: four products of unsigned and signed bytes and their sum in
// one instruction, nothing saturated. Two processors' families encode it differently; avx_vnni.cpp and
// avx512_vnni_256.cpp compile this with their flags.
#pragma once

#include "floats_256.h"

namespace rnnkernels::cpu {
namespace {

struct Vnni256 : Floats256 {
#if defined(__AVX512VL__)
    static constexpr int rows = 4, sums = 16;  // of 32 registers
#else
    static constexpr int rows = 3, sums = 10;
#endif
    using Weights = __m256i;
    using Numbers = __m256i;

    static Weights weights(const float* from) { return four(from); }
    static Numbers numbers(const float* from) { return every(from); }
    // Not by the intrinsic: GCC 12 copies its sum to another register, and runs out of them.
    static void add(Int& sum, Weights w, Numbers a) {
#if defined(__AVXVNNI__)
        asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(a));
#else
        asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(a));
#endif
    }
};

}  // namespace
}  // namespace rnnkernels::cpu
