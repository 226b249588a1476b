"""Breaks of cells with heads: whose numbers a column multiplies, whose sum it takes, where a gradient goes."""

from .record import CPU, EMULATED, Break

TESTS = "tests/equations/test_added_heads.py"
ON_CUDA = "tests/cuda/test_cuda_own_cells.py -k in_the_cpus_place"

BREAKS = [
    Break(
        "heads: the last head of a panel has the sum of the first",
        "csrc/cpu/head_product.h",
        "for (Index head = heads.first + 1; head <= heads.last; ++head) {",
        "for (Index head = heads.first + 1; head < heads.last; ++head) {",
        TESTS,
        CPU,
    ),
    Break(
        "heads: panels side by side are all of the first one's head",
        "csrc/cpu/head_product.h",
        "while (end * panels.width < last && ranges[end].first == heads.first && ranges[end].last == heads.last)",
        "while (end * panels.width < last && ranges[end].first == ranges[end].last)",
        TESTS,
        CPU,
    ),
    Break(
        "heads: other heads' sums are added as zeros",
        "csrc/cpu/head_product.h",
        "V::load(strip + r * width + at), V::load(to)).store(to);",
        "V::load(strip + r * width + at), fma(V(T(0)), V::load(strip + r * width + at), V::load(to))).store(to);",
        TESTS,
        CPU,
    ),
    Break(
        "heads: a backward's panel across heads has the weights of the first",
        "csrc/cpu/head_product.h",
        "from[of * size * size + at - of * size]",
        "from[head * size * size + at - of * size]",
        TESTS,
        CPU,
    ),
    Break(
        "heads: every head's gradient is that of the first head's operand",
        "csrc/cpu/head_gradients.h",
        "return matrix_row(row) + begin;",
        "return matrix_row(row) + 0 * begin;",
        TESTS,
        CPU,
    ),
    Break(
        "heads: a plan counts a dense weight",
        "csrc/cpu/plan.cpp",
        "return in.heads > 1 ? dense / in.heads : dense;",
        "return dense;",
        TESTS,
        CPU,
    ),
    Break(
        "heads: in low precision a plan counts them as bfloat16",
        "csrc/cpu/geometry.h",
        "return table.heads > 1 ? Kept{} : kept;",
        "return table.heads < 0 ? Kept{} : kept;",
        TESTS,
        CPU,
    ),
    Break(
        "heads: several vectors have heads",
        "csrc/recurrence/program_check.cpp",
        "if (cell.heads > 1 && (products == 0 || cell.vectors > 1))",
        "if (cell.heads > 1 && products == 0)",
        TESTS,
        CPU,
    ),
    Break(
        "heads: units may be left over",
        "csrc/binding/arguments.cpp",
        "if (hidden % info.heads != 0)",
        "if (hidden < info.heads)",
        TESTS,
        CPU,
    ),
    Break(
        "heads on cuda: every head multiplies the first one's numbers",
        "csrc/cuda/reference.cu",
        "i * product.a_step",
        "0 * i * product.a_step",
        ON_CUDA,
        EMULATED,
    ),
    Break(
        "heads on cuda: a gate's gradient goes where the first gate's does",
        "csrc/cuda/weight_gradients.h",
        "d_hh_.to + product.row[i] * hidden * size",
        "d_hh_.to + 0 * product.row[i] * hidden * size",
        ON_CUDA,
        EMULATED,
    ),
]
