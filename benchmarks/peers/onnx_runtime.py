"""ONNX Runtime on the CPU: inference and streams. It packs the weights once, when the session is made."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np

from benchmarks.workloads import Array, Workload

from .base import Peer, Timed

# ONNX's operator, its gates as places in our order (LSTM i o f c, GRU z r h), and its attributes.
_OPERATORS: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "rnn_tanh": ("RNN", (0,), {"activations": ["Tanh"]}),
    "rnn_relu": ("RNN", (0,), {"activations": ["Relu"]}),
    "lstm": ("LSTM", (0, 3, 1, 2), {}),
    "gru": ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
    "gru_reset_before": ("GRU", (1, 0, 2), {"linear_before_reset": 0}),
}
_OPSET = 14


class OnnxRuntime(Peer):
    """A graph of one node."""

    name = "onnxruntime"
    packages = ("onnx", "onnxruntime")

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "streaming"} and work.cell in _OPERATORS

    def prepare(self, work: Workload, threads: int) -> Timed:
        return _stream(work, threads) if work.mode == "streaming" else _sequence(work, threads)


def _sequence(work: Workload, threads: int) -> Timed:
    session = _session(work, threads, states=[], outputs=["Y"])
    return Timed(
        lambda: session.run(["Y"], {"X": work.x})[0],
        lambda output: {"output": output[:, 0]},  # (T, directions, B, H)
    )


def _stream(work: Workload, threads: int) -> Timed:
    """Buffers are bound once and two sets of states swapped: quicker by a third than passing arrays."""
    import onnxruntime

    states = ["h", "c"] if work.cell == "lstm" else ["h"]
    session = _session(work, threads, states=states, outputs=[f"Y_{s}" for s in states])
    _, batch, _, hidden = work.shape
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    x = value(np.ascontiguousarray(work.x[:1]))
    sets = [[value(np.zeros((1, batch, hidden), np.float32)) for _ in states] for _ in range(2)]
    bindings = []
    for before, after in (sets, sets[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("X", x)
        for name, old, new in zip(states, before, after, strict=True):
            binding.bind_ortvalue_input(f"initial_{name}", old)
            binding.bind_ortvalue_output(f"Y_{name}", new)
        bindings.append((binding, after[0]))
    turns = cycle(bindings)
    inputs = cycle([np.ascontiguousarray(part) for part in work.x[:, np.newaxis]])

    def step() -> Any:
        binding, h = next(turns)
        x.update_inplace(next(inputs))
        session.run_with_iobinding(binding)
        return h.numpy()

    return Timed(step, lambda h: {"output": h[0]})


def _session(work: Workload, threads: int, *, states: list[str], outputs: list[str]) -> Any:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    operator, order, attributes = _OPERATORS[work.cell]
    _, _, inputs, hidden = work.shape

    def gates(name: str) -> Array:
        blocks = work.params[name].reshape(len(order), hidden, -1)
        return blocks[list(order)].reshape(work.params[name].shape)

    weights = {
        "W": gates("weight_ih")[np.newaxis],
        "R": gates("weight_hh")[np.newaxis],
        "B": np.concatenate([gates("bias_ih"), gates("bias_hh")])[np.newaxis],
    }
    given = [f"initial_{s}" for s in states]
    places = ["Y", "Y_h", "Y_c"][: 3 if operator == "LSTM" else 2]
    node = helper.make_node(
        operator,
        ["X", *weights, *([""] if given else []), *given],  # between them sequence_lens
        [name if name in outputs else "" for name in places],
        hidden_size=hidden,
        **attributes,
    )
    sizes: dict[str, list[Any]] = {"X": ["T", "B", inputs], "Y": ["T", 1, "B", hidden]}
    state_size = [1, "B", hidden]

    def infos(names: list[str]) -> list[Any]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, sizes.get(n, state_size)) for n in names]

    graph = helper.make_graph(
        [node],
        work.cell,
        infos(["X", *given]),
        infos(outputs),
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
