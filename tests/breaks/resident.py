"""Breaks of resident kernels, emulated warp by warp (tests/native/check_resident.cpp)."""

from .record import RESIDENT, Break

D = "csrc/cuda/resident"

BREAKS = [
    Break(
        "resident: a step waits for the other phase",
        f"{D}/geometry.h",
        "return static_cast<unsigned>((t - 1) / 2 & 1);",
        "return static_cast<unsigned>(t / 2 & 1);",
        "",
        RESIDENT,
    ),
    Break(
        "resident: a block waits for the bytes of its own units",
        f"{D}/geometry.h",
        "return units() * groups * kGroup * 2;",
        "return block_units() * groups * kGroup * 2;",
        "",
        RESIDENT,
    ),
    Break(
        "resident: h goes to the buffer that is read",
        f"{D}/warp.h",
        "if (!last) send(half, g, (t + 1) & 1);",
        "if (!last) send(half, g, t & 1);",
        "",
        RESIDENT,
    ),
    Break(
        "resident: a lane keeps its neighbour's side",
        f"{D}/geometry.h",
        "return lane >> 2 & 1;",
        "return lane >> 3 & 1;",
        "",
        RESIDENT,
    ),
    Break(
        "resident: all who share h send it to the same blocks",
        f"{D}/geometry.h",
        "return lane / 8 % of.sharers();",
        "return 0 * lane * of.sharers();",
        "",
        RESIDENT,
    ),
    Break(
        "resident: two lanes' halves in the order of who sends",
        f"{D}/warp.h",
        "word[lane] = lane & distance ? other[lane] | half[lane] << 16 : half[lane] | other[lane] << 16;",
        "word[lane] = half[lane] | other[lane] << 16;",
        "",
        RESIDENT,
    ),
    Break(
        "resident: two lanes' words in the order of who sends",
        f"{D}/warp.h",
        "if (!(lane & distance)) return;",
        "if (!(lane & distance) || lane & distance) return;",
        "",
        RESIDENT,
    ),
    Break(
        "resident: x of the step before",
        f"{D}/warp.h",
        "if (!last) fetch(t + 1);",
        "if (!last) fetch(t);",
        "",
        RESIDENT,
    ),
    Break(
        "resident: rows that ended go on",
        f"{D}/warp.h",
        "if (row < count && unit < hidden()) {\n                        V now",
        "if (row < call_.batch && unit < hidden()) {\n                        V now",
        "",
        RESIDENT,
    ),
    Break(
        "resident: the weight's columns are those of the next tile",
        f"{D}/geometry.h",
        "return 2 * (lane & 3) + 8 * (part >> 1);",
        "return 2 * (lane & 3) + 8 * (part & 1);",
        "",
        RESIDENT,
    ),
]
