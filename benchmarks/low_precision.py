"""bfloat16 and int8: ours, PyTorch's and ONNX Runtime's, speed and error side by side.

`python -m benchmarks low-precision [--cells lstm gru ...] [--what inference training nats] [--shapes 0 1 ...]
 [--threads N] [--out FILE.jsonl]`

inference  a forward over a sequence, weights packed or quantised before: everyone in float32, bfloat16 and int8
training   a forward and a backward, to the inputs and all parameters: float32 and bfloat16
nats       what a character model that was trained in float32 loses (low_precision_nats.py)

Every answer is compared with the float64 reference before a clock runs: of outputs the root mean square and the largest
error, absolute; of gradients both over the same of the exact gradient, the worst array's. A wrong answer has no speed;
if it is ours the run ends. `lstm_of_equations` is the LSTM once more, as a user writes it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import rnnkernels as rk

from . import low_precision_nats, machine, results
from .arguments import parse
from .grid import WrongAnswerError
from .measure import alternate
from .own_cells import SAME
from .peers.low_precision import Ours, Participant, participants
from .results import Line
from .shapes import LOW_PRECISION_SHAPES, Shape
from .workloads import GRADIENT_TOLERANCE, Answer, Workload

CELLS = ("lstm", "gru", "gru_reset_before", "lstm_peephole", "lstm_of_equations")
MODES = ("inference", "training")
# What is called an int8 or a bfloat16 peer below.
INT8 = ("torch int8", "onnxruntime int8", "torch bfloat16", "torch autocast")
BFLOAT16 = ("torch bfloat16", "torch autocast")


@dataclass(frozen=True, eq=False)
class Case(Workload):
    """A workload, and what the others run for it; None: the same."""

    others: Workload | None = None

    @cached_property
    def exact(self) -> Answer:
        """Outputs or gradients in float64; gradients by our kernels in float64, which the reference's slopes check."""
        if self.mode == "inference":
            return {"output": self._output}
        params = {name: value.astype(np.float64) for name, value in self.params.items()}
        run = rk.forward(self.cell, self.x.astype(np.float64), params)
        grads = rk.backward(run, self.d_output.astype(np.float64))
        found = {"x": np.asarray(grads.x), **grads.params}
        error = self.error(found)
        if not error < GRADIENT_TOLERANCE:
            raise WrongAnswerError(f"{self}: our gradients in float64 are off by {error:.1e}")
        return found

    def errors(self, answer: Answer) -> dict[str, float]:
        """``rms`` and ``largest``, and ``norm`` over norm, which says whether an answer is right."""
        each = [_errors(answer.get(name), exact, self.mode == "training") for name, exact in self.exact.items()]
        return {name: max(one[name] for one in each) for name in ("rms", "largest", "norm")}


def case_of(name: str, mode: str, shape: Shape) -> Case:
    if name != "lstm_of_equations":
        return Case(name, mode, shape)
    return Case(rk.cell(SAME["lstm"], name=name), mode, shape, Workload("lstm", mode, shape))


def _errors(found: Any, exact: Any, relative: bool) -> dict[str, float]:
    if found is None or found.shape != exact.shape or not np.isfinite(found).all():
        return dict.fromkeys(("rms", "largest", "norm"), math.inf)
    apart = found.astype(np.float64) - exact
    rms, largest = float(np.sqrt(np.mean(apart**2))), float(np.abs(apart).max())
    of_rms, of_largest = float(np.sqrt(np.mean(exact**2))), float(np.abs(exact).max())
    norm = rms / of_rms if of_rms else (math.inf if rms else 0.0)
    if relative:
        return {"rms": norm, "largest": largest / of_largest if of_largest else norm, "norm": norm}
    return {"rms": rms, "largest": largest, "norm": norm}


def measure(case: Case, peers: Sequence[Participant], threads: int, seconds: float) -> Line:
    """Check and time everyone; raise WrongAnswerError where ours is wrong.

    In the line: ``medians``, ``errors``, and of the others whose answer is ``wrong`` or who ``failed`` why.
    """
    calls: dict[str, Callable[[], object]] = {}
    errors: dict[str, dict[str, float]] = {}
    left_out: dict[str, str] = {}
    for peer in peers:
        work = case if isinstance(peer, Ours) else case.others or case
        if not peer.supports(work):
            continue
        try:
            timed = peer.prepare(work, threads)
            found = case.errors(timed.answer(timed.call()))
        except Exception as fault:  # whatever a library does, the others go on
            if isinstance(peer, Ours):
                raise
            left_out[peer.name] = f"failed: {type(fault).__name__}: {fault}".split("\n", maxsplit=1)[0]
            continue
        norm = found.pop("norm")
        errors[peer.name] = found
        if norm < peer.tolerance(case):
            calls[peer.name] = timed.call
        elif isinstance(peer, Ours):
            raise WrongAnswerError(f"{peer.name}: {case} is off by {norm:.1e} of its norm")
        else:
            left_out[peer.name] = f"WRONG: off by {norm:.1e} of its norm"
    with machine.Others() as others:
        timings = alternate(calls, seconds=seconds)
    medians = {name: timing.median for name, timing in timings.items()}
    quartiles = {name: [timing.low, timing.high] for name, timing in timings.items()}
    return {"medians": medians, "quartiles": quartiles, "errors": errors, "left_out": left_out, "others": others.share}


# ---- what is asked -------------------------------------------------------------------------------


def over(line: Line, ours: str, names: Sequence[str]) -> float | None:
    """The fastest of `names` over ours; None where none is there."""
    medians = line["medians"]
    there = [medians[name] for name in names if name in medians]
    return min(there) / medians[ours] if there and ours in medians else None


def error_over(line: Line, ours: str, name: str) -> float | None:
    errors = line["errors"]
    return errors[ours]["rms"] / errors[name]["rms"] if ours in errors and name in errors else None


@dataclass(frozen=True)
class Goal:
    """A number wanted of the lines of one mode. `kind`: "mean" (geometric), "least" or "most" of them."""

    text: str
    mode: str
    of: Callable[[Line], float | None]
    kind: str
    wanted: float
    at: Callable[[Line], bool] = lambda _: True

    def reached(self, lines: Sequence[Line]) -> tuple[float, bool] | None:
        """The number, and whether it is what is wanted; None where no line has it."""
        there = (self.of(line) for line in lines if line["mode"] == self.mode and self.at(line))
        ratios = [ratio for ratio in there if ratio is not None]
        if not ratios:
            return None
        if self.kind == "mean":
            found = math.exp(sum(map(math.log, ratios)) / len(ratios))
        else:
            found = min(ratios) if self.kind == "least" else max(ratios)
        return found, found <= self.wanted if self.kind == "most" else found >= self.wanted


def _one_row(line: Line) -> bool:
    return bool(line["shape"][1] == 1)


def _large(line: Line) -> bool:
    return bool(line["shape"][1] >= 16 and line["shape"][3] >= 512)


def _of_lstms(line: Line) -> bool:
    return not str(line["cell"]).startswith("gru")


def _of_gru(line: Line) -> bool:
    return bool(line["cell"] == "gru")


GOALS = (
    Goal("int8, the fastest peer", "inference", lambda x: over(x, "ours int8", INT8), "mean", 1.15, _of_lstms),
    Goal("int8, the fastest peer, B 1", "inference", lambda x: over(x, "ours int8", INT8), "mean", 1.3,
         lambda x: _of_lstms(x) and _one_row(x)),
    Goal("int8, the fastest peer, everywhere", "inference", lambda x: over(x, "ours int8", INT8), "least", 1.0),
    Goal("int8 GRU, PyTorch", "inference", lambda x: over(x, "ours int8", INT8), "mean", 1.5, _of_gru),
    Goal("int8, our float32", "inference", lambda x: over(x, "ours int8", ["ours float32"]), "least", 3.0),
    Goal("int8, error over ONNX Runtime's", "inference", lambda x: error_over(x, "ours int8", "onnxruntime int8"),
         "most", 0.6),
    Goal("bfloat16, PyTorch", "inference", lambda x: over(x, "ours bfloat16", BFLOAT16), "mean", 1.2),
    Goal("bfloat16, our float32, B ≥ 16, H ≥ 512", "inference",
         lambda x: over(x, "ours bfloat16", ["ours float32"]), "least", 1.8, _large),
    Goal("bfloat16, PyTorch", "training", lambda x: over(x, "ours bfloat16", BFLOAT16), "mean", 1.2),
    Goal("bfloat16, our float32, B ≥ 16, H ≥ 512", "training",
         lambda x: over(x, "ours bfloat16", ["ours float32"]), "least", 1.6, _large),
)  # fmt: skip


def summary(lines: Sequence[Line]) -> str:
    """A row for each goal and cell, with the number reached."""
    rows = []
    for cell in dict.fromkeys(line["cell"] for line in lines):
        own = [line for line in lines if line["cell"] == cell]
        for goal in GOALS:
            found = goal.reached(own)
            if found is not None:
                number, good = found
                of = {"mean": "geometric mean", "least": "at least", "most": "at most"}[goal.kind]
                name = f"{cell:17} {goal.mode:9} {goal.text}"
                rows.append(f"{name}: {number:.2f} {of}, wanted {goal.wanted:g}: {'ok' if good else 'short'}")
    return "\n".join(rows)


# ---- the command ---------------------------------------------------------------------------------


def row(line: Line) -> str:
    """What a person reads of a line: ms, and in brackets the root mean square and the largest error."""
    steps, batch, _, hidden = line["shape"]
    medians, errors = line["medians"], line["errors"]
    shown = [
        f"{name} {1e3 * medians[name]:.3g} ({found['rms']:.1e}, {found['largest']:.1e})"
        for name, found in errors.items()
        if name in medians
    ]
    busy = line.get("others") or 0.0
    text = f"{line['cell']:17} {line['mode']:9} T{steps} B{batch} H{hidden}: " + "  ".join(shown)
    text += f"  BUSY {100 * busy:.0f}%" if busy > 0.05 else ""
    return text + "".join(f"\n  {name} {why}" for name, why in line["left_out"].items())


def _lines(args: Any, peers: Sequence[Participant]) -> Iterator[Line]:
    """What is asked for, printed."""
    if set(args.what) & set(MODES):
        print("ms per call, in brackets the root mean square and the largest error")
    for cell in args.cells:
        for mode in (mode for mode in MODES if mode in args.what):
            for shape in (LOW_PRECISION_SHAPES[number] for number in args.shapes):
                case = case_of(cell, mode, shape)
                line: Line = {"what": mode, "cell": cell, "mode": mode, "shape": list(shape)}
                line |= measure(case, peers, args.threads, args.seconds)
                print(row(line), flush=True)
                yield line
    if "nats" in args.what:
        cells = [cell for cell in low_precision_nats.CELLS if cell in args.cells]
        yield from low_precision_nats.measure(cells, args.threads)


def main(arguments: Sequence[str]) -> int:
    args = parse(
        "low-precision",
        "bfloat16 and int8: speed and error, ours and the others'.",
        arguments,
        cells=CELLS,
        what=(*MODES, "nats"),
        shapes=len(LOW_PRECISION_SHAPES),
    )
    pin = machine.pin(args.threads)
    if pin is not None:
        pin()
    rk.set_num_threads(args.threads)
    everyone = participants()
    for peer in everyone:
        if why := peer.missing():
            print(f"left out: {peer.name}: {why}")
    run = results.new_run(machine.describe())
    common = {"kind": "low_precision", "run": run["run"], "threads": args.threads}
    common["instruction_set"] = rk.instruction_set()
    print(rk.backends()["cpu"])
    lines = []
    try:
        for line in _lines(args, [peer for peer in everyone if not peer.missing()]):
            lines.append(common | line)
            if args.out:
                results.merge(args.out, [run, *lines])
    except WrongAnswerError as fault:
        print(fault, file=sys.stderr)
        return 1
    if asked := summary([line for line in lines if line["mode"] in MODES]):
        print(f"\nthe others' time over ours, and errors\n{asked}")
    return 0
