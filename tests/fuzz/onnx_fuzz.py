"""Random RNN, GRU and LSTM nodes in child processes, against the standard's equations in NumPy and ONNX Runtime.

The nodes, the equations and ONNX Runtime's answers are tests/support/onnx_nodes.py's.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx_nodes import GATES, WEIGHTS, amplification, check, draw, draw_functions, expected, runtime_values

import rnnkernels as rk
import rnnkernels.onnx as ro

from . import children
from .children import Tried

if TYPE_CHECKING:
    from onnx_nodes import Node

FORMS = 100  # of functions and their constants, by operator
LARGE = 50.0  # from about 88 on ONNX Runtime's Softplus overflows


def run(seconds: float, seed: int, calls: int | None = None) -> list[str]:
    """Try the nodes from `seed` on, until the time or the calls are over."""
    return children.failures(__name__, seconds, seed, calls)


def case(seed: int) -> Tried:
    """Compare one node."""
    rng = np.random.default_rng(seed)
    operator = str(rng.choice(list(GATES)))
    dtype = str(rng.choice(["float32", "float32", "float64"]))
    for_runtime = dtype == "float32" and bool(rng.random() < 0.7)
    fixed: dict[str, Any] = {} if for_runtime else {"layout": int(rng.integers(2))}
    if rng.random() < 0.5:
        fixed |= _functions(operator, seed % FORMS, for_runtime=for_runtime)
    node = draw(rng, operator, dtype, **fixed)
    if for_runtime:
        node.attributes["hidden_size"] = node.sizes[3]  # ONNX Runtime needs it
    proto = node.model(initializers=bool(rng.random() < 0.5))
    feeds = {name: node.arrays[name] for name in node.arrays if name in {i.name for i in proto.graph.input}}
    found = ro.run_model(proto, feeds)
    tried = Tried(Counter(), [], 1)
    wanted = expected(node)
    amplified = amplification(node, wanted) if "activations" in fixed else 1.0
    _compare(tried, "equations", node, found, wanted, amplified)
    if for_runtime and all(np.abs(array).max(initial=0.0) < LARGE for array in found):
        theirs = runtime_values(node.model(), node, found)[0]
        _compare(tried, "ONNX Runtime", node, found, theirs, amplified if amplified == 1.0 else 2 * amplified)
    _convert(tried, node, found)
    return tried


def _functions(operator: str, form: int, *, for_runtime: bool) -> dict[str, Any]:
    """Return a direction, functions and perhaps clip: one of a few, for each is a cell that stays."""
    rng = np.random.default_rng(form)
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    found = {"direction": direction, **draw_functions(rng, operator, 2 if direction == "bidirectional" else 1)}
    if rng.random() < 0.5:
        found["clip"] = float(rng.uniform(0.05, 2.0))
    if for_runtime:  # what it does in its own way: see docs/onnx.md
        if operator == "LSTM":
            found.pop("clip", None)
        if "ThresholdedRelu" in found["activations"]:
            return {}
    return found


def _convert(tried: Tried, node: Node, found: Any) -> None:
    """Run the node's cells without ONNX."""
    layer = ro.from_node(node.proto(), {name: a for name, a in node.arrays.items() if name in WEIGHTS})
    arrays = dict(node.arrays)
    if layer.layout:
        arrays |= {name: arrays[name].swapaxes(0, 1) for name in ("X", "initial_h", "initial_c") if name in arrays}
    runs = []
    for at, way in enumerate(layer.directions):
        names = ("initial_h", "initial_c") if node.operator == "LSTM" else ("initial_h",)
        shape = arrays["X"].shape[1], node.sizes[3]
        state = [arrays[name][at] if name in arrays else np.zeros(shape, arrays["X"].dtype) for name in names]
        lengths = arrays.get("sequence_lens")
        runs.append(rk.forward(way.cell, arrays["X"], way.params, state, lengths=lengths, reverse=way.reverse).output)
    stacked = np.stack(runs, axis=1)  # (T, D, B, H)
    _compare(tried, "from_node", node, [stacked.transpose(2, 0, 1, 3) if layer.layout else stacked], found[:1])


def _compare(tried: Tried, kind: str, node: Node, found: Any, wanted: Any, amplified: float = 1.0) -> None:
    tried.calls[kind] += 1
    try:
        check(found, wanted, node, amplified)
    except AssertionError as error:
        tried.failures.append(f"{kind}: {node.operator} {node.attributes}, {', '.join(node.arrays)}: {error}")
