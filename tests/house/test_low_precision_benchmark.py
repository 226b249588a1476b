"""`python -m benchmarks low-precision`: errors first, no speed for a wrong answer, what is asked, the picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

if not (Path(__file__).resolve().parents[2] / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)

from benchmarks import draw, low_precision, low_precision_nats
from benchmarks.grid import WrongAnswerError
from benchmarks.low_precision import CELLS, GOALS, MODES, case_of
from benchmarks.peers.base import Timed
from benchmarks.peers.low_precision import OURS, Ours, Participant, participants
from rnnkernels import charlm

if TYPE_CHECKING:
    from benchmarks.workloads import Workload

SHAPE = (4, 3, 24, 24)


class Off(Participant):
    """A peer of float32 whose outputs are off by `by`."""

    name = "off"

    def __init__(self, by: float) -> None:
        self.by = np.float32(by)

    def prepare(self, work: Workload, threads: int) -> Timed:
        timed = Ours("float32").prepare(work, threads)
        return Timed(timed.call, lambda result: {k: v + self.by for k, v in timed.answer(result).items()})


class OursOff(Ours):
    def prepare(self, work: Workload, threads: int) -> Timed:
        return Off(0.5).prepare(work, threads)


class Fails(Participant):
    name = "fails"

    def prepare(self, work: Workload, threads: int) -> Timed:  # noqa: ARG002
        raise RuntimeError("no such cell\nand more")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", CELLS)
def test_everyone_here_answers_right(cell: str, mode: str) -> None:
    """Errors are those of the precision: a float32 is not called bfloat16, and int8 is not computed as float32.

    Products of bfloat16 are float32's where the machine has no instruction for them.
    """
    there = [peer for peer in participants() if not peer.missing()]
    line = low_precision.measure(case_of(cell, mode, SHAPE), there, 1, 0.0)
    assert not line["left_out"]
    ours = {f"ours {kind}" for kind in OURS if mode == "inference" or kind != "int8"}
    assert set(line["medians"]) == set(line["errors"]) >= ours
    for name, found in line["errors"].items():
        low, high = (1e-9, 1e-5) if "float32" in name else (2e-5, 5e-2)
        low = 1e-9 if (name, mode) == ("ours bfloat16", "training") else low
        assert low < found["rms"] < high, name
        assert mode == "training" or found["rms"] <= found["largest"]


def test_the_error_of_an_answer_is_what_was_planted() -> None:
    case = case_of("lstm", "inference", SHAPE)
    line = low_precision.measure(case, [Ours("float32"), Off(1e-5)], 1, 0.0)
    assert line["errors"]["off"]["rms"] == pytest.approx(1e-5, rel=0.05)
    assert line["errors"]["off"]["largest"] == pytest.approx(1e-5, rel=0.05)
    assert case.errors({})["norm"] == np.inf
    assert case.errors({"output": np.full_like(case.exact["output"], np.nan)})["norm"] == np.inf


def test_a_wrong_or_failed_peer_has_no_speed_and_a_wrong_answer_of_ours_ends_the_run() -> None:
    case = case_of("gru", "inference", SHAPE)
    line = low_precision.measure(case, [Ours("float32"), Off(0.1), Fails()], 1, 0.0)
    assert set(line["medians"]) == {"ours float32"}
    assert line["left_out"]["off"].startswith("WRONG")
    assert line["left_out"]["fails"] == "failed: RuntimeError: no such cell"
    with pytest.raises(WrongAnswerError, match=r"ours int8: .* is off by"):
        low_precision.measure(case, [OursOff("int8")], 1, 0.0)


def line_of(shape: tuple[int, ...], ours: tuple[float, ...], theirs: tuple[float, ...]) -> dict[str, Any]:
    """A line of an LSTM: seconds of ours in int8, bfloat16, float32; of ONNX Runtime's and PyTorch's int8, bfloat16."""
    names = ("ours int8", "ours bfloat16", "ours float32", "onnxruntime int8", "torch int8", "torch bfloat16")
    errors = {name: {"rms": 1e-3, "largest": 1e-2} for name in names}
    errors["ours int8"] = {"rms": 5e-4, "largest": 1e-2}
    line: dict[str, Any] = {"kind": "low_precision", "run": "r", "what": "inference", "cell": "lstm"}
    line |= {"mode": "inference", "shape": list(shape), "threads": 1, "instruction_set": "avx2", "left_out": {}}
    return {**line, "medians": dict(zip(names, (*ours, *theirs), strict=True)), "errors": errors}


LINES = [line_of((50, 1, 512, 512), (1, 2, 4), (1.5, 2, 3)), line_of((30, 64, 512, 512), (2, 4, 6), (1.8, 4, 5))]


def test_what_is_asked() -> None:
    found = {goal.text: goal.reached(LINES) for goal in GOALS if goal.mode == "inference"}
    number, good = found["int8, the fastest peer"] or (0, False)
    assert number == pytest.approx((1.5 * 0.9) ** 0.5)
    assert good
    assert found["int8, the fastest peer, B 1"] == (1.5, True)
    assert found["int8, the fastest peer, everywhere"] == (0.9, False)
    assert found["int8, our float32"] == (3.0, True)
    assert found["int8, error over ONNX Runtime's"] == (0.5, True)
    assert found["bfloat16, our float32, B ≥ 16, H ≥ 512"] == (1.5, False)
    assert found["int8 GRU, PyTorch"] is None
    rows = low_precision.summary(LINES).splitlines()
    assert sum(row.endswith("short") for row in rows) == 2
    assert "T50 B1 H512: " in low_precision.row(LINES[0])


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = {"kind": "run", "run": "r", "machine": "m", "versions": {"numpy": "1"}}
    (file,) = draw.draw([run, *LINES], tmp_path)
    assert file.name == "low_precision.svg"
    assert ET.fromstring(file.read_bytes()).tag.endswith("svg")


@pytest.mark.parametrize("cell", low_precision_nats.CELLS)
def test_nats(cell: str) -> None:
    text = "the quick brown fox jumps over the lazy dog. " * 60
    model = charlm.CharModel(charlm.Vocabulary.from_text(text), cell=cell, hidden=24, layers=2, rng=0)
    tokens = model.vocabulary.encode(text)
    own = model.evaluate(tokens, low_precision_nats.STREAMS, low_precision_nats.WINDOW)
    found = low_precision_nats.losses(model, tokens)
    assert set(found) == set(OURS)
    assert found["float32"] == own
    assert 0 < abs(found["int8"] - own) < 0.02
    assert 0 < abs(found["bfloat16"] - own) < 0.005
