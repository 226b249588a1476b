"""Layers on a GPU against PyTorch's: cuDNN's where it has them, else a loop, eager and compiled. CUDA events, medians.

`python -m benchmarks.gpu_timings [--out FILE.jsonl] [--cells lstm gru ...] [--dtypes float32 tf32 bfloat16]`

Ours and the peers' run in turn on the same parameters; answers are compared before anything is timed. Like precision
with like: float32 has TF32 off on both sides, tf32 on. `graphs` is ours again, with the calls that come again run as
CUDA graphs (rnnkernels.cuda.use_graphs). `floor` is the least time by the model of gpu_floor.py, of cards it knows.
`step` is one step of the batch: of a stepper, of a prepared layer, as a call. `resident` and `grid` are ours by the
kernels of these names, where they serve; float32 is resident in full, tf32 in TF32. Stacks of these layers, and both
directions of one, follow: `overlap` is ours with rnnkernels.cuda.overlap_layers.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

import rnnkernels as rk
from rnnkernels import cuda

from . import gpu_floor, machine, results
from .peers import torch_loops

SHAPES = (
    (256, 16, 256, 256),
    (256, 64, 512, 512),
    (256, 64, 1024, 1024),
    (128, 256, 2048, 2048),
    (256, 1, 256, 256),
    (1024, 16, 768, 768),  # the first figure of gpu_floor.py
)
FUSED = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
VARIANTS = ("gru_reset_before", "mut1_projected", "mut2_projected", "mut3", "lstm_peephole")
VARIANT_SHAPE = (128, 32, 512, 512)
KERNELS = ("resident", "grid")  # that run all steps of a forward and, where they can, of a backward
BEYOND = {"gru_reset_before": (128, 32, 1024, 1024)}  # more units than a cluster keeps: two products on the whole card
STACKS = {"four layers": (4, False), "both directions": (1, True)}  # layers, both directions
STACK_SHAPES = ((256, 16, 256, 256), (256, 16, 512, 512))
ROUNDS = 9
TOLERANCE = {"float32": 2e-4, "tf32": 2e-2, "bfloat16": 5e-2, "float16": 1e-2}

Call = Callable[[], Any]


def milliseconds(call: Call) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def alternate(work: dict[str, Call]) -> dict[str, float]:
    """The median time of each, in turn, in milliseconds."""
    for call in work.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, call in work.items():
            times[name].append(milliseconds(call))
    return {name: statistics.median(found) for name, found in times.items()}


def ours(cell: str, x: Any, params: dict[str, Any], d: Any) -> tuple[Call, Call]:
    def infer() -> Any:
        return rk.forward(cell, x, params, training=False).output

    def train() -> Any:
        return rk.backward(rk.forward(cell, x, params), d).params

    return infer, train


def by_name(kernel: str, calls: tuple[Call, Call]) -> tuple[Call, Call]:
    """The same calls by a kernel."""

    def by(call: Call) -> Call:
        def run() -> Any:
            cuda.set_kernel(kernel)
            try:
                return call()
            finally:
                cuda.set_kernel("auto")

        return run

    return by(calls[0]), by(calls[1])


def serves(kernel: str, calls: tuple[Call, Call]) -> bool:
    """Whether one of KERNELS serves a layer on the card at hand: it is asked."""
    try:
        by_name(kernel, calls)[0]()
    except ValueError:
        return False
    return True


def fused(cell: str, x: Any, params: dict[str, Any], d: Any) -> tuple[Call, Call]:
    layer = FUSED[cell](x.shape[-1], params["weight_hh"].shape[1]).to(device="cuda", dtype=x.dtype)
    layer.load_state_dict({f"{name}_l0": value for name, value in params.items()})
    layer.flatten_parameters()

    def infer() -> Any:
        with torch.inference_mode():
            return layer(x)[0]

    inputs = x.clone().requires_grad_()

    def train() -> Any:
        grads = torch.autograd.grad(layer(inputs)[0], [inputs, *layer.parameters()], d)
        return {name.removesuffix("_l0"): g for (name, _), g in zip(layer.named_parameters(), grads[1:], strict=True)}

    return infer, train


def as_graphs(call: Call) -> float | None:
    """The median time of a call that is run as graphs; None where its memory is another every time."""
    cuda.use_graphs(True)
    try:
        found = alternate({"graphs": call})["graphs"]
        return found if cuda.graph_counts().runs >= ROUNDS else None
    finally:
        cuda.use_graphs(False)


def single_steps(cell: str, x: Any, params: dict[str, Any]) -> dict[str, Call]:
    """One step of the batch: of a stepper (`ours`), whose step is a graph, of a prepared layer, as a call."""
    layer = rk.Prepared(cell, params)
    stepper = layer.stepper(x.shape[1])
    state = stepper.state
    return {
        "ours": lambda: stepper(x[0]),
        "prepared": lambda: layer.step(x[0], state),
        "call": lambda: rk.step(cell, x[0], params, state),
    }


def loop(cell: str, x: Any, params: dict[str, Any], d: Any, compiled: bool) -> tuple[Call, Call]:
    names = list(params)
    leaves = [value.clone().requires_grad_() for value in params.values()]
    inputs = x.clone().requires_grad_()
    run = torch_loops.several_steps(cell)
    if compiled:
        torch.compiler.reset()  # what was compiled for other cells counts towards a limit, after which none is
        run = torch.compile(run)
    chunk = 16

    def output(given: Any, values: Sequence[Any]) -> Any:
        named = dict(zip(names, values, strict=True))
        parts, weights = torch_loops.before_the_loop(cell, given, named)
        state = torch_loops.zeros(cell, given, named)
        outputs = []
        for t in range(0, len(given), chunk):
            some, state = run(tuple(given[t : t + chunk]), tuple(parts[t : t + chunk]), state, weights)
            outputs += some
        return torch.stack(outputs)

    def infer() -> Any:
        with torch.inference_mode():
            return output(x, [leaf.detach() for leaf in leaves])

    def train() -> Any:
        grads = torch.autograd.grad(output(inputs, leaves), [inputs, *leaves], d)
        return dict(zip(names, grads[1:], strict=True))

    return infer, train


def apart(found: Any, wanted: Any) -> float:
    """The largest difference, over the largest value."""
    pairs = [(found[n], wanted[n]) for n in found] if isinstance(found, dict) else [(found, wanted)]
    return max(float((a.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=1e-6)) for a, b in pairs)


def use(dtype: str) -> Any:
    """Allow TF32 where it is meant, on both sides; return PyTorch's dtype."""
    cuda.allow_tf32(dtype == "tf32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    return torch.float32 if dtype == "tf32" else getattr(torch, dtype)


def measure(cell: str, shape: tuple[int, int, int, int], dtype: str, peers: Sequence[str]) -> dict[str, Any]:
    torch.manual_seed(0)
    steps, batch, inputs, hidden = shape
    kind = use(dtype)
    params = {n: torch.from_numpy(w).cuda().to(kind) for n, w in rk.init_params(cell, inputs, hidden, rng=0).items()}
    x = torch.randn(steps, batch, inputs, device="cuda").to(kind)
    d = torch.randn(steps, batch, hidden, device="cuda").to(kind)
    calls = {"ours": ours(cell, x, params, d)}
    for kernel in KERNELS:
        if serves(kernel, calls["ours"]):
            calls[kernel] = by_name(kernel, calls["ours"])
    for peer in peers:
        if peer == "cudnn":
            calls[peer] = fused(cell, x, params, d)
        else:
            calls[peer] = loop(cell, x, params, d, peer == "torch.compile")
    line: dict[str, Any] = {"kind": "gpu", "cell": cell, "shape": list(shape), "what": dtype, "ms": {}}
    card = gpu_floor.card_named(cuda.devices()[0].name)
    if card is not None:
        least = gpu_floor.floor(card, cell, shape, dtype)
        line["floor_ms"] = {"inference": least.inference, "training": least.training}
    for index, mode in enumerate(("inference", "training")):
        wanted = calls["ours"][index]()
        for peer in (name for name in calls if name != "ours"):
            error = apart(wanted, calls[peer][index]())
            assert error < TOLERANCE[dtype] * (5 if mode == "training" else 1), (cell, shape, dtype, mode, peer, error)
        line["ms"][mode] = alternate({name: both[index] for name, both in calls.items()})
        graphs = as_graphs(calls["ours"][index])
        if graphs is not None:
            line["ms"][mode]["graphs"] = graphs
    line["ms"]["step"] = alternate(single_steps(cell, x, params))
    return line


def measure_stack(cell: str, shape: tuple[int, int, int, int], dtype: str, name: str) -> dict[str, Any]:
    """One of STACKS, by the kernel that `auto` takes and by those of KERNELS that serve: overlapped and not."""
    torch.manual_seed(0)
    steps, batch, inputs, hidden = shape
    kind = use(dtype)
    layers, both = STACKS[name]
    stack = rk.Stack(cell, inputs, hidden, layers, bidirectional=both, dtype="float32", rng=0)
    stack.params = {n: torch.from_numpy(w).cuda().to(kind) for n, w in stack.params.items()}
    x = torch.randn(steps, batch, inputs, device="cuda").to(kind)
    d = torch.randn(steps, batch, hidden * stack.num_directions, device="cuda").to(kind)

    def infer() -> Any:
        return stack.forward(x, training=False).output

    def train() -> Any:
        return stack.backward(stack.forward(x), d).params

    def overlapped(call: Call) -> Call:
        def run() -> Any:
            cuda.overlap_layers(True)
            try:
                return call()
            finally:
                cuda.overlap_layers(False)

        return run

    calls = {"ours": (infer, train)}
    calls |= {kernel: by_name(kernel, (infer, train)) for kernel in KERNELS if serves(kernel, (infer, train))}
    for way, (one, other) in list(calls.items()):
        calls["overlap" if way == "ours" else f"{way}, overlap"] = overlapped(one), overlapped(other)
    line: dict[str, Any] = {"kind": "gpu", "cell": cell, "class": name, "shape": list(shape), "what": dtype, "ms": {}}
    for index, mode in enumerate(("inference", "training")):
        wanted = calls["ours"][index]()
        for way, both_modes in calls.items():
            error = apart(wanted, both_modes[index]())
            assert error < TOLERANCE[dtype] * (5 if mode == "training" else 1), (cell, name, dtype, mode, way, error)
        line["ms"][mode] = alternate({way: both_modes[index] for way, both_modes in calls.items()})
    return line


def say(line: dict[str, Any]) -> None:
    """Print what was measured, a row for each mode."""
    cell, shape, dtype = line["cell"], tuple(line["shape"]), line["what"]
    for mode, found in line["ms"].items():
        mine = found["ours"]
        against = "  ".join(f"{peer} {t / mine:.2f}x" for peer, t in found.items() if peer != "ours")
        per_step = 1e3 * mine / (1 if mode == "step" else shape[0])
        least = "-"
        if mode in line.get("floor_ms", {}):
            least = f"{1e3 * line['floor_ms'][mode] / shape[0]:.2f}"
        figure = f"{per_step:7.2f} us a step (floor {least})"
        print(f"{cell:16s} {shape} {dtype:8s} {line.get('class', ''):15s} {mode:9s} {figure}  {against}", flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cells", nargs="+", default=[*FUSED, *VARIANTS])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "tf32", "bfloat16"])
    options = parser.parse_args(arguments)
    run = results.new_run({**machine.describe(), "gpu": cuda.devices()[0].name})
    lines: list[dict[str, Any]] = [run]
    failed = 0

    def add(what: str, of: Callable[[], dict[str, Any]]) -> None:
        nonlocal failed
        try:
            line = of()
        except Exception as error:  # noqa: BLE001 - the other lines are wanted all the same
            print(f"{what}: {type(error).__name__}: {error}", flush=True)
            failed += 1
            return
        lines.append({**line, "run": run["run"]})
        say(line)
        if options.out:  # after every line: who stops the program keeps what was measured
            results.merge(options.out, lines)

    for cell in options.cells:
        fused_elsewhere = cell in FUSED
        peers = ("cudnn",) if fused_elsewhere else ("loop", "torch.compile")
        for shape in SHAPES if fused_elsewhere else (VARIANT_SHAPE,):
            for dtype in options.dtypes if fused_elsewhere else ("float32", "bfloat16"):
                add(f"{cell} {shape} {dtype}", partial(measure, cell, shape, dtype, peers))
        if cell in BEYOND:
            add(f"{cell} {BEYOND[cell]} bfloat16", partial(measure, cell, BEYOND[cell], "bfloat16", peers))
    for cell in options.cells:
        for shape in STACK_SHAPES if cell in FUSED else ():
            for dtype in options.dtypes:
                for name in STACKS:
                    add(f"{cell} {shape} {dtype} {name}", partial(measure_stack, cell, shape, dtype, name))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
