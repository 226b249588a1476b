"""benchmarks/neighbours: its figures, its processes and their end, and a small run. No test asserts a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import rnnkernels as rk

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)

from benchmarks import results  # noqa: E402
from benchmarks.neighbours import beside, calls, child, draw, figures, loops, problems, processes, report, run, training  # noqa: E402
from benchmarks.neighbours.figures import LIBRARY, OURS  # noqa: E402
from benchmarks.neighbours.processes import Process, Who  # noqa: E402
from benchmarks.workloads import Workload  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

needs_posix = pytest.mark.skipif(os.name != "posix", reason="the busy processes wait on pipes")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="processes are found in /proc")

TINY = ("gru", "inference", (3, 2, 4, 8))
SMALL_LOOPS = {
    "numpy": {"steps": 3, "batch": 2, "inputs": 4, "hidden": 8, "classes": 5},
    "charlm": {"steps": 4, "batch": 2, "hidden": 8},
}


def spinners(ancestor: int) -> set[int]:
    """The busy processes below a process, by their numbers."""
    parents, busy = {}, set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text("utf-8").rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if b"busy.py" in command:
            busy.add(int(folder.name))
    found = set()
    for process in busy:
        above = process
        while above in parents and above != ancestor:
            above = parents[above]
        if above == ancestor:
            found.add(process)
    return found


def ended(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def wait_for(reached: Callable[[], object], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


# ---- figures ------------------------------------------------------------------------------------


def test_quantiles_lie_between_the_times() -> None:
    times = [float(k) for k in range(11)]
    assert figures.quantile(times[::-1], 0.9) == 9.0
    assert figures.quantile([1.0, 2.0], 0.9) == pytest.approx(1.9)
    assert figures.quantile([3.0], 0.9) == 3.0
    assert figures.quantile(times, 0.0) == 0.0
    assert figures.quantile(times, 1.0) == 10.0


def test_a_slow_down_is_over_the_median_alone() -> None:
    found = figures.of_calls([1.0, 2.0, 9.0], [4.0, 4.0, 4.0, 40.0])
    assert (found["alone"], found["median"], found["slower"]) == (2.0, 4.0, 2.0)
    assert found["slower_p90"] == found["p90"] / 2.0 == pytest.approx(14.6)
    assert found["mean"] == 13.0
    assert figures.of_loop([3.0, 1.0, 2.0], [1.0, 1.0]) == {"default": 2.0, "one": 1.0, "ratio": 2.0, "steps": 3}


def line(threads: int, ours: float, what: str = "numpy", **peers: float) -> results.Line:
    """A line whose victims take 1 s alone and so many beside the neighbour."""
    one: results.Line = {"kind": "neighbours", "run": "r", "what": what, "cell": "gru", "mode": "inference"}
    one |= {"shape": [1, 2, 3, 4], "threads": threads, "instruction_set": "avx2", "others": 0.0}
    one["victims"] = {name: {**figures.of_calls([1.0], [t]), "error": 0.0} for name, t in {OURS: ours, **peers}.items()}
    return one


def test_criteria_are_of_the_same_neighbour() -> None:
    lines = [line(1, 2.0), line(2, 2.4, torch=4.0, onnxruntime=2.0), line(1, 9.0, what="torch")]
    lines[1]["victims"][LIBRARY] = {"error": 1.0, "wrong": True}
    figures.add_criteria(lines)
    assert "over_one" not in lines[0]
    assert lines[1]["over_one"] == pytest.approx(1.2)
    assert lines[1]["over_peers"] == pytest.approx(1.2)  # ONNX Runtime's slow-down is the smaller
    said = report.row(lines[1])
    assert "over one thread 1.20 short" in said
    assert "over peers 1.20 short" in said
    assert "over" not in report.row(lines[0])


def test_another_build_is_no_peer_and_nothing_is_no_neighbour() -> None:
    lines = [line(1, 2.0), line(2, 2.0, library=1.0), line(1, 1.0, "nothing"), line(2, 2.0, "nothing", torch=1.0)]
    figures.add_criteria(lines)
    assert [sorted({"over_one", "over_peers"} & one.keys()) for one in lines] == [[], ["over_one"], [], []]
    assert "library over ours 1.00 alone, 0.50 met" in report.row(lines[1])


def test_verdicts_are_of_what_is_printed() -> None:
    assert figures.verdict(1.154, 1.15) == "ok"
    assert figures.verdict(1.156, 1.15) == "short"


# ---- the problems, and who takes part -----------------------------------------------------------


def test_problems_are_those_that_were_asked_for() -> None:
    shapes = {shape for _, _, shape in problems.PROBLEMS}
    assert {(50, 8, 300, 640), (80, 1, 200, 320), (60, 24, 96, 160)} <= shapes
    assert {(shape[1], shape[3]) for shape in shapes} >= {(1, 128), (4, 256), (32, 256)}
    assert {cell for cell, _, _ in problems.PROBLEMS} == {"lstm", "gru", "rnn_tanh"}
    assert {shape[1] for shape in shapes} >= {1, 64}
    assert {shape[3] for shape in shapes} >= {64, 640}
    assert set(problems.QUICK) < set(problems.PROBLEMS)
    assert len(set(problems.PROBLEMS)) == len(problems.PROBLEMS) == 18


def test_a_quick_run_has_the_peers_on_all_threads_alone() -> None:
    quick = run.participants([OURS, "torch"], [1, 2], quick=True, library=True)
    assert quick == [Who(OURS, 1), Who(OURS, 2), Who(LIBRARY, 1), Who(LIBRARY, 2), Who("torch", 2)]
    assert Who("torch", 1) in run.participants([OURS, "torch"], [1, 2], quick=False, library=False)
    assert Who(LIBRARY, 2).peer == OURS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "0"], "--threads: expected numbers from 1 to"),
        (["--threads", "100000"], "--threads: expected numbers from 1 to"),
        (["--seconds", "0"], "--seconds: expected a number above 0"),
        (["--seconds", "nan"], "--seconds: expected a number above 0"),
        (["--victims", "tensorflow"], "invalid choice"),
        (["--neighbours", "busy3"], "invalid choice"),
        (["--what", "steps"], "invalid choice"),
        (["--library", "/nowhere"], "--library: /nowhere: expected a folder that holds the package"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended_with:
        run.main(arguments)
    assert ended_with.value.code == 2
    assert said in capsys.readouterr().err


def test_processes_have_every_setting_at_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in processes.SETTINGS:
        monkeypatch.setenv(name, "1")
    process = Process.__new__(Process)
    process.settings = training.SETTINGS["one"]
    found = process.environment()
    assert {name: found[name] for name in processes.SETTINGS if name in found} == {"OPENBLAS_NUM_THREADS": "1"}


@needs_posix
@pytest.mark.parametrize(
    ("victim", "neighbour", "needed"),
    [(OURS, "numpy", []), (OURS, "torch", ["torch"]), ("onnxruntime", "busy1", ["onnxruntime"])],
)
def test_a_process_imports_whom_it_needs(victim: str, neighbour: str, needed: list[str], tmp_path: Path) -> None:
    who = Who(victim, 1)
    if why := beside.missing(neighbour) or beside.missing("onnxruntime"):
        pytest.skip(why)
    of_builds = processes.builds(None)
    with closing(Process(processes.build_of(who, of_builds))) as process:
        process.ask("meet", victim=victim, threads=1, neighbour=neighbour)
        found = calls.check(who, process, Workload(*TINY), tmp_path / "answer.npz")
        assert set(found) == {"error"}
        assert process.ask("imported") == needed


# ---- calls and loops ----------------------------------------------------------------------------


def test_a_neighbour_comes_right_before_each_call() -> None:
    turns: list[str] = []
    times = child.samples(lambda: turns.append("call"), lambda: turns.append("neighbour"), seconds=0.0)
    assert len(times) == child.LEAST
    assert turns == ["call", *["neighbour", "call"] * child.LEAST]  # the first call is not counted
    assert len(child.samples(lambda: None, seconds=60.0)) == child.MOST


class Rounds(Process):
    """A process that says who was asked."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self.name, self.asked = name, asked

    def ask(self, what: str, **_: Any) -> Any:
        self.asked.append(self.name)
        return {"alone": [1.0], "beside": [2.0], "others": None, "what": what}


def test_rounds_alternate_and_turn_around() -> None:
    asked: list[str] = []
    found = calls.alternate({Who(name, 1): Rounds(name, asked) for name in "ab"}, 1e-9)
    assert asked == ["a", "b", "b", "a"]
    assert [len(each) for each in found.values()] == [calls.LEAST, calls.LEAST]
    assert calls.others_of(one for each in found.values() for one in each) is None
    assert calls.alternate({}, 1.0) == {}


@pytest.mark.parametrize("name", [name for name in beside.PACKAGES if name not in {"nothing", "busy1", "busy2"}])
def test_products_are_products(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if why := beside.missing(name):
        pytest.skip(why)
    monkeypatch.setattr(beside, "SIZE", 8)
    before = beside.before(name)
    assert before is not None
    found = np.asarray(before()).reshape(8, 8)
    a = np.random.default_rng(8).standard_normal((8, 8), dtype=np.float32)
    np.testing.assert_allclose(found, a @ a, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", loops.LOOPS)
def test_loops_answer_right_and_wrong_answers_are_seen(name: str) -> None:
    loop: loops.Loop = loops.LOOPS[name](**SMALL_LOOPS[name])
    answer = loop.answer()
    assert loop.error(answer) < 1
    loop.step()
    for spoiled in answer:
        assert loop.error({**answer, spoiled: answer[spoiled] * 1.1}) > 1, spoiled


def test_a_wrong_answer_of_ours_ends_the_run_and_a_peers_has_no_speed(tmp_path: Path) -> None:
    class Wrong(Rounds):
        def ask(self, what: str, **arguments: Any) -> Any:
            np.savez(arguments["file"], np.array(["output"]), np.zeros((3, 2, 8), "float32"))
            return super().ask(what)

    wrong, file = Wrong("wrong", []), tmp_path / "answer.npz"
    with pytest.raises(calls.WrongAnswerError, match=r"gru .* our answer is off by 1"):
        calls.check(Who(OURS, 1), wrong, Workload(*TINY), file)
    found = calls.check(Who("torch", 1), wrong, Workload(*TINY), file)
    assert found == {"error": 1.0, "wrong": True}
    one = {**line(1, 1.0), "victims": {"torch": found}}
    assert "PyTorch WRONG" in report.row(one)
    assert "-" in report.table([one])[2]


# ---- runs ---------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "QUICK", (TINY,))
    monkeypatch.setattr(training, "SIZES", SMALL_LOOPS)
    monkeypatch.setattr(training, "TURN", 0.01)


@needs_posix
@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_a_small_run_ends_and_has_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "neighbours.jsonl"
    library = str(Path(rk.__file__).parent.parent)
    arguments = ["--quick", "--victims", OURS, "--neighbours", "numpy", "busy1", "--threads", "1", "--seconds", "0.001"]
    assert run.main([*arguments, "--library", library, "--out", str(out)]) == 0
    lines = results.of_kind(results.read(out), "neighbours")
    assert [one["what"] for one in lines] == ["numpy", "busy1", "loop numpy", "loop charlm"]
    for one in lines:
        victims = one["loops" if "loops" in one else "victims"]
        assert victims.keys() == {OURS, LIBRARY}
        assert all(victim["ratio" if "loops" in one else "slower"] > 0 for victim in victims.values())
    said = capsys.readouterr().out
    assert "library over ours" in said
    assert "| after a NumPy product | 1 |" in said
    assert not spinners(os.getpid())


@needs_posix
@needs_proc
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_busy_processes_end_with_a_run_however_it_ends(sent: signal.Signals, tmp_path: Path) -> None:
    out = tmp_path / "neighbours.jsonl"
    part = ["--quick", "--what", "calls", "--victims", OURS, "--neighbours", "busy2", "--threads", "1"]
    command = [sys.executable, "-m", "benchmarks.neighbours", *part, "--seconds", "1000", "--out", str(out)]
    package = str(Path(rk.__file__).parent.parent)
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": package},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert wait_for(lambda: len(spinners(process.pid)) == 2)
            busy = spinners(process.pid)
            os.killpg(process.pid, sent) if sent == signal.SIGINT else process.kill()
            _, errors = process.communicate(timeout=60)
            assert wait_for(lambda: all(map(ended, busy)), 20.0)
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
            signal.signal(signal.SIGINT, before)
    assert process.returncode == (130 if sent == signal.SIGINT else -signal.SIGKILL)
    assert b"Traceback" not in errors or sent == signal.SIGKILL


@needs_posix
@needs_proc
def test_busy_processes_end_with_an_error() -> None:
    started: set[int] = set()

    def fail() -> None:
        with beside.busy("busy2") as busy:
            busy.spin()
            started.update(spinners(os.getpid()))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(started) == 2
    assert all(map(ended, started))


@needs_posix
@needs_proc
def test_a_busy_process_sleeps_but_when_it_was_told_to_spin() -> None:
    def states() -> set[str]:  # R: it runs, or waits for a processor
        stats = [Path(f"/proc/{process}/stat").read_text("utf-8") for process in spinners(os.getpid())]
        return {stat.rpartition(")")[2].split()[0] for stat in stats}

    with beside.busy("busy1") as busy:
        assert wait_for(lambda: states() == {"S"})
        busy.spin()
        assert wait_for(lambda: states() == {"R"})
        busy.rest()
        assert wait_for(lambda: states() == {"S"}, 10.0)


# ---- picture and table --------------------------------------------------------------------------

RUN = {"kind": "run", "run": "r", "machine": "a machine", "cpus": 2, "versions": {"rnnkernels": "0"}}


def test_the_picture_is_of_the_lines_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    lines = [RUN, line(1, 1.5, torch=2.0), line(2, 3.0, onnxruntime=1.0), line(2, 0.9, "busy1")]
    file = tmp_path / "lines.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    assert draw.main([str(file), "--folder", str(tmp_path)]) == 0
    first = (tmp_path / "neighbours.svg").read_bytes()
    assert ET.fromstring(first).tag.endswith("svg")
    assert "| after a NumPy product | 2 | 3.00× (3.00×) | - | 1.00× (1.00×) | - |" in capsys.readouterr().out
    assert draw.draw(lines, tmp_path) == tmp_path / "neighbours.svg"
    assert (tmp_path / "neighbours.svg").read_bytes() == first
    assert draw.draw([RUN], tmp_path) is None
