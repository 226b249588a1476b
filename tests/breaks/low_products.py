"""Breaks of the kernels for products in low precision, one at a time (tests/native/check_low_products.cpp)."""

from .record import NATIVE, Break

BREAKS = [
    Break(
        "low products: AVX2 takes weights in panels for signed",
        "csrc/cpu/low/avx2.cpp",
        "return {_mm256_and_si256(four, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(four, 8)};",
        "return {_mm256_and_si256(four, _mm256_set1_epi16(0xff)), _mm256_srai_epi16(four, 8)};",
        "",
        NATIVE,
    ),
    Break(
        "low products: sums of two products saturate",
        "csrc/cpu/low/avx2.cpp",
        "return _mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(w.even, a.even)),",
        "return _mm256_adds_epi16(_mm256_add_epi32(sum, _mm256_madd_epi16(w.even, a.even)),",
        "",
        NATIVE,
    ),
    Break(
        "low products: a NaN counts as zero",
        "csrc/cpu/low/int8.h",
        'scale[0] = bits < 0x7f800000 ? 0.0F : __builtin_nanf("");',
        "scale[0] = 0.0F;",
        "",
        NATIVE,
    ),
    Break(
        "low products: every block has the first one's scale",
        "csrc/cpu/low/int8.h",
        "left > 0; left -= block, scales += 2)",
        "left > 0; left -= block)",
        "",
        NATIVE,
    ),
    Break(
        "low products: the second of two panels is the first",
        "csrc/cpu/low/int8.h",
        "S::weights(weights + p * of.panel_size + v * S::lanes)",
        "S::weights(weights + v * S::lanes)",
        "",
        NATIVE,
    ),
]
