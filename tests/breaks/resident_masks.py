"""Breaks of zoneout and recurrent dropout in resident kernels, emulated warp by warp (tests/native/check_resident.cpp)."""

from .record import RESIDENT, Break

D = "csrc/cuda/resident"

BREAKS = [
    Break(
        "resident, masks: zoneout of the step before",
        f"{D}/warp.h",
        "marks = call_.masks.kept(Maths::state_count(call_), all + call_.first(t), unit);",
        "marks = call_.masks.kept(Maths::state_count(call_), all + call_.first(t > 0 ? t - 1 : t), unit);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: h is dropped as in the step before",
        f"{D}/warp.h",
        "call_.masks.drops(all + call_.first(t + 1), unit))",
        "call_.masks.drops(all + call_.first(t < 0 ? 0 : t), unit))",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: the first step drops nothing",
        f"{D}/kernel.h",
        "if (!(shape.masks & kDrops)) return value;",
        "if (shape.masks >= 0) return value;",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: the gated state is dropped as the next h",
        f"{D}/two_products_warp.h",
        "Base::operand(g, s, lane, gated.raw, kDropped)",
        "Base::operand(g, s, lane, gated.raw)",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: vectors that are fed back are not dropped",
        f"{D}/warp.h",
        "made[k] = V(operand(g, s, lane, made[k].raw));",
        "if (t < 0) made[k] = V(operand(g, s, lane, made[k].raw));",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: the output is what the cell made",
        f"{D}/warp.h",
        "Maths::keep(call_, row, of_batch, unit, next);",
        "if (row < 0) Maths::keep(call_, row, of_batch, unit, next);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: what the cell made is not kept",
        f"{D}/warp.h",
        "if (a.made_states) a.made_states[",
        "if (a.made_states && k > 0) a.made_states[",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: the words of the first four states serve all",
        f"{D}/unit_masks.h",
        "c.stream += static_cast<std::uint32_t>(k / 4);",
        "c.stream += 0 * static_cast<std::uint32_t>(k / 4);",
        "",
        RESIDENT,
    ),
    Break(
        "resident, masks: a mask for each step where a row has one",
        f"{D}/unit_masks.h",
        "if (!per_step) c.step = 0;",
        "if (per_step) c.step = 0;",
        "",
        RESIDENT,
    ),
]
