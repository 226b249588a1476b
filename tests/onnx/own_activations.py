"""Activation functions, their constants, clip and input_forget, in any combination: run by test_own_activations.py.

Against the standard's equations in NumPy, ONNX Runtime and the reference evaluator, where these have them.
"""

from __future__ import annotations

import pickle
from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import (
    DEFAULTS,
    FUNCTIONS,
    GATES,
    WEIGHTS,
    Array,
    Node,
    amplification,
    check,
    draw,
    draw_functions,
    expected,
    in_branch,
    in_function,
    runtime_values,
)

import rnnkernels as rk
import rnnkernels.onnx as ro
from rnnkernels.onnx import cells
from rnnkernels.onnx.activations import Activation

OPERATORS = tuple(GATES)
HAVE_NO_DEFAULT = ("Affine", "ScaledTanh")


def directions(node: Node) -> int:
    return 2 if node.attributes["direction"] == "bidirectional" else 1


def drawn(rng: np.random.Generator, operator: str, dtype: str = "float32", clip: float | None = None) -> Node:
    """A node of random functions."""
    node = draw(rng, operator, dtype, activations=None, layout=int(rng.integers(2)))
    node.attributes |= draw_functions(rng, operator, directions(node))
    if clip is not None:
        node.attributes["clip"] = clip
    return node


def constants_of(function: str) -> list[tuple[float, ...] | None]:
    """Constants to try with a function; None: its defaults."""
    count = len(FUNCTIONS[function][1])
    given = [(0.3, -0.7)[:count], (-1.25, 0.25)[:count]] if count else []
    return [*given, *([] if function in HAVE_NO_DEFAULT else [None])]


def with_constants(constants: tuple[float, ...] | None) -> dict[str, Any]:
    names = ("activation_alpha", "activation_beta")
    return {name: [number] for name, number in zip(names, constants or (), strict=False)}


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_function_in_every_place(operator: str, function: str) -> None:
    rng = np.random.default_rng(1)
    for place, constants in product(range(len(DEFAULTS[operator])), constants_of(function)):
        names = list(DEFAULTS[operator])
        names[place] = function
        for dtype, flag in (("float32", 0), ("float64", 1)):
            more = {"linear_before_reset": flag} if operator == "GRU" else {"input_forget": flag}
            more = {} if operator == "RNN" else more
            node = draw(
                rng, operator, dtype, direction="forward", activations=names, **more, **with_constants(constants)
            )
            check(ro.run_model(node.model(), node.feeds()), expected(node), node)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_any_combination(operator: str, dtype: str) -> None:
    """Functions of each direction, constants, clip, input_forget, reset, P, lengths, states, both layouts."""
    rng = np.random.default_rng(2)
    for _ in range(30):
        node = drawn(rng, operator, dtype, clip=None if rng.random() < 0.3 else float(rng.uniform(0.05, 1.5)))
        assert ro.is_compatible(node.model())
        wanted = expected(node)
        check(ro.run_model(node.model(), node.feeds()), wanted, node, amplification(node, wanted))


@pytest.mark.parametrize("operator", OPERATORS)
def test_clip_alone(operator: str) -> None:
    rng = np.random.default_rng(3)
    changed = 0
    for _ in range(20):
        node = draw(rng, operator, "float64", layout=int(rng.integers(2)))
        plain = ro.run_model(node.model(), node.feeds())
        node.attributes["clip"] = float(rng.uniform(0.05, 1.0))
        found = ro.run_model(node.model(), node.feeds())
        check(found, expected(node), node)
        changed += not np.allclose(found[0], plain[0])
    assert changed > 10


@pytest.mark.parametrize("operator", OPERATORS)
def test_clip_that_changes_nothing_changes_no_bit(operator: str) -> None:
    """The cell of equations is in the order of the built-in one."""
    rng = np.random.default_rng(4)
    for _ in range(30):
        node = draw(rng, operator, str(rng.choice(["float32", "float64"])), layout=int(rng.integers(2)))
        plain = ro.run_model(node.model(), node.feeds())
        node.attributes["clip"] = 1e3
        held = ro.run_model(node.model(), node.feeds())
        assert all(mine.tobytes() == theirs.tobytes() for mine, theirs in zip(held, plain, strict=True))


def test_clip_holds_what_functions_take_and_not_the_state() -> None:
    """An LSTM whose c grows by 1 in each step, its functions x itself: h is held at the clip, c is not."""
    ones = {"activation_alpha": [1.0] * 3, "activation_beta": [0.0] * 3, "activations": ["Affine"] * 3}
    B = np.zeros((1, 8), np.float32)
    B[0, :4] = 1.0
    X, W = np.zeros((4, 1, 1), np.float32), np.zeros((1, 4, 1), np.float32)  # noqa: N806
    arrays: dict[str, Array] = {"X": X, "W": W, "R": W, "B": B}
    node = Node("LSTM", {**ones, "clip": 2.5}, arrays)
    Y, _, Y_c = ro.run_model(node.model(), node.feeds())  # noqa: N806
    np.testing.assert_array_equal(Y.ravel(), [1.0, 2.0, 2.5, 2.5])
    assert Y_c.item() == 4.0


def test_clip_does_not_look_at_padding() -> None:
    node = draw(np.random.default_rng(10), "GRU", direction="bidirectional", clip=0.5)
    T, B, _, _ = node.sizes
    node.arrays["sequence_lens"] = np.full(B, T - 1, np.int32)
    node.arrays["X"][-1] = 1e30
    check(ro.run_model(node.model(), node.feeds()), expected(node), node)


def rnn_of(function: str, x: Array, *constants: float, **more: Any) -> Array:
    """What an RNN without recurrence makes of numbers."""
    arrays = {"X": x.reshape(1, -1, 1), "W": np.ones((1, 1, 1), x.dtype), "R": np.zeros((1, 1, 1), x.dtype)}
    node = Node("RNN", {"activations": [function], **with_constants(constants), **more}, arrays)
    found: Array = ro.run_model(node.model(), node.feeds())["Y"].ravel()
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions_far_out_and_at_their_kinks(dtype: str) -> None:
    """Softplus is finite; a threshold belongs to what it lets through; constants are float32 in float64, too."""
    far = np.array([-1e4, -200.0, 0.0, 200.0, 1e4], dtype)
    np.testing.assert_allclose(rnn_of("Softplus", far), np.logaddexp(0, far), rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(rnn_of("Elu", far, 0.5), np.where(far > 0, far, 0.5 * np.expm1(np.minimum(far, 0))))
    np.testing.assert_array_equal(rnn_of("HardSigmoid", far), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(rnn_of("Softsign", far), far / (1 + np.abs(far)), rtol=1e-6)
    np.testing.assert_array_equal(rnn_of("ThresholdedRelu", np.array([0.25, 0.5, 0.75], dtype), 0.5), [0, 0.5, 0.75])
    np.testing.assert_array_equal(rnn_of("LeakyRelu", np.array([-1.0], dtype)), np.array([-np.float32(0.01)], dtype))
    for function in ("LeakyRelu", "HardSigmoid", "Elu", "Softplus", "ScaledTanh", "Affine", "Tanh"):
        constants = (0.3, 0.6)[: len(FUNCTIONS[function][1])]
        assert np.isnan(rnn_of(function, np.full(1, np.nan, dtype), *constants, clip=0.5))[0], function


def test_affine_is_x_itself_where_nothing_is_said() -> None:
    """As it was while it was an operator: alpha 1 and beta 0."""
    x = np.array([-2.0, 3.0], np.float32)
    np.testing.assert_array_equal(rnn_of("Affine", x), x)
    np.testing.assert_array_equal(rnn_of("Affine", x, 2.0), 2 * x)


@pytest.mark.parametrize("operator", OPERATORS)
def test_onnx_runtime(operator: str) -> None:
    """Without what ONNX Runtime 1.32 does its own way: a threshold, and clip before the last function of an LSTM."""
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(5)
    for _ in range(40):
        node = draw(rng, operator, activations=None)
        node.attributes |= draw_functions(rng, operator, directions(node)) | {"hidden_size": node.sizes[3]}
        if "ThresholdedRelu" in node.attributes["activations"]:
            continue
        if operator != "LSTM" and rng.random() < 0.5:
            node.attributes["clip"] = float(rng.uniform(0.05, 1.5))
        proto = node.model()
        found = ro.run_model(proto, node.feeds())
        if max(np.abs(array).max() for array in found) < 50:  # their Softplus overflows
            check(found, runtime_values(proto, node, found)[0], node, 2 * amplification(node, expected(node)))


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_reference_evaluator(direction: str) -> None:
    """It has Affine, of an RNN of one direction; in both it would give the second the first one's function."""
    rng = np.random.default_rng(6)
    constants = {"activation_alpha": [-0.75], "activation_beta": [0.25]}
    for _ in range(5):
        node = draw(rng, "RNN", "float64", direction=direction, activations=["Affine"], **constants)
        node.arrays.pop("sequence_lens", None)
        wanted = ReferenceEvaluator(node.model()).run(None, node.feeds())
        check(ro.run_model(node.model(), node.feeds()), wanted, node)


# ---- cells -----------------------------------------------------------------------------------------------------------

SERVED = [
    ("RNN", {"activations": ["tanh"]}, False, "rnn_tanh"),
    ("RNN", {"activations": ["LeakyRelu"], "activation_alpha": [0.0]}, False, "rnn_relu"),
    ("RNN", {"activations": ["hardsigmoid"]}, False, "onnx_rnn(HardSigmoid(0.2, 0.5))"),
    ("RNN", {"clip": 3.0}, False, "onnx_rnn(Tanh, clip=3.0)"),
    ("RNN", {"clip": float("inf")}, False, "rnn_tanh"),
    ("GRU", {}, False, "gru_reset_before"),
    ("GRU", {"linear_before_reset": 1}, False, "gru"),
    (
        "GRU",
        {"activations": ["HardSigmoid", "Relu"], "activation_alpha": [0.3], "linear_before_reset": 1},
        False,
        "onnx_gru(HardSigmoid(0.3, 0.5), Relu, linear_before_reset)",
    ),
    ("LSTM", {}, False, "lstm"),
    ("LSTM", {}, True, "lstm_peephole"),
    ("LSTM", {"input_forget": 1}, False, "lstm_cifg"),
    ("LSTM", {"activations": ["Sigmoid", "Affine", "Tanh"]}, False, "lstm_niaf"),
    (
        "LSTM",
        {"activations": ["Sigmoid", "Affine", "Tanh"], "input_forget": 1, "clip": 0.1},
        True,
        "onnx_lstm(Sigmoid, Affine(1.0, 0.0), Tanh, clip=0.1, input_forget, peepholes)",
    ),
]


@pytest.mark.parametrize(("operator", "attributes", "peepholes", "cell"), SERVED)
def test_cells_say_what_they_are(operator: str, attributes: dict[str, Any], peepholes: bool, cell: str) -> None:
    """A built-in one where it computes the same; one cell for each form, whatever a node calls it."""
    node = draw(np.random.default_rng(7), operator, direction="forward", activations=None, input_forget=None)
    node.attributes = attributes
    node.arrays.pop("P", None)
    if peepholes:
        node.arrays["P"] = np.ones((1, 3 * node.sizes[3]), np.float32)
    weights = {name: array for name, array in node.arrays.items() if name in WEIGHTS}
    made = len(cells._made)
    found = [ro.from_node(node.proto(), weights).directions[0].cell for _ in range(2)]
    assert f"{found[0]}" == cell
    assert found[0] is found[1] or not cell.startswith("onnx")
    ro.run_model(node.model(), node.feeds())
    assert len(cells._made) <= made + cell.startswith("onnx")
    assert cell in rk.cells()


@pytest.mark.parametrize("operator", OPERATORS)
def test_node_to_cell_and_back(operator: str) -> None:
    """The weights and attributes come back; the cells give what the node gives, and gradients."""
    rng = np.random.default_rng(8)
    for _ in range(20):
        node = drawn(rng, operator, clip=None if rng.random() < 0.5 else 0.5)
        node.attributes["direction"] = (
            str(rng.choice(["forward", "reverse"])) if directions(node) == 1 else "bidirectional"
        )
        weights = {name: array for name, array in node.arrays.items() if name in WEIGHTS}
        layer = ro.from_node(node.proto(), weights)
        proto, tensors = ro.to_node(layer)
        again = ro.from_node(proto, tensors)
        for one, other in zip(layer.directions, again.directions, strict=True):
            assert (one.cell, one.reverse) == (other.cell, other.reverse)
            assert list(one.params) == list(other.params)
            assert all(one.params[name].tobytes() == other.params[name].tobytes() for name in one.params)
        back = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        for name in ("layout", "linear_before_reset", "input_forget", "clip"):
            assert back.get(name, 0) == node.attributes.get(name, 0)
    plain = Node(operator, node.attributes, {name: node.arrays[name] for name in ("X", *weights)})
    outputs = ro.run_model(plain.model(), plain.feeds())
    x = plain.arrays["X"].swapaxes(0, 1) if layer.layout else plain.arrays["X"]
    for d, part in enumerate(pickle.loads(pickle.dumps(layer)).directions):
        run = rk.forward(part.cell, x, part.params, reverse=part.reverse)
        Y = outputs[0].transpose(1, 2, 0, 3) if layer.layout else outputs[0]  # noqa: N806  # (T, D, B, H)
        np.testing.assert_array_equal(run.output, Y[:, d])
        assert rk.backward(run, run.output).params.keys() == part.params.keys()


def test_there_is_a_last_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond it a node is refused by name; those that were made run on."""
    node = draw(np.random.default_rng(9), "GRU", direction="forward", clip=0.25)
    model = node.model()
    before = ro.run_model(model, node.feeds())
    monkeypatch.setattr(cells, "MOST", len(cells._made))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(ro.run_model(model, node.feeds()), before, strict=True))
    node.attributes["clip"] = 0.26
    message = (
        r"activations: expected at most \d+ different cells in a process, .* got onnx_gru\(.*clip=0.26.*\[GRU node"
    )
    with pytest.raises(ro.UnsupportedError, match=message):
        ro.run_model(node.model(), node.feeds())
    with pytest.raises(ro.UnsupportedError, match=message):
        ro.from_node(node.proto(), node.arrays)


def test_longest_name_is_one_that_a_file_may_carry() -> None:
    worst = tuple(Activation("HardSigmoid", (float(-np.float32(k * 1.1754944e-38)),) * 2) for k in (1, 3, 5))
    form = cells.Form("LSTM", worst, float(np.float32(1.1754944e-38)), input_forget=True, peepholes=True)
    cell = cells.cell_of(form)
    assert pickle.loads(pickle.dumps(cell)) is cell
    assert cells.form_of(cell) == form


@pytest.mark.parametrize("around", [in_function, in_branch])
def test_inside_functions_and_branches(around: Any) -> None:
    rng = np.random.default_rng(14)
    for operator in OPERATORS:
        node = draw(rng, operator, hidden_size=None, activations=None, clip=0.25)
        node.attributes |= draw_functions(rng, operator, directions(node))
        node.arrays["sequence_lens"] = np.arange(node.sizes[1], dtype=np.int32) % node.sizes[0]
        node.arrays = {n: node.arrays[n] for n in ("X", "W", "R", "B", "sequence_lens") if n in node.arrays}
        check(ro.run_model(around(node), node.feeds()), expected(node), node)
