"""How the checks of machine code find a step's loop (tests/native/machine_code.py), by listings made up here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "native"))

from machine_code import names, steps_of

# A loop over tiles around one over steps; a step's wait goes on behind the end of the kernel.
KERNEL = """
    MOV R1, c[0x0][0x28] ;
.L_x_0:
    @P0 MEMBAR.ALL.GPU ;
.L_x_1:
    LDG.E.STRONG.GPU R3, desc[UR8][R72.64] ;
    @!P0 BRA `(.L_x_9) ;
.L_x_2:
    BRA.CONV `(.L_x_3) ;
    CALL.REL.NOINC `($__internal_2_$__cuda_sm70_warpsync) ;
.L_x_3:
    HMMA.16816.F32.BF16 R60, R128, R56, RZ ;
    BAR.SYNC.DEFER_BLOCKING 0x0 ;
    @P1 BRA `(.L_x_1) ;
    STG.E desc[UR8][R2.64], R8 ;
    BRA.U UP0, `(.L_x_0) ;
    EXIT ;
.L_x_9:
    CCTL.IVALL ;
    @!P0 BRA `(.L_x_9) ;
    BRA `(.L_x_2) ;
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


def test_the_innermost_loop_is_found_with_what_stands_elsewhere() -> None:
    (step,) = steps_of(lines(KERNEL), ("HMMA", "BAR"))
    assert names(step) == ["LDG", "BRA", "BRA", "CALL", "HMMA", "BAR", "BRA", "CCTL", "BRA", "BRA"]


def test_the_outer_loop_is_found_where_only_it_has_all() -> None:
    (tile,) = steps_of(lines(KERNEL), ("HMMA", "STG"))
    assert {"MEMBAR", "HMMA", "CCTL", "STG"} <= set(names(tile))
    assert "EXIT" not in names(tile)


def test_every_loop_is_found() -> None:
    twice = KERNEL.replace(
        "    EXIT ;\n", ".L_x_5:\n    HMMA ;\n    BAR.SYNC 0x0 ;\n    @P2 BRA `(.L_x_5) ;\n    EXIT ;\n"
    )
    assert [len(names(step)) for step in steps_of(lines(twice), ("HMMA", "BAR"))] in ([10, 3], [3, 10])


def test_no_loop_is_said() -> None:
    with pytest.raises(SystemExit, match="expected a loop with"):
        steps_of(lines(KERNEL), ("FFMA",))
