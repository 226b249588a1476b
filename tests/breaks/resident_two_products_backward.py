"""Breaks of resident backwards whose step has two products, emulated warp by warp.

By tests/native/check_resident_backward.cpp, those of programs and of the engine by the emulated backend.
"""

from .record import EMULATED, RESIDENT, Break

D = "csrc/cuda/resident"
GEOMETRY = f"{D}/two_products_backward_geometry.h"
WARP = f"{D}/two_products_backward_warp.h"
CELL = f"{D}/two_products_backward_cell_maths.h"
PROGRAM = f"{D}/two_products_backward_program_maths.h"
PROGRAMS = "tests/cuda/test_cuda_own_cells.py -k test_own_cells"
EVERY_CELL = "tests/cuda/test_cuda_resident.py -k 'every_cell and gru_reset'"

BREAKS = [
    Break(
        "resident backward, two products: the second half comes first",
        GEOMETRY,
        "return (exchange & 1) == 1;",
        "return (exchange & 1) == 0;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: an exchange multiplies the other product's gate gradients",
        GEOMETRY,
        "return buffer == 0;",
        "return buffer != 0;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: parts of one product are taken for the other's",
        GEOMETRY,
        "return buffer == 1;",
        "return buffer != 1;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: the gated product has the gates of both",
        GEOMETRY,
        "DepthRange{between, shape.first_fed()}",
        "DepthRange{0, shape.depth()}",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: the product of h has the gates of both",
        GEOMETRY,
        "DepthRange{0, between}",
        "DepthRange{0, shape.depth()}",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: a warp does not say that gate gradients of the gated product are there",
        WARP,
        "        m_.arrive();\n    }\n",
        "    }\n",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: a warp does not say that those of the product of h are there",
        WARP,
        "        m_.arrive();\n        if (t > 0)",
        "        if (t > 0)",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: an exchange puts its gate gradients where the other's are read",
        WARP,
        "m_.put(lane, buffer, g",
        "m_.put(lane, buffer ^ 1, g",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: gate gradients of the gated product in the other's columns",
        WARP,
        "put(lane, buffer, g, s, first, Maths",
        "put(lane, buffer, g, s, 0 * first, Maths",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: units behind H have no gate gradients of 0",
        WARP,
        "for (int i = 0; i < count; ++i) du[i] = V(0.0F);",
        'for (int i = 0; i < count; ++i) du[i] = V(__builtin_nanf(""));',
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: rows that ended go on",
        WARP,
        "clear(Maths::gated_count(call_), du);\n                    if (row < count &&",
        "clear(Maths::gated_count(call_), du);\n                    if (row < call_.batch && count >= 0 &&",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: dL/d(the gated state) is that of the step behind",
        WARP,
        "V(d_gated_[g][s][lane] * at.factor), carried,",
        "V(product_[g][s][lane] * at.factor), carried,",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: the step before is fetched between the halves",
        WARP,
        "        m_.arrive();\n    }\n",
        "        m_.arrive();\n        if (t > 0) Base::fetch(t - 1, true);\n    }\n",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: what the first half leaves in a slot is not rounded",
        CELL,
        "d[i] = V(as_kept<Stored>(from[i].raw));",
        "d[i] = from[i];",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: the gated state is not kept for the weight's gradient",
        CELL,
        "Stored::set(Base::a.made, Base::row * Base::hidden + Base::unit, made.raw * factor);",
        "(void)made;",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: the second half has the states after the step",
        CELL,
        "s[k] = Base::kept[k];",
        "s[k] = Base::kept[G::states + k];",
        "",
        RESIDENT,
    ),
    Break(
        "resident backward, two products: what a program leaves in a slot is not rounded",
        PROGRAM,
        "d[i] = V(as_kept<Stored>(d[i].raw));",
        "d[i] = V(d[i].raw);",
        PROGRAMS,
        EMULATED,
    ),
    Break(
        "resident backward, two products: a program's first half has no part in the product of h",
        PROGRAM,
        "du[i] = d[first + i];",
        "du[i] = V(0.0F * d[first + i].raw);",
        PROGRAMS,
        EMULATED,
    ),
    Break(
        "resident backward, two products: rows of the weight are the first product's",
        "csrc/cuda/backward.h",
        "{&table_.hidden, &table_.gated, &table_.feedback})\n            for (int i = 0;",
        "{&table_.hidden, &table_.hidden, &table_.feedback})\n            for (int i = 0;",
        EVERY_CELL,
        EMULATED,
    ),
]
