"""The ONNX backend: the standard's own cases, the equations in NumPy, ONNX Runtime; what is refused; models around.

Other functions than the default ones, and clip, are in own_activations.py.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import (
    GATES,
    OUTPUTS,
    Array,
    Node,
    check,
    draw,
    expected,
    in_branch,
    in_function,
    info,
    runtime_values,
    wrap,
)
from tolerances import assert_close, forward_length

import rnnkernels as rk
import rnnkernels.onnx as ro
from rnnkernels.onnx import operators

OPERATORS = tuple(GATES)
NEWEST = onnx.defs.onnx_opset_version()


# ---- conformance -----------------------------------------------------------------------------------------------------

# Cases of the standard that are not run, with the reason. There are none.
REFUSED: dict[str, str] = {}


def conformance() -> list[Any]:
    """All node cases of the three operators: those of every module of the package's cases that names one."""
    folder = Path(importlib.import_module("onnx.backend.test.case.node").__file__ or "").parent
    for file in sorted(folder.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        if any(f'"{operator}"' in text for operator in OPERATORS):
            importlib.import_module(f"onnx.backend.test.case.node.{file.stem}")
    cases = importlib.import_module("onnx.backend.test.case.node")._NodeTestCases
    return [case for case in cases if {node.op_type for node in case.model.graph.node} & set(OPERATORS)]


CASES = conformance()


def test_conformance_data_is_there() -> None:
    names = {case.name for case in CASES}
    assert len(names) == len(CASES) >= 12  # in onnx 1.16; 18 in 1.23
    assert names >= set(REFUSED)
    assert {node.op_type for case in CASES for node in case.model.graph.node} == set(OPERATORS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_conformance(case: Any) -> None:
    if case.name in REFUSED:
        with pytest.raises(ro.UnsupportedError, match=REFUSED[case.name]):
            ro.prepare(case.model)
        return
    assert ro.is_compatible(case.model)
    rep = ro.prepare(case.model, "CPU")
    for inputs, outputs in case.data_sets:
        found = rep.run(inputs)
        assert len(found) == len(outputs)
        X, W, R = inputs[:3]  # noqa: N806
        steps = X.shape[1 if "batchwise" in case.name else 0]
        for mine, theirs in zip(found, outputs, strict=True):
            assert mine.dtype == theirs.dtype
            assert_close(mine, theirs, "output", forward_length(steps, W.shape[2], R.shape[2]))


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_equations(operator: str, dtype: str) -> None:
    """Random nodes: every attribute, both layouts, lengths of 0, inputs that are missing."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        node = draw(rng, operator, dtype, layout=int(rng.integers(2)))
        check(ro.run_model(node.model(), node.feeds()), expected(node), node)


@pytest.mark.parametrize("functions", [["Sigmoid", "Affine", "Tanh"], ["Sigmoid", "Tanh", "Affine"]], ids=str)
def test_affine_is_x_itself(functions: list[str]) -> None:
    rng = np.random.default_rng(2)
    more = {"activation_alpha": [1.0], "activation_beta": [0.0], "input_forget": None, "direction": "reverse"}
    for _ in range(10):
        node = draw(rng, "LSTM", "float64", activations=functions, **more)
        check(ro.run_model(node.model(), node.feeds()), expected(node), node)


@pytest.mark.parametrize("operator", OPERATORS)
def test_onnx_runtime(operator: str) -> None:
    """The same answers, but for the final states of a row without steps: theirs are 0, ours the initial ones."""
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(3)
    empty = 0
    for _ in range(100):
        node = draw(rng, operator)
        node.attributes["hidden_size"] = node.sizes[3]  # they need it
        proto = node.model()
        found = ro.run_model(proto, node.feeds())
        wanted, without_steps = runtime_values(proto, node, found)
        empty += without_steps
        check(found, wanted, node)
    assert empty > 5


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_opset(operator: str) -> None:
    node = draw(np.random.default_rng(4), operator)
    first = ro.run_model(node.model(7), node.feeds())
    check(first, expected(node), node)
    for opset in range(8, NEWEST + 1):
        for mine, again in zip(first, ro.run_model(node.model(opset), node.feeds()), strict=True):
            assert mine.tobytes() == again.tobytes()
    first_schema = 3 if operator == "GRU" else 1  # with the attributes that are drawn
    node.attributes["layout"] = 1
    with pytest.raises(onnx.checker.ValidationError, match="layout"):
        ro.run_model(node.model(13), node.feeds())
    del node.attributes["layout"]
    for opset in (first_schema, 6):
        assert not ro.is_compatible(node.model(opset))
        with pytest.raises(
            ro.UnsupportedError, match=f"opset_import: {operator} is served from opset 7 on, got {opset}"
        ):
            ro.prepare(node.model(opset))


@pytest.mark.parametrize("operator", OPERATORS)
def test_missing_outputs(operator: str) -> None:
    node = draw(np.random.default_rng(5), operator)
    names = OUTPUTS[operator]
    all_of_them = ro.run_model(node.model(), node.feeds())
    for wanted in product((True, False), repeat=len(names)):
        if any(wanted):
            kept = tuple(name if want else "" for name, want in zip(names, wanted, strict=True))
            found = ro.run_model(node.model(outputs=kept), node.feeds())
            assert found._fields == tuple(name for name in kept if name)
            for name in found._fields:
                np.testing.assert_array_equal(found[name], all_of_them[name])


@pytest.mark.parametrize("shape", [(0, 3), (4, 0)], ids=["T=0", "B=0"])
def test_nothing_to_do(shape: tuple[int, int]) -> None:
    node = draw(np.random.default_rng(6), "LSTM", direction="bidirectional")
    node.arrays = {name: node.arrays[name] for name in ("X", "W", "R")}
    node.arrays["X"] = np.zeros((*shape, node.arrays["X"].shape[2]), np.float32)
    found = ro.run_model(node.model(), node.feeds())
    assert [f.shape for f in found] == [f.shape for f in expected(node)]
    assert not any(f.any() for f in found)


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(name: str) -> None:
    dtype = np.dtype("float16") if name == "float16" else np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    try:
        helper.np_dtype_to_tensor_dtype(dtype)
    except (KeyError, ValueError):
        pytest.skip(f"this onnx does not take NumPy's {name}")
    for operator in OPERATORS:
        node = draw(np.random.default_rng(7), operator)
        node.arrays = {n: a if a.dtype == np.int32 else a.astype(dtype) for n, a in node.arrays.items()}
        wide = {n: a if a.dtype == np.int32 else a.astype(np.float32) for n, a in node.arrays.items()}
        exact = ro.run_model(Node(operator, node.attributes, wide).model(22), wide)
        for mine, theirs in zip(ro.run_model(node.model(22), node.feeds()), exact, strict=True):
            assert mine.dtype == dtype
            np.testing.assert_array_equal(mine.astype(np.float32), theirs.astype(dtype).astype(np.float32))


# ---- what is refused, and what is wrong ------------------------------------------------------------------------------

WRONG = [
    ("RNN", {"activations": ["Tanh", "Relu"]}, "activations: expected 1 for each of 1 directions, got 2"),
    ("RNN", {"activations": ["Tan"]}, "activations: ONNX has no function 'Tan'"),
    (
        "RNN",
        {"activations": ["ParametricSoftplus"]},
        "activations: ONNX has no function 'ParametricSoftplus'; it has Relu,",
    ),
    ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.0, 0.0]}, "activation_alpha: expected at most 1"),
    (
        "RNN",
        {"activations": ["ScaledTanh"]},
        "activation_alpha: expected one for ScaledTanh, which has no default, got none",
    ),
    (
        "RNN",
        {"activations": ["ScaledTanh"], "activation_alpha": [1.7]},
        "activation_beta: expected one for ScaledTanh, which",
    ),
    (
        "RNN",
        {"activations": ["Elu"], "activation_alpha": [np.nan]},
        "activation_alpha: expected finite numbers, got nan",
    ),
    ("GRU", {"activations": ["HardSigmoid", "Tanh"], "activation_beta": [-np.inf]}, "activation_beta: .* got -inf"),
    ("RNN", {"direction": "backward"}, "direction: expected one of forward, reverse, bidirectional; got 'backward'"),
    ("GRU", {"layout": 2}, "layout: expected 0 or 1, got 2"),
    ("LSTM", {"input_forget": 2}, "input_forget: expected 0 or 1, got 2"),
    ("LSTM", {"clip": 0.0}, "clip: expected a number above 0, got 0"),
    ("LSTM", {"clip": np.nan}, "clip: expected a number above 0, got nan"),
    ("LSTM", {"hidden_size": 99}, "R: expected hidden_size 99 columns, got"),
]


def forward_node(operator: str, attributes: dict[str, Any]) -> Node:
    fixed: dict[str, Any] = {"direction": "forward", "activations": None, "input_forget": None, "hidden_size": None}
    node = draw(np.random.default_rng(11), operator, **fixed)
    node.attributes |= attributes
    return node


@pytest.mark.parametrize(("operator", "attributes", "message"), WRONG)
def test_wrong_attributes(operator: str, attributes: dict[str, Any], message: str) -> None:
    node = forward_node(operator, attributes)
    with pytest.raises(ValueError, match=message):
        ro.run_model(node.model(), node.feeds())


SAME = [
    ("RNN", {"activations": ["Tanh", "Tanh"]}, "Tanh"),  # the standard's default, whatever the direction
    ("RNN", {"activations": ["tanh"]}, "Tanh"),
    ("RNN", {"activations": ["ScaledTanh"], "activation_alpha": [1.0], "activation_beta": [1.0]}, "Tanh"),
    ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.0]}, "Relu"),
    ("RNN", {"activations": ["ThresholdedRelu"], "activation_alpha": [0.0]}, "Relu"),
    ("RNN", {"activations": ["Elu"], "activation_alpha": [0.0]}, "Relu"),
    ("RNN", {"activations": ["Relu"], "activation_alpha": [7.0]}, "Relu"),  # nobody takes it
    ("RNN", {"activations": ["Relu"], "activation_beta": [np.inf]}, "Relu"),
]


@pytest.mark.parametrize(("operator", "attributes", "function"), SAME)
def test_other_names_of_the_same_function(operator: str, attributes: dict[str, Any], function: str) -> None:
    node = forward_node(operator, attributes)
    plain = Node(operator, {"activations": [function]}, node.arrays)
    check(ro.run_model(node.model(), node.feeds()), expected(plain), plain)


BAD_INPUTS: list[tuple[str, Any, type[Exception], str]] = [
    ("X", np.zeros((3, 2, 9), np.float32), ValueError, r"X: expected shape \(3, 2, \d+\), got \(3, 2, 9\)"),
    ("W", np.zeros((1, 4, 7), np.float32), ValueError, r"W: expected shape \(directions, gates\*H, I\) = \(1, "),
    ("R", np.zeros((1, 4, 7), np.float32), ValueError, r"R: expected hidden_size \d+ columns, got 7"),
    ("B", np.zeros((1, 4), np.float32), ValueError, r"B: expected shape \(directions, 2\*gates\*H\) = \(1, "),
    ("P", np.zeros((1, 4), np.float32), ValueError, r"P: expected shape \(directions, 3\*H\) = \(1, "),
    ("initial_h", np.zeros((2, 2, 2), np.float32), ValueError, "initial_h: expected shape"),
    ("initial_c", np.zeros((2, 2, 2), np.float32), ValueError, "initial_c: expected shape"),
    ("sequence_lens", np.zeros(77, np.int32), ValueError, "sequence_lens: expected shape"),
    ("sequence_lens", -1, ValueError, "sequence_lens: expected 0 to seq_length = .*, got -1"),
    ("sequence_lens", 100, ValueError, "sequence_lens: expected 0 to seq_length = .*, got 100"),
    ("sequence_lens", 1.0, TypeError, "sequence_lens: expected dtype int32, got float"),
    ("B", "float64", TypeError, "B: expected dtype float32, got float64"),
    ("X", np.zeros((3, 2), np.float32), ValueError, r"X: expected 3 dimensions, got shape \(3, 2\)"),
    ("X", None, TypeError, "X: expected an array, got None"),
]


@pytest.mark.parametrize(("name", "value", "kind", "message"), BAD_INPUTS)
def test_bad_inputs(name: str, value: Any, kind: type[Exception], message: str) -> None:
    rng = np.random.default_rng(12)
    node = draw(rng, "LSTM", direction="forward")
    while len(node.arrays) < 8 or node.sizes[1] < 2:
        node = draw(rng, "LSTM", direction="forward")
    rep = ro.prepare(node.model())
    feeds = node.feeds()
    if isinstance(value, str):
        value = feeds[name].astype(value)
    elif isinstance(value, (int, float)):
        value = np.full_like(feeds[name], value, dtype=type(value) if isinstance(value, float) else np.int32)
    with pytest.raises(kind, match=message):
        rep.run(feeds | {name: value})


def test_bad_calls() -> None:
    node = forward_node("GRU", {})
    model, feeds = node.model(), node.feeds()
    rep = ro.prepare(model)
    with pytest.raises(ValueError, match=r"inputs: expected X, .*; got no X, an unknown x"):
        rep.run({"x" if name == "X" else name: array for name, array in feeds.items()})
    with pytest.raises(ValueError, match=rf"inputs: expected {len(feeds)} \(X, .*\), got 1"):
        rep.run([feeds["X"]])
    with pytest.raises(TypeError, match="run: there is no option fast"):
        rep.run(feeds, fast=True)
    with pytest.raises(TypeError, match="prepare: there is no option fast"):
        ro.prepare(model, fast=True)
    with pytest.raises(TypeError, match=r"model: expected an onnx.ModelProto or a path, got GraphProto"):
        ro.prepare(model.graph)
    with pytest.raises(ro.UnsupportedError, match="device: expected 'CPU', got 'CUDA:0'"):
        ro.prepare(model, "CUDA:0")
    assert ro.supports_device("CPU")
    assert not ro.supports_device("CUDA")
    # Without the graph's declarations the operators look themselves.
    for name, array, message in [
        ("X", feeds["X"].astype(np.int64), "X: expected floats, got int64"),
        ("X", feeds["X"].astype(np.float64), "X: expected dtype float32, W's, got float64"),
    ]:
        with pytest.raises(TypeError, match=message):
            ro.run_node(node.proto(), feeds | {name: array})
    with pytest.raises(TypeError, match="X: ONNX has no type for dtype datetime64"):
        ro.run_node(node.proto(), feeds | {"X": feeds["X"].astype("datetime64[s]")})
    changed = Node("GRU", {}, feeds | {"sequence_lens": np.zeros(node.sizes[1], np.float32)})
    with pytest.raises(TypeError, match="sequence_lens: expected integers, got float32"):
        ro.run_node(changed.proto(), [changed.arrays[n] for n in changed.proto().input if n])


def test_missing_package_is_named() -> None:
    code = "import sys; sys.modules['onnx'] = None\nimport rnnkernels.onnx"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert "rnnkernels.onnx needs onnx: pip install 'rnnkernels[onnx]'" in done.stderr


# ---- models and evaluators -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATORS)
def test_run_node_and_new_ops(operator: str) -> None:
    """The same bits through the node, the model and an evaluator that takes our operators."""
    rng = np.random.default_rng(13)
    for _ in range(5):
        node = draw(rng, operator)
        first = ro.run_model(node.model(), node.feeds())
        names = [name for name in node.proto().input if name]
        plain = ReferenceEvaluator(node.model(), new_ops=ro.ops)
        for again in (
            ro.run_node(node.proto(), node.feeds()),
            ro.run_node(node.proto(), [node.arrays[n] for n in names], opset_version=8),
            ro.prepare(node.model(initializers=True)).run({n: a for n, a in node.arrays.items() if n not in "WRBP"}),
            plain.run(None, node.feeds()),
        ):
            assert all(mine.tobytes() == theirs.tobytes() for mine, theirs in zip(again, first, strict=True))


def two_layers(rng: np.random.Generator) -> tuple[Any, dict[str, Node], Array]:
    """(B, T, I) -> Transpose -> LSTM without Y_c and Y -> LSTM with nothing in the place of lengths -> Squeeze."""
    fixed: dict[str, Any] = {"direction": "forward", "hidden_size": None, "input_forget": None}
    first, second = draw(rng, "LSTM", **fixed), draw(rng, "LSTM", **fixed)
    H = first.sizes[3]
    second.arrays["W"] = rng.uniform(-0.5, 0.5, (1, second.arrays["W"].shape[1], H)).astype(np.float32)
    for node in (first, second):
        node.arrays = {n: a for n, a in node.arrays.items() if n in {"X", "W", "R", "B", "P"}}
    batches = np.ascontiguousarray(first.arrays["X"].transpose(1, 0, 2))
    tensors = [
        numpy_helper.from_array(a, f"{k}{n}")
        for k, node in (("a", first), ("b", second))
        for n, a in node.arrays.items()
        if n != "X"
    ]

    def names(k: str, node: Node, x: str) -> list[str]:
        return [x] + [f"{k}{n}" if n in node.arrays else "" for n in ("W", "R", "B", "", "", "", "P")]

    nodes = [
        helper.make_node("Transpose", ["batches"], ["x"], perm=[1, 0, 2]),
        helper.make_node("LSTM", names("a", first, "x"), ["", "ah"]),
        helper.make_node("LSTM", names("b", second, "ah"), ["y", "", "c"]),
        helper.make_node("Squeeze", ["y", "one"], ["out"]),
    ]
    tensors.append(numpy_helper.from_array(np.array([1]), "one"))
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * 3) for n in ("out", "c")]
    graph = helper.make_graph(nodes, "two", [info("batches", batches)], outputs, tensors)
    return wrap(graph), {"first": first, "second": second}, batches


def test_model_with_other_operators() -> None:
    for seed in range(8):
        model, nodes, batches = two_layers(np.random.default_rng(seed))
        _, h, _ = expected(nodes["first"])
        nodes["second"].arrays["X"] = h.astype(np.float32)
        y, _, c = expected(nodes["second"])
        rep = ro.prepare(model)
        for _ in range(2):  # the second time with packed weights
            found = rep.run(batches)
            check([found["out"], found["c"]], [y[:, 0], c], nodes["second"])


def test_missing_results_and_inputs_are_not_mixed_up() -> None:
    """The evaluator keeps a result without a name under the name that a missing input has."""
    node = draw(np.random.default_rng(16), "GRU", direction="forward", hidden_size=None)
    node.arrays = {n: node.arrays[n] for n in ("X", "W", "R")}
    tensors = [numpy_helper.from_array(node.arrays[n], n) for n in ("W", "R")]
    tensors.append(numpy_helper.from_array(np.array(9, np.float32), "nine"))
    nodes = [
        helper.make_node("Dropout", ["X"], ["x", ""]),  # leaves its mask behind
        helper.make_node("GRU", ["x", "W", "R", "", "", ""], ["", "h"]),  # leaves Y
        helper.make_node("Clip", ["h", "", "nine"], ["held"]),  # Y for the smallest would be an error
    ]
    outputs = [helper.make_tensor_value_info("held", TensorProto.FLOAT, [None] * 3)]
    model = wrap(helper.make_graph(nodes, "g", [info("X", node.arrays["X"])], outputs, tensors))
    check(ro.run_model(model, node.arrays["X"]), [expected(node)[1]], node)


@pytest.mark.parametrize("around", [in_function, in_branch])
def test_inside_functions_and_branches(around: Any) -> None:
    """The reference's own operators ignore sequence_lens: what runs there must be ours."""
    rng = np.random.default_rng(14)
    for operator in OPERATORS:
        node = draw(rng, operator, hidden_size=None)
        node.arrays["sequence_lens"] = np.arange(node.sizes[1], dtype=np.int32) % node.sizes[0]
        node.arrays = {n: node.arrays[n] for n in ("X", "W", "R", "B", "sequence_lens") if n in node.arrays}
        check(ro.run_model(around(node), node.feeds()), expected(node), node)


def test_other_operator_that_nobody_has() -> None:
    graph = helper.make_graph(
        [helper.make_node("Nothing", ["x"], ["y"], domain="elsewhere")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("elsewhere", 1)], ir_version=8)
    assert not ro.is_compatible(model)
    with pytest.raises(ro.UnsupportedError, match=r"model: .*Nothing.*elsewhere"):
        ro.prepare(model)


def test_weights_are_packed_once_and_never_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(rk.Prepared):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            made.append(1)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(operators, "Prepared", Counted)
    node = draw(np.random.default_rng(15), "GRU", direction="bidirectional")
    rep = ro.prepare(node.model(initializers=True))
    feeds = {name: array for name, array in node.feeds().items() if name not in "WRBP"}
    for _ in range(3):
        rep.run(feeds)
    assert len(made) == 2
    rep = ro.prepare(node.model())
    check(rep.run(node.feeds()), expected(node), node)
    node.arrays["W"] *= 0.5  # in place, in the same array
    check(rep.run(node.feeds()), expected(node), node)
    view = node.arrays["W"].view()
    view.flags.writeable = False  # but what it looks at is not
    node.arrays |= {name: node.arrays[name].view() for name in ("R", "B") if name in node.arrays}
    for name in ("R", "B"):
        if name in node.arrays:
            node.arrays[name].flags.writeable = False
    base, node.arrays["W"] = node.arrays["W"], view
    check(rep.run(node.feeds()), expected(node), node)
    base *= 0.5
    check(rep.run(node.feeds()), expected(node), node)
