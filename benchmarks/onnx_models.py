"""Whole ONNX models through `rnnkernels.onnx` and through ONNX Runtime alone: the same file, the same answers.

`python -m benchmarks onnx-models [--threads N] [--out FILE.jsonl] [MODEL.onnx ...]`

Without a file the models are made here: a tagger (embedding, an LSTM in both directions, a product), a model of speech
features (three LSTMs, a product), a voice detector (convolutions, one step of an LSTM). Files need inputs whose
dimensions are all given; they are fed random numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import rnnkernels as rk

from . import machine, results
from .arguments import parse
from .measure import alternate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .workloads import Array

TOLERANCE = 1e-4  # of the largest number of an output
OPSET = 17


class Case(NamedTuple):
    name: str
    model: Any
    feeds: dict[str, Array]


class _Model:
    """A graph that is written node by node."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        from onnx import helper

        output = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def tensor(self, array: Any) -> str:
        from onnx import numpy_helper

        name = f"t{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def uniform(self, *shape: int) -> str:
        return self.tensor(self.rng.uniform(-0.1, 0.1, shape).astype(np.float32))

    def lstm(self, x: str, inputs: int, hidden: int, lengths: str = "", *, both: bool = False) -> str:
        """An LSTM, its output (T, B, directions * H)."""
        D = 1 + both
        weights = [self.uniform(D, 4 * hidden, size) for size in (inputs, hidden)] + [self.uniform(D, 8 * hidden)]
        way = "bidirectional" if both else "forward"
        y = self.add("LSTM", [x, *weights, lengths], hidden_size=hidden, direction=way)
        turned = self.add("Transpose", [y], perm=[0, 2, 1, 3])
        return self.add("Reshape", [turned, self.tensor([0, 0, -1])])

    def product(self, x: str, rows: int, columns: int) -> str:
        return self.add("Add", [self.add("MatMul", [x, self.uniform(rows, columns)]), self.uniform(columns)])

    def made(self, output: str, **inputs: tuple[int, Sequence[Any]]) -> Any:
        from onnx import helper

        infos = [helper.make_tensor_value_info(name, *each) for name, each in inputs.items()]
        outputs = [helper.make_tensor_value_info(output, 1, [None] * 3)]
        graph = helper.make_graph(self.nodes, "model", infos, outputs, self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def tagger(words: int, embedded: int, hidden: int, tags: int) -> Any:
    of = _Model()
    table = of.tensor(of.rng.standard_normal((words, embedded)).astype(np.float32))
    y = of.lstm(of.add("Gather", [table, "tokens"]), embedded, hidden, "lengths", both=True)
    return of.made(of.product(y, 2 * hidden, tags), tokens=(7, ("T", "B")), lengths=(6, ("B",)))


def speech(features: int, hidden: int, layers: int, letters: int) -> Any:
    of, x = _Model(), "x"
    for layer in range(layers):
        x = of.lstm(x, hidden if layer else features, hidden)
    return of.made(of.add("LogSoftmax", [of.product(x, hidden, letters)]), x=(1, ("T", "B", features)))


def voice(channels: int, hidden: int) -> Any:
    of, x = _Model(), "x"
    for layer in range(4):
        weights = of.uniform(channels, channels if layer else 64, 3)
        x = of.add("Relu", [of.add("Conv", [x, weights], pads=[1, 1], strides=[2])])
    y = of.lstm(of.add("Transpose", [x], perm=[2, 0, 1]), channels, hidden)
    return of.made(of.add("Sigmoid", [of.product(y, hidden, 1)]), x=(1, ("B", 64, "T")))


def cases() -> list[Case]:
    rng = np.random.default_rng(1)
    found = []
    model = tagger(2000, 128, 256, 40)
    for B, ragged in ((8, True), (32, True), (8, False)):
        T = 60
        lengths = np.clip(rng.geometric(1 / 18, B), 2, T) if ragged else np.full(B, T)
        lengths[0] = T
        feeds: dict[str, Array] = {"tokens": rng.integers(0, 2000, (T, B)), "lengths": lengths.astype(np.int32)}
        found.append(Case(f"tagger, {'ragged' if ragged else 'full'}, T{T} B{B} H256", model, feeds))
    model = speech(80, 512, 3, 64)
    for B in (1, 16):
        x = rng.standard_normal((100, B, 80)).astype(np.float32)
        found.append(Case(f"speech, T100 B{B} H512", model, {"x": x}))
    x = rng.standard_normal((1, 64, 16)).astype(np.float32)
    return [*found, Case("voice detector, one step, H128", voice(128, 128), {"x": x})]


def of_file(path: str) -> Case:
    import onnx
    from onnx import helper

    model, rng = onnx.load(path), np.random.default_rng(1)
    initialized = {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in initialized:
            known = value.type.tensor_type
            shape = [dim.dim_value for dim in known.shape.dim]
            if not all(shape):
                raise ValueError(f"{path}: input {value.name!r} has open dimensions: {shape}")
            feeds[value.name] = rng.standard_normal(shape).astype(helper.tensor_dtype_to_np_dtype(known.elem_type))
    return Case(path, model, feeds)


def measured(case: Case, threads: int, seconds: float) -> dict[str, Any]:
    """Return what is written down of a case; RuntimeError where the answers differ."""
    import onnxruntime

    from rnnkernels.onnx import prepare

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(case.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    ready = prepare(case.model, runtime="onnxruntime")
    error = 0.0
    for mine, theirs in zip(ready.run(case.feeds), session.run(None, case.feeds), strict=True):
        error = max(error, float(np.abs(mine - theirs).max() / max(1e-30, np.abs(theirs).max())))
    if not error < TOLERANCE:
        raise RuntimeError(f"{case.name}: the answers differ by {error:.1e}")
    calls = {"ours": lambda: ready.run(case.feeds), "onnxruntime": lambda: session.run(None, case.feeds)}
    times = {name: timing.median for name, timing in alternate(calls, seconds=seconds).items()}
    line = {"kind": "onnx_models", "what": case.name, "threads": threads, "error": error, "medians": times}
    return line | {"instruction_set": rk.instruction_set(), "ratio": times["onnxruntime"] / times["ours"]}


def main(arguments: Sequence[str]) -> int:
    arguments = list(arguments)
    files = [each for each in arguments if each.endswith(".onnx")]
    rest = [each for each in arguments if each not in files]
    args = parse("onnx-models", "Whole ONNX models, beside ONNX Runtime.", rest)
    rk.set_num_threads(args.threads)
    run = results.new_run(machine.describe())
    lines = [run]
    print("model: ONNX Runtime's time over ours, error over the largest number of an output")
    for case in [of_file(file) for file in files] or cases():
        line = {"run": run["run"], **measured(case, args.threads, args.seconds)}
        lines.append(line)
        print(f"{case.name}: {line['ratio']:.2f}  {line['error']:.1e}", flush=True)
    if args.out:
        results.merge(args.out, lines)
    return 0
