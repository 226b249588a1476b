"""ONNX nodes for the tests: random ones, a model around one, and the standard's equations in NumPy, step by step."""

# ruff: noqa: N806 (arrays have the names of the standard)

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper
from tolerances import assert_close, error, forward_length

Array = npt.NDArray[Any]

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
WEIGHTS = ("W", "R", "B", "P")
OUTPUTS = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}


@dataclass
class Node:
    operator: str
    attributes: dict[str, Any]
    arrays: dict[str, Array]  # by the standard's names

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """T, B, I, H."""
        first, second, inputs = self.arrays["X"].shape
        steps, batch = (second, first) if self.attributes.get("layout") else (first, second)
        return steps, batch, inputs, self.arrays["R"].shape[2]

    def proto(self, outputs: tuple[str, ...] | None = None) -> Any:
        places = [name if name in self.arrays else "" for name in INPUTS]
        while not places[-1]:
            places.pop()
        return helper.make_node(self.operator, places, outputs or OUTPUTS[self.operator], **self.attributes)

    def model(self, opset: int = 14, outputs: tuple[str, ...] | None = None, *, initializers: bool = False) -> Any:
        """A graph of the node; W, R, B and P are inputs or initializers."""
        node = self.proto(outputs)
        kept = WEIGHTS if initializers else ()
        infos = [info(name, array) for name, array in self.arrays.items() if name not in kept]
        element = helper.np_dtype_to_tensor_dtype(self.arrays["X"].dtype)
        found = [
            helper.make_tensor_value_info(name, element, [None] * (4 if name == "Y" else 3))
            for name in node.output
            if name
        ]
        tensors = [numpy_helper.from_array(array, name) for name, array in self.arrays.items() if name in kept]
        return wrap(helper.make_graph([node], "node", infos, found, tensors), opset)

    def feeds(self) -> dict[str, Array]:
        return dict(self.arrays)


def info(name: str, array: Array) -> Any:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


def wrap(graph: Any, opset: int = 14, **options: Any) -> Any:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def draw(rng: np.random.Generator, operator: str, dtype: str = "float32", **fixed: Any) -> Node:
    """A node of random attributes, sizes and inputs; `fixed`: attributes that are not drawn, None to leave one out."""
    T, B, I, H = (int(n) for n in rng.integers(1, (9, 6, 8, 12)))  # noqa: E741
    G = GATES[operator]
    attributes: dict[str, Any] = {"direction": str(rng.choice(["forward", "reverse", "bidirectional"]))}
    if rng.random() < 0.5:
        attributes["hidden_size"] = H
    if operator == "RNN" and rng.random() < 0.5:
        attributes["activations"] = [str(f) for f in rng.choice(["Tanh", "Relu"], 2)]
    if operator == "GRU":
        attributes["linear_before_reset"] = int(rng.integers(2))
    if operator == "LSTM":
        attributes["input_forget"] = int(rng.random() < 0.3)
    attributes |= fixed
    attributes = {name: value for name, value in attributes.items() if value is not None}
    D = 2 if attributes["direction"] == "bidirectional" else 1
    if operator == "RNN" and "activations" in attributes:
        attributes["activations"] = attributes["activations"][:D]
    layout = attributes.get("layout", 0)

    def uniform(*shape: int) -> Array:
        return rng.uniform(-1, 1, shape).astype(dtype)

    scale = np.asarray(1 / np.sqrt(H), dtype)
    state = (B, D, H) if layout else (D, B, H)
    arrays = {"X": uniform(B, T, I) if layout else uniform(T, B, I)}
    arrays |= {"W": uniform(D, G * H, I) * scale, "R": uniform(D, G * H, H) * scale}
    optional = {"B": uniform(D, 2 * G * H) * scale, "initial_h": uniform(*state)}
    optional["sequence_lens"] = rng.integers(0, T + 1, B).astype(np.int32)
    if operator == "LSTM":
        optional |= {"initial_c": uniform(*state), "P": uniform(D, 3 * H) * scale}
    arrays |= {name: array for name, array in optional.items() if rng.random() < 0.5}
    return Node(operator, attributes, {name: arrays[name] for name in INPUTS if name in arrays})


def runtime_values(proto: Any, node: Node, found: Any) -> tuple[Any, bool]:
    """What ONNX Runtime gives, and whether a row has no steps.

    Such a row ends with 0 in it, with the initial states in what is `found`, which are put into the result.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = session.run(None, node.feeds())
    rows = node.arrays.get("sequence_lens", np.ones(1)) == 0
    if rows.any():
        for name, mine, theirs in zip(("initial_h", "initial_c"), found[1:], wanted[1:], strict=False):
            assert not theirs[:, rows].any()
            np.testing.assert_array_equal(mine[:, rows], node.arrays.get(name, np.zeros_like(mine))[:, rows])
            theirs[:, rows] = mine[:, rows]
    return wanted, bool(rows.any())


def draw_functions(rng: np.random.Generator, operator: str, directions: int) -> dict[str, Any]:
    """Attributes of random functions; constants near the defaults, which some of the last functions are left to."""
    names = [str(name) for name in rng.choice(list(FUNCTIONS), len(DEFAULTS[operator]) * directions)]
    found: dict[str, Any] = {"activations": names}
    needed = [name for name in names if name in ("Affine", "ScaledTanh")]
    for at, of in enumerate(("alpha", "beta")):
        have = [name for name in names if len(FUNCTIONS[name][1]) > at]
        last = max((k + 1 for k, name in enumerate(have) if name in needed), default=0)
        count = int(rng.integers(last, len(have) + 1))
        if count:
            found[f"activation_{of}"] = [float(np.float32(number)) for number in rng.uniform(0.1, 0.7, count)]
    return found


def check(found: Any, wanted: Any, node: Node, amplified: float = 1.0) -> None:
    T, _, I, H = node.sizes  # noqa: E741
    assert len(found) == len(wanted)
    for name, mine, theirs in zip(("output", "state", "state"), found, wanted, strict=False):
        assert mine.dtype == node.arrays["X"].dtype
        assert_close(mine, theirs, name, forward_length(T, I, H), amplified=amplified)


def amplification(node: Node, wanted: Any) -> float:
    """How much larger than a small relative change of all arrays that of the results is, at least 1.

    Functions without a bound, such as Softplus, make a recurrence that amplifies rounding, and a threshold jumps.
    """
    small, rng = 1e-7, np.random.default_rng(0)
    changed = {
        name: array if array.dtype.kind in "iu" else array * (1 + small * rng.uniform(-1, 1, array.shape))
        for name, array in node.arrays.items()
    }
    found = expected(Node(node.operator, node.attributes, changed))
    return max(1.0, *(error(mine, theirs) / small for mine, theirs in zip(found, wanted, strict=True)))


def in_function(node: Node) -> Any:
    """A model whose node stands in a local function, which is told the direction."""
    inner = node.proto()
    attribute = next(a for a in inner.attribute if a.name == "direction")
    attribute.ClearField("s")
    attribute.ref_attr_name = "way"
    names = [n for n in inner.input if n]
    function = helper.make_function(
        "local", "Recur", names, list(inner.output), [inner], [helper.make_opsetid("", 14)], ["way"]
    )
    call = helper.make_node("Recur", names, list(inner.output), domain="local", way=node.attributes["direction"])
    graph = node.model().graph
    del graph.node[:]
    graph.node.append(call)
    imports = [helper.make_opsetid("", 14), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=[function], ir_version=8)


def in_branch(node: Node) -> Any:
    """A model whose node stands in a branch."""
    graph = node.model().graph
    branch = helper.make_graph(list(graph.node), "branch", [], list(graph.output))
    condition = numpy_helper.from_array(np.array(True), "condition")
    choose = helper.make_node(
        "If", ["condition"], [o.name for o in graph.output], then_branch=branch, else_branch=branch
    )
    return wrap(helper.make_graph([choose], "if", list(graph.input), list(graph.output), [condition]))


# ---- the equations of https://onnx.ai/onnx/operators/, in float64 ----------------------------------------------------


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


# By the standard's text, each with the defaults of its constants; those of Affine and ScaledTanh are always given here.
FUNCTIONS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "Relu": (lambda x: np.maximum(0, x), ()),
    "Tanh": (np.tanh, ()),
    "Sigmoid": (_sigmoid, ()),
    "Affine": (lambda x, alpha, beta: alpha * x + beta, (np.nan, np.nan)),
    "LeakyRelu": (lambda x, alpha: np.where(x >= 0, x, alpha * x), (0.01,)),
    "ThresholdedRelu": (lambda x, alpha: np.where(x >= alpha, x, 0), (1.0,)),
    "ScaledTanh": (lambda x, alpha, beta: alpha * np.tanh(beta * x), (np.nan, np.nan)),
    "HardSigmoid": (lambda x, alpha, beta: np.minimum(np.maximum(alpha * x + beta, 0), 1), (0.2, 0.5)),
    "Elu": (lambda x, alpha: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))), (1.0,)),
    "Softsign": (lambda x: x / (1 + np.abs(x)), ()),
    "Softplus": (lambda x: np.logaddexp(0, x), ()),
}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _functions(node: Node, directions: int) -> list[Any]:
    """The functions of all directions, one after the other: their constants are given in that order."""
    left = {name: list(node.attributes.get(f"activation_{name}", ())) for name in ("alpha", "beta")}
    found = []
    for name in node.attributes.get("activations") or DEFAULTS[node.operator] * directions:
        function, defaults = FUNCTIONS[name]
        constants = [
            np.float64(np.float32(left[of].pop(0) if left[of] else default))
            for of, default in zip(("alpha", "beta"), defaults, strict=False)
        ]
        found.append(partial(_with, function, constants))
    return found


def _with(function: Any, constants: list[Any], x: Array) -> Array:
    return np.asarray(function(x, *constants))


def expected(node: Node) -> tuple[Array, ...]:
    """Y, Y_h and, of an LSTM, Y_c: one row of the batch after the other, one step after the other."""
    a = {name: np.asarray(array, np.float64) for name, array in node.arrays.items()}
    layout = node.attributes.get("layout", 0)
    if layout:
        a |= {name: a[name].swapaxes(0, 1) for name in ("X", "initial_h", "initial_c") if name in a}
    T, B, _ = a["X"].shape
    D, _, H = a["R"].shape
    direction = node.attributes.get("direction", "forward")
    each = len(DEFAULTS[node.operator])
    functions = _functions(node, D)
    Y, Y_h, Y_c = np.zeros((T, D, B, H)), np.zeros((D, B, H)), np.zeros((D, B, H))
    for d in range(D):
        for b in range(B):
            h = a["initial_h"][d, b] if "initial_h" in a else np.zeros(H)
            c = a["initial_c"][d, b] if "initial_c" in a else np.zeros(H)
            length = int(a["sequence_lens"][b]) if "sequence_lens" in a else T
            times = range(length)
            for t in reversed(times) if direction == "reverse" or d == 1 else times:
                h, c = _step(node, a, d, a["X"][t, b], h, c, functions[d * each : (d + 1) * each])
                Y[t, d, b] = h
            Y_h[d, b], Y_c[d, b] = h, c
    if layout:
        Y, Y_h, Y_c = Y.transpose(2, 0, 1, 3), Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    return (Y, Y_h, Y_c) if node.operator == "LSTM" else (Y, Y_h)


def _step(
    node: Node, a: dict[str, Array], d: int, x: Array, h: Array, c: Array, functions: list[Any]
) -> tuple[Array, Array]:
    clip = np.float64(np.float32(node.attributes.get("clip", np.inf)))

    def f(x: Array, which: int = 0) -> Array:
        return np.asarray(functions[which](np.clip(x, -clip, clip)))

    G, H = GATES[node.operator], len(h)
    W, R = a["W"][d].reshape(G, H, -1), a["R"][d].reshape(G, H, H)
    B = a["B"][d].reshape(2, G, H) if "B" in a else np.zeros((2, G, H))
    if node.operator == "RNN":
        return f(W[0] @ x + R[0] @ h + B[0, 0] + B[1, 0]), c
    if node.operator == "GRU":
        z = f(W[0] @ x + R[0] @ h + B[0, 0] + B[1, 0])
        r = f(W[1] @ x + R[1] @ h + B[0, 1] + B[1, 1])
        if node.attributes.get("linear_before_reset", 0):
            n = f(W[2] @ x + r * (R[2] @ h + B[1, 2]) + B[0, 2], 1)
        else:
            n = f(W[2] @ x + R[2] @ (r * h) + B[1, 2] + B[0, 2], 1)
        return (1 - z) * n + z * h, c
    P = a["P"][d].reshape(3, H) if "P" in a else np.zeros((3, H))
    s = W @ x + R @ h + B[0] + B[1]  # (4, H): i o f c
    i = f(s[0] + P[0] * c)
    forget = 1 - i if node.attributes.get("input_forget", 0) else f(s[2] + P[2] * c)
    c = forget * c + i * f(s[3], 1)
    o = f(s[1] + P[1] * c)
    return o * f(c, 2), c
