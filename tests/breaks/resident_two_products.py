"""Breaks of resident kernels whose step has two products, emulated warp by warp (tests/native/check_resident.cpp)."""

from .record import EMULATED, RESIDENT, Break

D = "csrc/cuda/resident"
WARP = f"{D}/two_products_warp.h"
CELL = f"{D}/two_products_cell_maths.h"
PROGRAM = f"{D}/two_products_program_maths.h"
PROGRAMS = "tests/cuda/test_cuda_own_cells.py -k test_own_cells"
EVERY_CELL = "tests/cuda/test_cuda_resident.py -k 'every_cell and gru_reset'"

BREAKS = [
    Break(
        "resident, two products: the gated state goes where h is read",
        WARP,
        "Base::send(half, g, 1);",
        "Base::send(half, g, 0);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: h goes where the gated state is read",
        WARP,
        "if (!last) Base::send(half, g, 0);",
        "if (!last) Base::send(half, g, 1);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: the gated state is not sent",
        WARP,
        "Base::send(half, g, 1);",
        "if (t < 0) Base::send(half, g, 1);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: the second product does not wait",
        f"{D}/geometry.h",
        "{ return t > 0; }",
        "{ return t > 0 && t % 2 == 0; }",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: the first product does not wait",
        f"{D}/geometry.h",
        "{ return t > 0; }",
        "{ return t % 2 == 1; }",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: h is sent in place of the gated state",
        WARP,
        "Stored::bits(Base::operand(g, s, lane, gated.raw, kDropped));",
        "Stored::bits(state_[g][s][0][lane] + 0 * gated.raw);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: x of the step before",
        WARP,
        "if (!last) Base::fetch(t + 1);",
        "if (!last) Base::fetch(t);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: rows that ended go on",
        WARP,
        "if (row < count && unit < Base::hidden()) {\n                        V now[Maths::states], next",
        "if (row < call_.batch && unit < Base::hidden()) {\n                        V now[Maths::states], next",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: the second half reads the first product",
        CELL,
        "Base::u[G::hiddens + i] + Base::bias",
        "Base::u[i] + Base::bias",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: float32's second product is for the first's gates",
        WARP,
        "part.first_gate = hidden, part.gates = m_.shape().first_fed() - hidden;",
        "part.gates = hidden;",
        "",
        RESIDENT,
    ),
    Break(
        "resident, two products: a cell's second product has no bias",
        CELL,
        "V(a.bias_gated ? a.bias_gated[i * a.hidden + unit] : 0.0F)",
        "V(a.bias_gated ? 0 * a.bias_gated[i * a.hidden + unit] : 0.0F)",
        EVERY_CELL,
        EMULATED,
    ),
    Break(
        "resident, two products: rows of the weight are the first product's",
        "csrc/cuda/forward.h",
        "for (const ProductGates* product : {&table_.hidden, &table_.gated, &table_.feedback})",
        "for (const ProductGates* product : {&table_.hidden, &table_.hidden, &table_.feedback})",
        EVERY_CELL,
        EMULATED,
    ),
    Break(
        "resident, two products: nothing is kept for a backward",
        "csrc/cuda/forward.h",
        "if (!reserve_) call.a.to_save = nullptr;",
        "if (reserve_) call.a.to_save = nullptr;",
        EVERY_CELL,
        EMULATED,
    ),
    Break(
        "resident, two products: a program keeps nothing of its first half",
        PROGRAM,
        "ResidentProgramAt::set_saved(k, value);",
        "if (k < 0) ResidentProgramAt::set_saved(k, value);",
        PROGRAMS,
        EMULATED,
    ),
    Break(
        "resident, two products: a program's bias is the first product's",
        PROGRAM,
        "(call.gate_row[i] - call.gate_row[first])",
        "(call.gate_row[i] - call.gate_row[0])",
        PROGRAMS,
        EMULATED,
    ),
]
