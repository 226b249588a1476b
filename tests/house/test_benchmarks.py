"""The benchmark suite's own promises: no speed for a wrong answer, the best peer, what is below target, pictures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import rnnkernels as rk

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)

from benchmarks import compare, draw, grid, measure, memory, report, results, roofline, scaling, targets  # noqa: E402
from benchmarks.peers import peers  # noqa: E402
from benchmarks.peers.base import Peer, Timed  # noqa: E402
from benchmarks.peers.ours import Ours  # noqa: E402
from benchmarks.shapes import BFLOAT16_SHAPES, CORE_SHAPES, MODES, STREAMING_SHAPES, VARIANT_SHAPES, WIDE_SHAPES, shapes  # noqa: E402
from benchmarks.workloads import Workload  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.workloads import Answer

SHAPE = (5, 2, 3, 4)


def work(mode: str = "inference", cell: str = "lstm") -> Workload:
    return Workload(cell, mode, (1, 1, 4, 4) if mode == "streaming" else SHAPE)


@dataclass
class Fake(Peer):
    """A peer: ourselves, later by `wait` seconds, and with an answer that `spoil` has had."""

    name: str
    wait: float = 0.0
    counted: bool = True
    spoil: Callable[[Answer], Answer] = field(default=lambda answer: answer)

    def supports(self, work: Workload) -> bool:  # noqa: ARG002
        return True

    def prepare(self, work: Workload, threads: int) -> Timed:
        timed = Ours().prepare(work, threads)

        def call() -> Any:
            time.sleep(self.wait)
            return timed.call()

        return Timed(call, lambda result: self.spoil(timed.answer(result)))


@dataclass
class Broken(Fake):
    def prepare(self, work: Workload, threads: int) -> Timed:  # noqa: ARG002
        raise RuntimeError("no such cell\nand more")


def shifted(answer: Answer) -> Answer:
    return {name: value + np.float32(0.1) for name, value in answer.items()}


def run(mode: str, *others: Fake) -> results.Line:
    return grid.measure(work(mode), Ours(), others, threads=1, seconds=0.0)


# ---- timing -------------------------------------------------------------------------------------


def test_medians_and_quartiles() -> None:
    assert measure.summary([5.0, 1.0, 3.0, 2.0, 4.0]) == measure.Timing(3.0, 1.5, 4.5, 5)


def test_calls_take_turns_and_the_slow_one_is_slow() -> None:
    turns: list[str] = []

    def call(name: str, seconds: float) -> Callable[[], None]:
        def wait() -> None:
            turns.append(name)
            time.sleep(seconds)

        return wait

    timings = measure.alternate({"a": call("a", 0.005), "b": call("b", 0.01)}, seconds=0.0, least=3)
    assert {name: t.rounds for name, t in timings.items()} == {"a": 3, "b": 3}
    assert timings["b"].median > timings["a"].median >= 0.005
    assert "".join(turns[4:]) == "aabb" * 3  # after the warm-up


# ---- answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_peer_has_no_speed(mode: str) -> None:
    line = run(mode, Fake("right"), Fake("wrong", spoil=shifted))
    assert set(line["peers"]["wrong"]) == {"error", "wrong"}
    assert line["peers"]["wrong"]["error"] > work(mode).tolerance
    assert line["peers"]["right"]["median"] > 0
    assert line["best"] == "right"
    shown = report.row(finished(line, mode), ["right", "wrong"])
    assert shown.count("WRONG") == 1


def test_a_wrong_answer_of_ours_ends_the_run() -> None:
    ours = Fake("rnnkernels", spoil=shifted)
    with pytest.raises(grid.WrongAnswerError, match="our answer is off"):
        grid.measure(work(), ours, [], threads=1, seconds=0.0)


def test_not_a_number_is_wrong() -> None:
    line = run("training", Fake("nan", spoil=lambda answer: {name: value * np.nan for name, value in answer.items()}))
    assert line["peers"]["nan"] == {"error": np.inf, "wrong": True}


@pytest.mark.parametrize("name", ["x", "weight_ih", "weight_hh", "bias_ih", "bias_hh"])
def test_an_error_planted_in_one_gradient_is_seen(name: str) -> None:
    def plant(answer: Answer) -> Answer:
        spoiled = {key: value.copy() for key, value in answer.items()}
        spoiled[name].flat[0] += 0.05 * np.linalg.norm(spoiled[name])
        return spoiled

    def forget(answer: Answer) -> Answer:
        return {key: value for key, value in answer.items() if key != name}

    line = run("training", Fake("right"), Fake("planted", spoil=plant), Fake("forgotten", spoil=forget))
    assert "wrong" not in line["peers"]["right"]
    assert "wrong" in line["peers"]["planted"]
    assert line["peers"]["forgotten"]["error"] == np.inf


def test_a_gradient_may_be_zero_where_it_is() -> None:
    one = Workload("gru", "training", (1, 2, 3, 4))  # the recurrent weights multiply a state of zeros
    answer = {name: np.zeros_like(value) for name, value in {"x": one.x, **one.params}.items()}
    assert grid.error_of(Ours().prepare(one, 1), one) < one.tolerance
    assert one.error(answer) == np.inf


def test_a_peer_that_raises_is_left_out() -> None:
    line = run("inference", Broken("broken"))
    assert line["peers"]["broken"] == {"failed": "RuntimeError: no such cell"}
    assert "ratio" not in line


def test_the_ratio_is_to_the_best_peer_and_no_yardstick_is_one() -> None:
    line = run("inference", Fake("slow", 0.02), Fake("best", 0.005), Fake("yardstick", counted=False))
    assert line["best"] == "best"
    assert line["ratio"] == line["peers"]["best"]["median"] / line["ours"]["median"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", rk.cells())
def test_ours_and_every_peer_here_answer_right(cell: str, mode: str) -> None:
    one = work(mode, cell)
    if rk.cell_info(cell)["direct"]:
        one = Workload(cell, mode, (*one.shape[:2], 4, 4))
    for peer in (Ours(), *peers()):
        # torch and JAX start slowly; jitted code is checked before every benchmark anyway
        if peer.name in {"jax", "torch.compile"} or peer.missing() or not peer.supports(one):
            continue
        assert grid.error_of(peer.prepare(one, 1), one) < one.tolerance, peer.name


# ---- the grid -----------------------------------------------------------------------------------


def test_the_wide_grid_samples_what_it_says() -> None:
    steps, batch, inputs, hidden = (set(sizes) for sizes in zip(*WIDE_SHAPES, strict=True))
    assert (min(steps), max(steps)) == (1, 500)
    assert (min(batch), max(batch)) == (1, 128)
    assert (min(inputs), max(inputs)) == (min(hidden), max(hidden)) == (8, 1024)
    assert not set(WIDE_SHAPES) & set(CORE_SHAPES)
    assert len(set(WIDE_SHAPES)) == len(WIDE_SHAPES) == 24


def test_targets_cover_the_grid() -> None:
    for threads in (1, 2):
        for cell in rk.cells():
            for mode in ("inference", "training"):
                set_ = [targets.shape_target(cell, mode, threads, shape) for shape in CORE_SHAPES]
                assert (targets.mean_target(cell, mode) is None) == all(ratio > 1 for ratio in set_)
                assert {targets.shape_target(cell, mode, threads, shape) for shape in WIDE_SHAPES} == {1.0}
            assert [targets.shape_target(cell, "streaming", threads, s) for s in STREAMING_SHAPES] == [5, 1, 3, 1]
            assert {targets.shape_target(cell, "bfloat16", threads, s) for s in BFLOAT16_SHAPES} == {1.9}


def test_shapes_of_a_users_own_take_the_grids_place() -> None:
    asked: dict[str, Any] = {"quick": False, "seconds": 1.0, "threads": 1, "peers": None, "memory": False}
    asked |= {"run": "1", "grid": "core", "cells": ["lstm", "mut1"], "modes": list(MODES), "limits": None, "out": ""}
    found = grid.workloads(grid.Job(**asked, own_shapes=json.loads(json.dumps([(7, 2, 3, 4), (7, 2, 4, 4)]))))
    assert [(each.cell, each.mode, each.shape) for each in found] == [
        *(("lstm", mode, shape) for mode in ("inference", "training") for shape in ((7, 2, 3, 4), (7, 2, 4, 4))),
        *(("mut1", mode, (7, 2, 4, 4)) for mode in ("inference", "training")),
    ]
    assert len(grid.workloads(grid.Job(**asked, own_shapes=[]))) > 8


def test_every_mode_has_shapes() -> None:
    assert all(
        shapes(mode, name, cell, quick=quick)
        for mode in MODES
        for name in ("core", "wide")
        for cell in ("lstm", "mut1")
        for quick in (True, False)
    )


def test_peers_are_chosen_by_name() -> None:
    assert [peer.name for peer in peers(["numpy", "torch.compile"])] == ["torch.compile", "numpy"]
    assert "torch.compile" not in {peer.name for peer in peers(quick=True)}
    assert all(peer.missing() for peer in peers(["haste", "flashrnn"]))
    with pytest.raises(ValueError, match="got torhc"):
        peers(["torhc"])


# ---- lines, and what is read from them ----------------------------------------------------------


def finished(line: results.Line, mode: str = "inference", **more: Any) -> results.Line:
    """A line of `grid.measure` as it stands in a file."""
    kinds = {"kind": "speed", "run": "r", "cell": "lstm", "mode": mode, "shape": [100, 1, 64, 64], "threads": 1}
    kinds |= {"instruction_set": "avx2", "gflops": 10.0, "flops_per_byte": 1.0, "plan": {"row_groups": 1}}
    return {**kinds, **line, **more}


def speed(seconds: float, ratio: float, shape: tuple[int, ...] = CORE_SHAPES[0], **more: Any) -> results.Line:
    ours = {"median": seconds, "low": 0.9 * seconds, "high": 1.1 * seconds, "rounds": 5, "error": 1e-7}
    peer = {**ours, "median": seconds * ratio}
    line = {"ours": ours, "peers": {"torch": peer, "onnxruntime": peer}, "best": "torch", "ratio": ratio}
    return finished(line, **{"shape": list(shape), **more})


RUN = {"kind": "run", "run": "r", "machine": "a machine", "versions": {"rnnkernels": "0"}}


def test_lines_of_the_same_measurement_are_replaced(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    results.merge(file, [RUN, speed(1.0, 2.0), speed(1.0, 2.0, CORE_SHAPES[1])])
    results.merge(file, [{**RUN, "run": "later"}, speed(3.0, 2.0, run="later")])
    lines = results.read(file)
    assert [line["run"] for line in results.of_kind(lines, "run")] == ["r", "later"]
    assert sorted(line["ours"]["median"] for line in results.of_kind(lines, "speed")) == [1.0, 3.0]
    results.merge(file, [speed(3.0, 2.0, CORE_SHAPES[1], run="later")])
    assert [line["run"] for line in results.of_kind(results.read(file), "run")] == ["later"]


def test_compare_marks_what_is_beyond_the_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["before.jsonl", "after.jsonl"]
    times = [(1.0, 1.0, 1.0), (1.05, 2.0, 0.5)]
    for name, each in zip(names, times, strict=True):
        lines = [speed(seconds, 2.0, shape) for seconds, shape in zip(each, CORE_SHAPES, strict=False)]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert compare.main([str(tmp_path / name) for name in names]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[-1] for row in rows[1:4]] == ["2.00×", "slower", "faster"]
    assert rows[4:] == [
        "1 of 3 faster beyond the spread",
        "1 of 3 slower beyond the spread",
        "only in A: 0, only in B: 0",
    ]


def test_the_summary_names_what_missed_its_target() -> None:
    text = report.summary([speed(1.0, 4.0), speed(1.0, 1.0, CORE_SHAPES[1])])
    assert "geometric mean  2.00×  worst  1.00× at T100 B1 I256 H256 against torch" in text
    assert text.splitlines()[2:] == [
        "below target:",
        "lstm             inference 1 thr  T100 B1 I256 H256: 1.00× against torch, wanted 1.3×",
    ]
    grus = [speed(1.0, 1.1, shape, cell="gru") for shape in CORE_SHAPES]
    assert report.summary(grus).endswith("geometric mean 1.10×, wanted 1.6×")


def test_shares_of_the_limits() -> None:
    limits = {"flops": {rk.instruction_set(): {"float32": 2.0}}, "bandwidth": [[1024, 100.0], [4096, 50.0]]}
    one = Workload("rnn_tanh", "streaming", (1, 1, 16, 16))  # 2 matrices of 1,024 bytes, 1,024 flops
    line = grid.shares(one, 1e-6, limits)
    assert line == pytest.approx(
        {
            "gflops": 1.024,
            "peak_share": 0.512,
            "flops_per_byte": 0.5,
            "weight_gbytes": 2.048,
            "bandwidth_share": 2.048 / 75,
        }
    )
    assert roofline.bandwidth(limits, 10) == 100e9
    assert roofline.bandwidth(None, 10) is None


def test_slopes() -> None:
    assert scaling.slope([1, 10, 100], [2.0, 200.0, 20000.0]) == pytest.approx(2.0)
    assert scaling.slope([1], [1.0]) is None


def test_held_memory_counts_what_a_training_call_returns() -> None:
    one = work("training")
    run = rk.forward(one.cell, one.x, one.params)
    grads = rk.backward(run, one.d_output)
    assert grads.x is not None
    arrays = [run.output, *run.state, grads.x, *grads.params.values(), *grads.state]
    assert memory.held(one) == run.reserve_bytes + sum(array.nbytes for array in arrays)


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    limits = {"flops": {"avx2": {"float32": 100.0}}, "bandwidth": [[16 << 10 << i, 200.0 / (i + 1)] for i in range(13)]}
    lines = [RUN, roofline.line("r", 1, limits)]
    lines += [
        speed(1.0, ratio, shape, mode=mode)
        for mode in ("inference", "training")
        for shape, ratio in zip(CORE_SHAPES, (0.5, 1, 2, 3, 4, 5, 6, 7), strict=True)
    ]
    lines += [
        speed(1.0, 5.0, shape, mode=mode, cell=cell)
        for mode in ("inference", "training")
        for cell in ("mut1_projected", "lstm_fgr")
        for shape in VARIANT_SHAPES
    ]
    lines += [speed(1e-6, 5.0, shape, mode="streaming") for shape in STREAMING_SHAPES]
    points = [[1, 1.0, 0.9, 1.1], [10, 10.0, 9.0, 11.0]]
    lines.append(
        {**finished({}), "kind": "scaling", "axis": "T", "shape": [0, 1, 2, 3], "points": points, "slope": 1.0}
    )
    of_attention = {"shape": [20, 32, 8, 49, 16, 16], "medians": {"ours": 1.0, "loop": 4.0, "jax": 3.0}}
    lines.append({**finished({}), "kind": "attention", "cell": "lstm", **of_attention})
    drawn = draw.draw(lines, tmp_path)
    names = ["ratios.svg", "variants.svg", "roofline.svg", "scaling.svg", "latency.svg", "attention.svg"]
    assert [file.name for file in drawn] == names
    first = [file.read_bytes() for file in drawn]
    assert all(ET.fromstring(text).tag.endswith("svg") for text in first)
    assert [file.read_bytes() for file in draw.draw(lines, tmp_path)] == first
    assert draw.draw([RUN], tmp_path) == []


def test_a_cell_without_recurrent_matrices_has_no_reading_speed() -> None:
    for cell, reads in (("indrnn", False), ("lstm", True)):
        line = grid.shares(Workload(cell, "inference", (5, 1, 4, 4)), 1.0, None)
        assert line["gflops"] > 0
        assert ("weight_gbytes" in line) == reads


def test_attention_has_no_speed_for_a_wrong_gradient() -> None:
    pytest.importorskip("torch")
    from benchmarks import attention

    problem = attention.problem_of("gru", (3, 4, 5, 6, 7))
    peers = ["loop", "cells"]  # jitted code is checked before every benchmark anyway
    calls = attention.calls_of(problem, "line", peers)
    assert list(calls) == ["ours", *peers]
    spoiled = calls["loop"]()
    spoiled["score"] = spoiled["score"] + 0.1
    with pytest.raises(RuntimeError, match="line: the gradients of score differ by"):
        attention.check("line", attention.exact(problem), spoiled)
