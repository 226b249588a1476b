"""Breaks of products in low precision: int8 weights and bfloat16 products on the CPU."""

from __future__ import annotations

from .record import CPU, Break

TESTS = "tests/cpu/test_low_precision.py"
PRODUCTS = "tests/cpu/test_bfloat16_products.py"

BREAKS = [
    Break(
        "low precision: a tile's bfloat16 weights are those of the next group",
        "csrc/cpu/low/avx512_bf16.cpp",
        "w += at.width * kLanes;",
        "w += (groups > 2 ? 1 : 0) * at.width * kLanes;",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: a last k without a partner is dropped",
        "csrc/cpu/low/avx512_bf16.cpp",
        "mask((left + 1) / 2)",
        "mask(left / 2)",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: weights are offset and sums are not corrected",
        "csrc/cpu/low/avx512_vnni.cpp",
        "const int correction = -kOffset * _mm512_reduce_add_epi32(sum);",
        "const int correction = -(kOffset - 1) * _mm512_reduce_add_epi32(sum);",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: x has the scales of the row above",
        "csrc/cpu/low/avx512_vnni.cpp",
        "_mm512_set1_ps(scales[row])",
        "_mm512_set1_ps(scales[r > 0 ? row - of.row_stride : row])",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: a block with an infinity counts as zeros",
        "csrc/cpu/low/avx512_vnni.cpp",
        '_mm512_mask_mov_ps(_mm512_set1_ps(__builtin_nanf("")), finite,',
        "_mm512_mask_mov_ps(_mm512_setzero_ps(), finite,",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: scales that are given are not read",
        "csrc/cpu/int8_panels.h",
        "    if (given) {",
        "    if (given && k == 0) {",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: rows of a ragged batch are converted where the dense ones stand",
        "csrc/cpu/low_rows.h",
        "room + rows.first * lanes, rows.step * lanes);",
        "room + rows.first * lanes, lanes);",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: fed-back vectors are converted over h",
        "csrc/cpu/multiply.h",
        "scratch_.low + shape_.batch * rows.stride",
        "scratch_.low",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: a token's column is not rounded",
        "csrc/cpu/token_rows.h",
        "if constexpr (rounds) weight = round_to_bfloat16(weight);",
        "if constexpr (rounds) weight += T(0);",
        TESTS,
        CPU,
    ),
    Break(
        "low precision: the scales of fed-back vectors are those of weight_hh",
        "csrc/cpu/weights.h",
        "table.own_feedback_weight ? how.scale_gg : how.scale_hh",
        "table.own_feedback_weight ? how.scale_hh : how.scale_gg",
        TESTS,
        CPU,
    ),
    # ---- the backward's products of bfloat16
    Break(
        "bfloat16 backward: gradients of fed-back vectors are converted over those of h",
        "csrc/cpu/low_backward.h",
        "room += shape_.batch * converted[i].stride;",
        "room += 0 * converted[i].stride;",
        PRODUCTS,
        CPU,
    ),
    Break(
        "bfloat16 backward: all gates have the first one's gradients",
        "csrc/cpu/low_rows.h",
        "a.data + rows.first * a.row_stride + a.offsets[i],",
        "a.data + rows.first * a.row_stride + a.offsets[0],",
        PRODUCTS,
        CPU,
    ),
    Break(
        "bfloat16 backward: tiles of a projected cell all have the first rows",
        "csrc/cpu/low_backward.h",
        "converted.at(rows.at(i))",
        "converted.at(rows.first)",
        PRODUCTS,
        CPU,
    ),
    Break(
        "bfloat16 backward: both units of a pair have the weights of the first",
        "csrc/cpu/panels.h",
        "V::load(source + stride + at, left)",
        "V::load(source + at, left)",
        PRODUCTS,
        CPU,
    ),
    Break(
        "bfloat16 backward: a weight's gradient has the first row of each pair twice",
        "csrc/cpu/low_weight_gradients.h",
        "matrix_row(first + k + 1)",
        "matrix_row(first + k)",
        PRODUCTS,
        CPU,
    ),
    Break(
        "bfloat16 backward: a weight's gradient is that of the last block of rows",
        "csrc/cpu/low_weight_gradients.h",
        "const bool set = begins && first == 0;",
        "const bool set = begins;",
        PRODUCTS,
        CPU,
    ),
    Break(
        "bfloat16 backward: dx is that of the first rows, over and over",
        "csrc/cpu/low_weight_gradients.h",
        "rows.data + row * rows.stride, rows.stride, slots",
        "rows.data, rows.stride, slots",
        PRODUCTS,
        CPU,
    ),
]
