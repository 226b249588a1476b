"""Random RNN, GRU, LSTM and DynamicQuantizeLSTM nodes in child processes, against the standard's equations in NumPy.

Against ONNX Runtime too. The nodes, the equations and ONNX Runtime's answers are tests/support/onnx_nodes.py's and
onnx_quantized.py's. Integers with a scale for each row are computed with as integers: there the equations' numbers are
near, and a prepared layer's are the same to the bit.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx_nodes import GATES, WEIGHTS, amplification, check, draw, draw_functions, expected, runtime_values
from onnx_quantized import dynamic_model, error_of, feeds, floats, quantized, session

import rnnkernels as rk
import rnnkernels.onnx as ro

from . import children
from .children import Tried

if TYPE_CHECKING:
    from onnx_nodes import Node

FORMS = 100  # of functions and their constants, by operator
LARGE = 50.0  # from about 88 on ONNX Runtime's Softplus overflows
QUANTIZED_RATE = 0.25  # of DynamicQuantizeLSTM nodes
NEAR = {"equations": 0.02, "ONNX Runtime": 0.05}  # root mean square of what rounding activations to 8 bits costs


def run(seconds: float, seed: int, calls: int | None = None) -> list[str]:
    """Try the nodes from `seed` on, until the time or the calls are over."""
    return children.failures(__name__, seconds, seed, calls)


def case(seed: int) -> Tried:
    """Compare one node."""
    rng = np.random.default_rng(seed)
    if rng.random() < QUANTIZED_RATE:
        return _quantized(rng, seed)
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


def _quantized(rng: np.random.Generator, seed: int) -> Tried:
    """Compare one DynamicQuantizeLSTM."""
    fixed = _functions("LSTM", seed % FORMS, for_runtime=False) if rng.random() < 0.3 else {}
    node = draw(rng, "LSTM", **fixed)
    node.attributes["hidden_size"] = node.sizes[3]
    dtype, zero = (("int8", 0), ("uint8", 128), ("uint8", int(rng.integers(60, 200))))[int(rng.integers(3))]
    columns = bool(rng.random() < 0.5)
    arrays = quantized(node, dtype, columns=columns, zero=zero)
    model, given = dynamic_model(arrays, node.attributes), feeds(arrays)
    found = ro.run_model(model, given)
    tried, exact = Tried(Counter(), [], 1), floats(node, arrays)
    wanted = expected(exact)
    if not all(np.abs(array).max(initial=0.0) < LARGE for array in wanted):  # functions without a bound
        return tried
    amplified = amplification(exact, wanted) if fixed else 1.0
    layer = ro.from_node(model.graph.node[0], model)
    if all(way.quantized is None for way in layer.directions):
        _compare(tried, "floats of integers", exact, found, wanted, amplified)
    else:
        _near(tried, "equations", node, found, wanted, amplified)
        _convert_quantized(tried, node, arrays, layer, found)
    if not fixed and np.all(arrays.get("sequence_lens", 1)):  # rows without steps end with 0 there
        _near(tried, "ONNX Runtime", node, found, session(model).run(None, given), 1.0)
    return tried


def _near(tried: Tried, kind: str, node: Node, found: Any, wanted: Any, amplified: float) -> None:
    tried.calls[f"integers, {kind}"] += 1
    error, allowed = error_of(found, wanted), NEAR[kind] * amplified
    if not error <= allowed:
        tried.failures.append(f"{kind}: integers, {node.attributes}, {', '.join(node.arrays)}: {error} of {allowed}")


def _convert_quantized(tried: Tried, node: Node, arrays: dict[str, Any], layer: ro.Layer, found: Any) -> None:
    """Run the node's integers without ONNX, and write them again: not a bit changes."""
    zeros = np.zeros(found.Y_h.shape[1:], np.float32)
    parts = [ro.Direction(way.cell, way.quantized or {}, way.reverse) for way in layer.directions]
    again = ro.from_node(*ro.to_node(ro.Layer(tuple(parts))))
    for d, (part, way) in enumerate(zip(parts, again.directions, strict=True)):
        tried.calls["integers, from_node and to_node"] += 1
        state = [arrays[name][d] if name in arrays else zeros for name in ("initial_h", "initial_c")]
        for params in (part.params, way.quantized or {}):
            layer_of_it = rk.Prepared(part.cell, params)
            output, ended = layer_of_it.forward(
                arrays["X"], state, lengths=arrays.get("sequence_lens"), reverse=part.reverse
            )
            if [output.tobytes(), *(each.tobytes() for each in ended)] != [
                np.ascontiguousarray(each).tobytes() for each in (found.Y[:, d], found.Y_h[d], found.Y_c[d])
            ]:
                tried.failures.append(f"integers, from_node: {node.attributes}, {', '.join(node.arrays)}: other bits")


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
