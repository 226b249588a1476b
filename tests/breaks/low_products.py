"""Breaks of the kernels for products in low precision, one at a time (tests/native/check_low_products.cpp)."""

from .record import NATIVE, Break

BREAKS = [
    Break(
        "low products: AVX2 takes weights in panels for signed",
        "csrc/cpu/low/avx2.cpp",
        "return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(bytes, 8)};",
        "return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srai_epi16(bytes, 8)};",
        "",
        NATIVE,
    ),
    Break(
        "low products: sums of two products saturate",
        "csrc/cpu/low/avx2.cpp",
        "_mm256_add_epi32(_mm256_add_epi32(sum, _mm256_madd_epi16(w.even, a.even)),",
        "_mm256_adds_epi16(_mm256_add_epi32(sum, _mm256_madd_epi16(w.even, a.even)),",
        "",
        NATIVE,
    ),
    Break(
        "low products: a NaN counts as zero",
        "csrc/cpu/low/int8.h",
        'bits < 0x7f800000 ? 0.0F : __builtin_nanf("");',
        "0.0F;",
        "",
        NATIVE,
    ),
    Break(
        "low products: every block has the first one's scale",
        "csrc/cpu/low/int8.h",
        "left > 0; left -= kScaleBlock / 4, scales += head)",
        "left > 0; left -= kScaleBlock / 4)",
        "",
        NATIVE,
    ),
    Break(
        "low products: the second of two panels is the first",
        "csrc/cpu/low/int8.h",
        "S::weights(from[v] + p * of.panel_size)",
        "S::weights(from[v])",
        "",
        NATIVE,
    ),
    Break(
        "low products: vectors with a second plane have that of the first of them",
        "csrc/cpu/low/int8.h",
        "S::add(rest[r][v], w[0][v], b);",
        "S::add(rest[r][v], w[0][0], b);",
        "",
        NATIVE,
    ),
    Break(
        "low products: the second plane of a vector without one counts",
        "csrc/cpu/low/int8.h",
        "S::mul(scale, S::load(at.panel + at.step + vector(v)))",
        "S::mul(scale, S::load(at.panel + at.step + vector(0)))",
        "",
        NATIVE,
    ),
]
