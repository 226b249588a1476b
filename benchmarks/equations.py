"""Cells from equations: over the built-in cells of the same equations, against others' loops, and how soon they run.

`python -m benchmarks equations [--what builtin peers first] [--peers NAME ...] [--threads N] [--out FILE.jsonl]`

builtin  the compiled cell's time over that of the same equations, training and inference
peers    the others' time over ours, for eight cells that nobody has a kernel of: PyTorch's loop, that loop compiled
         five steps at a time, and a jitted `lax.scan` (peers/equations.py)
first    milliseconds from a cell's definition to the first result and to the first gradient; of the others from the
         step's function to the same. Imports are not in it

Each answer is compared with the float64 reference, which evaluates the cell's graph, before a time is printed.
"""

from __future__ import annotations

import math
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rnnkernels as rk

from . import machine, results
from .arguments import parse
from .measure import alternate
from .own_cells import SAME, UNFUSED
from .peers.base import Peer, Timed
from .peers.equations import PEERS
from .peers.ours import Ours
from .shapes import Shape
from .workloads import Workload

MODES = ("training", "inference")
# Those of the goals: batches, large layers, and one small row.
SHAPES: tuple[Shape, ...] = (
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (100, 16, 64, 64),
    (100, 16, 128, 128),
    (100, 32, 256, 256),
    (50, 64, 512, 512),
)
PEER_SHAPES: tuple[Shape, ...] = ((100, 1, 256, 256), (100, 16, 128, 128), (100, 32, 256, 256))
FIRST_SHAPE: Shape = (10, 16, 64, 64)
DEFINITIONS = 7  # whose median is taken

Line = dict[str, Any]


def own(function: Callable[..., Any], suffix: str = "own") -> Any:
    """Register a function of own_cells.py; the same function again is the same cell."""
    return rk.cell(function, name=f"{function.__name__}_{suffix}")


def checked(work: Workload, peer: Peer, threads: int) -> Callable[[], object]:
    """Return a participant's call; RuntimeError where its answer is not the reference's."""
    prepared: Timed = peer.prepare(work, threads)
    error = work.error(prepared.answer(prepared.call()))
    if not error < work.tolerance:
        raise RuntimeError(f"{peer.name}: {work.cell:s} {work.mode} {work.shape} is off by {error:.1e}")
    return prepared.call


def builtin(threads: int, seconds: float, _: Sequence[str]) -> Iterator[Line]:
    """Time each of `SAME` as equations and as it is built in."""
    ratios = []
    print("the built-in cell's time over that of its equations")
    for cell, function in SAME.items():
        for mode in MODES:
            for shape in SHAPES:
                calls = {
                    name: checked(Workload(each, mode, shape), Ours(), threads)
                    for name, each in (("built in", cell), ("equations", own(function)))
                }
                medians = medians_of(calls, seconds)
                ratios.append(medians["built in"] / medians["equations"])
                print(f"{describe(cell, mode, shape)}: {ratios[-1]:.2f}", flush=True)
                yield {"what": "builtin", "cell": cell, "mode": mode, "shape": list(shape), "medians": medians}
    print(summary(ratios))


def peers(threads: int, seconds: float, names: Sequence[str]) -> Iterator[Line]:
    """Time each of `UNFUSED`, ours and those of the others' that are named."""
    ratios = []
    print("the others' time over ours")
    for name, function in UNFUSED.items():
        for mode in MODES:
            for shape in PEER_SHAPES:
                work = Workload(own(function), mode, shape)
                there = [PEERS[one] for one in names if not PEERS[one].missing() and PEERS[one].supports(work)]
                calls = {peer.name: checked(work, peer, threads) for peer in (Ours(), *there)}
                medians = medians_of(calls, seconds)
                over = {peer.name: medians[peer.name] / medians[Ours.name] for peer in there}
                ratios.append(min(over.values()))
                shown = "  ".join(f"{peer} {ratio:.2f}" for peer, ratio in over.items())
                print(f"{describe(name, mode, shape)}: {shown}", flush=True)
                yield {"what": "peers", "cell": name, "mode": mode, "shape": list(shape), "medians": medians}
    print(f"the fastest of them: {summary(ratios)}")


def first(threads: int, _: float, names: Sequence[str]) -> Iterator[Line]:
    """Time each of `UNFUSED` from its definition on, in milliseconds."""
    rk.set_num_threads(threads)
    print("milliseconds from a definition to the first result, and to the first gradient")
    for name, function in UNFUSED.items():
        found = {"ours": ours_first(name, function)}
        for peer in map(PEERS.__getitem__, names):
            if peer.name != "loop" and not peer.missing():  # a loop is not compiled
                found[peer.name] = peer_first(own(function), peer, threads)
        shown = "  ".join(f"{who} {ms['result']:.1f}, {ms['gradient']:.1f}" for who, ms in found.items())
        print(f"{name:12} {shown}", flush=True)
        yield {"what": "first", "cell": name, "mode": "training", "shape": list(FIRST_SHAPE), "milliseconds": found}


def ours_first(name: str, function: Callable[..., Any]) -> dict[str, float]:
    """Define a cell again and again, each time under a new name; the medians."""
    work = Workload(own(function), "training", FIRST_SHAPE)
    x, params, d_output = work.x, work.params, work.d_output
    times: dict[str, list[float]] = {"result": [], "gradient": []}
    for k in range(DEFINITIONS):
        begin = time.perf_counter()
        made = own(function, f"first_{k}")
        run = rk.forward(made, x, params)
        times["result"].append(time.perf_counter() - begin)
        rk.backward(run, d_output)
        times["gradient"].append(time.perf_counter() - begin)
    if f"{made:s}" != f"{name}_first_{DEFINITIONS - 1}":
        raise RuntimeError(f"{name}: expected cells of new names, got {made:s}")
    return {what: 1e3 * statistics.median(seconds) for what, seconds in times.items()}


def peer_first(cell: Any, peer: Peer, threads: int) -> dict[str, float]:
    """Prepare and call a peer once, what it compiled before forgotten."""
    found = {}
    for what, mode in (("result", "inference"), ("gradient", "training")):
        work = Workload(cell, mode, FIRST_SHAPE)
        _ = work.params, work.x, work.d_output  # made before the clock runs
        if peer.name == "jax":
            import jax

            jax.clear_caches()
        begin = time.perf_counter()
        peer.prepare(work, threads).call()
        found[what] = 1e3 * (time.perf_counter() - begin)
    return found


def medians_of(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    return {name: timing.median for name, timing in alternate(calls, seconds=seconds).items()}


def describe(cell: str, mode: str, shape: Shape) -> str:
    return f"{cell:13} {mode:9} T{shape[0]} B{shape[1]} I{shape[2]} H{shape[3]}"


def summary(ratios: Sequence[float]) -> str:
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return f"{mean:.2f} (geometric mean), {min(ratios):.2f} at least"


PARTS = {"builtin": builtin, "peers": peers, "first": first}


def main(arguments: Sequence[str]) -> int:
    args = parse("equations", "Cells from equations.", arguments, what=tuple(PARTS), peers=tuple(PEERS))
    if "first" in args.what:  # what a new cell costs: PyTorch's compiler keeps what it made on the disk
        os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"
        warnings.filterwarnings("ignore", "dynamo_pgo force disabled")
    pin = machine.pin(args.threads)
    if pin is not None:  # before JAX is imported, whose threads are as many as there are processors
        pin()
    for peer in map(PEERS.__getitem__, args.peers):
        if why := peer.missing():
            print(f"left out: {peer.name}: {why}")
    run = results.new_run(machine.describe())
    lines = [run]
    common = {"kind": "equations", "run": run["run"], "threads": args.threads}
    common["instruction_set"] = rk.instruction_set()
    for what in args.what:
        lines += [common | line for line in PARTS[what](args.threads, args.seconds, args.peers)]
    if args.out:
        results.merge(args.out, lines)
    return 0
