"""Breaks of resident backwards, emulated warp by warp (tests/native/check_resident_backward.cpp)."""

from .record import EMULATED, RESIDENT, Break

D = "csrc/cuda/resident"
GEOMETRY = f"{D}/backward_geometry.h"
WARP = f"{D}/backward_warp.h"
CELL = f"{D}/backward_cell_maths.h"
MATHS = f"{D}/backward_maths.h"
KERNEL = f"{D}/backward_kernel.h"
TESTS = "tests/cuda/test_cuda_resident.py -k"

BREAKS = [
    Break(
        "resident backward: parts go to the buffer that is read",
        KERNEL,
        "constexpr int backward_buffer(long long e) { return static_cast<int>(e & 1); }",
        "constexpr int backward_buffer(long long e) { return static_cast<int>(e & 0); }",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: warps wait for the other phase of gate gradients",
        KERNEL,
        "return static_cast<unsigned>(e & 1); }",
        "return static_cast<unsigned>(~e & 1); }",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: a block waits for the parts of one group",
        GEOMETRY,
        "constexpr int bytes() const { return parts() * 4; }",
        "constexpr int bytes() const { return parts() / of.groups * 4; }",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: a warp's units are those of some blocks only",
        GEOMETRY,
        "return {tile * (kTileRows / units) + row / units, warp * units + row % units};",
        "return {warp / 2, tile * (kTileRows / units) + row / units};",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: a warp does not say that its gate gradients are there",
        WARP,
        "        m_.arrive();\n        if (t > 0)",
        "        if (t > 0)",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: parts of all blocks in one place",
        GEOMETRY,
        "return (((sender * shape.of.groups + group)",
        "return (((0 * sender * shape.of.groups + group)",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: a lane takes the other row of its pair",
        GEOMETRY,
        "return 2 * finished_pair(warp) + (lane & 1);",
        "return 2 * finished_pair(warp) + (~lane & 1);",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: the weight is not transposed",
        WARP,
        "(call_.gate_row[from.gate] * hidden() + unit) * hidden() + column]",
        "(call_.gate_row[from.gate] * hidden() + column) * hidden() + unit]",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: units behind H have no gate gradients of 0",
        WARP,
        "for (int i = 0; i < Maths::hidden_count(call_); ++i) du[i] = V(0.0F);",
        'for (int i = 0; i < Maths::hidden_count(call_); ++i) du[i] = V(__builtin_nanf(""));',
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: a row takes products of a step that it does not have",
        MATHS,
        "return t + 1 < steps ? count(t + 1) : behind;",
        "return t + 1 < steps ? count(t) : behind;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: a run begins without the products of the step behind",
        WARP,
        "row < call_.behind && unit < hidden() ? call_.a.product[at] : 0.0F;",
        "0.0F;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: what the first step's products give is lost",
        WARP,
        "call_.to_step_before[at] = product_[g][s][lane];",
        "call_.to_step_before[at] = 0;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: gradients of states stay where they are",
        WARP,
        "call_.a.carried[k][at] = carried_[g][s][k][lane];",
        "(void)carried_[g][s][k][lane];",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: a row that ended sooner has the states of the step behind",
        WARP,
        "Maths::template fetch<Stored>(call_, at, row < next,",
        "Maths::template fetch<Stored>(call_, at, later && next >= 0,",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: states before a run's first step are the initial ones",
        WARP,
        "const bool begins = call_.first_step + t == 0;",
        "const bool begins = t == 0;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: h before the step is not kept for the weight's gradient",
        CELL,
        "if (a.operand) Stored::set(a.operand, Base::row * hidden + Base::unit, s[0].raw);",
        "",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward: the engine says of no row that a step stands behind",
        "csrc/cuda/backward.h",
        "call.behind = rows_.count(last);",
        "call.behind = 0;",
        f"{TESTS} backward_in_chunks",
        EMULATED,
    ),
    Break(
        "resident backward: gradients of states after h are left out",
        f"{D}/coverage.cpp",
        "if ((k > 0 && call.d_sequence[k]) || call.norms[k])",
        "if (call.norms[k])",
        f"{TESTS} which_backwards",
        EMULATED,
    ),
]
