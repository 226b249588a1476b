// What int8.h asks of a vector, for the kernels of the neon set: all but add.
#pragma once

#include <arm_neon.h>

#include "int8.h"

namespace rnnkernels::cpu {
namespace {

struct NeonFloats {
    static constexpr int lanes = 4;
    static constexpr int rows = 3, sums = 24;
    using Int = int32x4_t;
    using Float = float32x4_t;
    using Weights = int8x16_t;
    using Numbers = int8x16_t;

    static Weights weights(const float* from) { return vreinterpretq_s8_f32(vld1q_f32(from)); }
    static Numbers numbers(const float* from) { return vreinterpretq_s8_f32(vld1q_dup_f32(from)); }
    static Int every(const float* from) { return vreinterpretq_s32_f32(vld1q_dup_f32(from)); }
    static Float zero() { return vdupq_n_f32(0); }
    static Float scale(const float* from) { return vld1q_dup_f32(from); }
    static Float load(const float* from) { return vld1q_f32(from); }
    static void store(float* to, Float value) { vst1q_f32(to, value); }
    static Float number(Int value) { return vcvtq_f32_s32(value); }
    static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
    static Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
};

}  // namespace
}  // namespace rnnkernels::cpu
