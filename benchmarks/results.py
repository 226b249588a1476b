"""Files of results: JSON lines, one kind of line beside the other, each saying in `kind` which it is.

- ``run``: a machine, its versions and a commit, under a name in ``run``; every other line names the run it is of
- ``roofline``: the machine's limits for a number of threads
- ``speed``: one cell at one shape, ours and the peers'
- ``scaling``: our time against one size
- ``ragged``: a batch of different lengths, over the work in it and over PyTorch's packed sequences
- ``options``: training with an option over training without it
- ``layers``: torch.nn's layers over ours in their place
- ``attention``: training of an attending recurrence, ours and the peers'
- ``gpu``: on a GPU, a layer against PyTorch's, or what the parts of a step take (``probe``)
- ``builds``: two builds of ours, before and after
- ``cost``: what a build costs to make, and one more cell
- ``low_precision``: bfloat16 and int8, times and errors of ours and the peers'; or nats (``what``)
- ``models``: a model that trains with torch.nn's layers, over the same with ours
- ``onnx_models``: a whole ONNX model in ONNX Runtime over the same with its recurrent nodes on our kernels
- ``neighbours``: calls beside other people's threads over calls alone, ours and the peers'; or a training loop's steps
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]

FOLDER = Path(__file__).resolve().parent / "results"
# The machine that was measured in full; the other files hold what was added since, measured elsewhere.
DRAWN = "epyc-genoa-2-cores.jsonl"
# What makes a line the same measurement as another, of another time.
KEY = ("kind", "what", "cell", "class", "mode", "shape", "axis", "threads", "instruction_set")


def key(line: Line) -> str:
    if line["kind"] == "run":
        return str(line["run"])
    return json.dumps([line.get(name) for name in KEY])


def new_run(description: Line) -> Line:
    """The `run` line of a run that begins now."""
    return {"kind": "run", "run": f"{description['commit']} {description['date']}", **description}


def parse(text: str) -> list[Line]:
    """The lines of a file, without those of the time before there were kinds."""
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [line for line in lines if "kind" in line]


def read(file: Path) -> list[Line]:
    return parse(file.read_text(encoding="utf-8"))


def merge(file: Path, new: Iterable[Line]) -> None:
    """Write lines into a file, over the same measurements of before; other lines stay."""
    lines = {key(line): line for line in (read(file) if file.exists() else [])}
    for line in new:
        lines[key(line)] = line
    used = {line["run"] for line in lines.values() if line["kind"] != "run"}
    kept = [line for line in lines.values() if line["run"] in used]
    kept.sort(key=lambda line: line["kind"] != "run")
    file.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")


def of_kind(lines: Sequence[Line], kind: str) -> list[Line]:
    return [line for line in lines if line["kind"] == kind]


def run_of(lines: Sequence[Line], line: Line) -> Line:
    """The `run` line that a line refers to."""
    return next(run for run in lines if run["kind"] == "run" and run["run"] == line["run"])


def committed() -> Path:
    """The file in results/ that the README's pictures are of."""
    return FOLDER / DRAWN
