"""Breaks of grid kernels, emulated block by block (tests/native/check_grid.cpp)."""

from .record import GRID, Break

D = "csrc/cuda/grid"

BREAKS = [
    Break(
        "grid: a flag is raised before the cell's maths",
        f"{D}/block.h",
        "        finish(t, last);\n        m_.barrier();\n        if (last) return;\n"
        "        m_.publish(tile_, flag_of(t + 1));\n",
        "        if (!last) m_.publish(tile_, flag_of(t + 1));\n        finish(t, last);\n        m_.barrier();\n"
        "        if (last) return;\n",
        "",
        GRID,
    ),
    Break(
        "grid: no barrier between h and the flag",
        f"{D}/block.h",
        "        finish(t, last);\n        m_.barrier();\n",
        "        finish(t, last);\n",
        "",
        GRID,
    ),
    Break(
        "grid: h is read without an acquire",
        f"{D}/block.h",
        "        m_.wait(tile_, flag_of(t));\n",
        "",
        "",
        GRID,
    ),
    Break(
        "grid: no barrier behind a wait",
        f"{D}/block.h",
        "        m_.wait(tile_, flag_of(t));\n        m_.barrier();\n",
        "        m_.wait(tile_, flag_of(t));\n",
        "",
        GRID,
    ),
    Break(
        "grid: no barrier between sums and who reads them",
        f"{D}/block.h",
        "        multiply(buffer_of(t));\n        m_.barrier();\n",
        "        multiply(buffer_of(t));\n",
        "",
        GRID,
    ),
    Break(
        "grid: h goes to the buffer that is read",
        f"{D}/block.h",
        "m_.store(tile_, buffer_of(t + 1), row, unit",
        "m_.store(tile_, buffer_of(t), row, unit",
        "",
        GRID,
    ),
    Break(
        "grid: a flag says that nothing is awaited",
        f"{D}/geometry.h",
        "return static_cast<unsigned>(t + 1);",
        "return static_cast<unsigned>(t);",
        "",
        GRID,
    ),
    Break(
        "grid: one buffer of h",
        f"{D}/geometry.h",
        "return static_cast<int>(t & 1);",
        "return static_cast<int>(t & 0);",
        "",
        GRID,
    ),
    Break(
        "grid: weights in the order of k",
        f"{D}/geometry.h",
        "4 * (word / 4) + 2 * (word >> 1 & 1)",
        "2 * (word / 4) + 4 * (word >> 1 & 1)",
        "",
        GRID,
    ),
    Break(
        "grid: the first part of k alone",
        f"{D}/block.h",
        "for (int part = 1; part < m_.shape().splits(); ++part)",
        "for (int part = 1; part < 1; ++part)",
        "",
        GRID,
    ),
    Break(
        "grid: x of the step before",
        f"{D}/block.h",
        "        fetch(t + 1);\n",
        "        fetch(t);\n",
        "",
        GRID,
    ),
    Break(
        "grid: rows that ended go on",
        f"{D}/block.h",
        "                if (of_batch < count) {\n",
        "                if (of_batch < call_.batch) {\n",
        "",
        GRID,
    ),
]
