"""The dual of a cell against the complex step: its forward is J v, its backward the derivative of the backward."""
# mypy: allow-untyped-defs, allow-untyped-calls
# The equations are written as a user writes them.

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hand_traced import gru, lstm, mut1, mut3
from loop_of_equations import Loop
from random_equations import FORMS, random_equations, random_leaves

import rnnkernels as rk
from rnnkernels.equations.evaluating import evaluate
from rnnkernels.equations.lowering import lower
from rnnkernels.equations.simplify import simplified
from rnnkernels.equations.tangent import DIRECT, dual, has_dual
from rnnkernels.equations.tracing import trace

if TYPE_CHECKING:
    from random_equations import Points

    from rnnkernels.equations.graph import Equations
    from rnnkernels.equations.operations import Array

STEP = 1e-30
T, B, INPUTS, H = 4, 2, 3, 5


def rnn_tanh(x, h):
    return rk.tanh(x.a + rk.product(h).a)


def indrnn(x, h, w):
    return rk.relu(x.a + w.h * h)


def slstm(x, h, c, n, m):
    u = rk.product(h)
    i, kept = x.i + u.i, m + rk.log_sigmoid(x.f + u.f)
    top = rk.maximum(kept, i)
    i, f = rk.exp(i - top), rk.exp(kept - top)
    c, n = f * c + i * rk.tanh(x.z + u.z), f * n + i
    return rk.sigmoid(x.o + u.o) * (c / n), c, n, top


def leaves_in_part(x, h, c, w, gamma: rk.PerStep):  # type: ignore[no-untyped-def]
    """Take x itself, inputs of every step, and gates that x alone feeds and that h alone does."""
    u = rk.product(h)
    d = gamma * c + rk.sigmoid(x.i) * rk.tanh(u.g + rk.direct(x))
    return rk.sigmoid(x.o + u.o + w.o * d) * rk.softplus(d), d


CELLS = {
    "lstm": lstm(),
    "lstm_peephole": lstm(peepholes=True),
    "lstm held": lstm(clip=0.3),
    "gru": gru(),
    **{f.__name__: trace(f, f.__name__) for f in (rnn_tanh, indrnn, slstm, leaves_in_part)},
}
RANDOM = [random_equations(seed) for seed in range(0, 40 * len(FORMS), len(FORMS))]


def test_which_cells_have_a_dual() -> None:
    assert all(map(has_dual, CELLS.values()))
    assert sum(map(has_dual, RANDOM)) > len(RANDOM) // 2
    many_states, many_gates = replace(lstm(), states=tuple("hcabd")), replace(gru(), gates=tuple("rznabcd"))
    without = [mut1(), mut3(), many_states, many_gates, replace(gru(), steps=("a", "b", "c"))]
    for equations in without:
        assert not has_dual(equations)
        with pytest.raises(ValueError, match=f"{equations.name}: expected a cell of one product"):
            dual(equations)


def test_names_and_places() -> None:
    made = dual(CELLS["leaves_in_part"])
    assert made.name == "leaves_in_part'"
    assert made.states == ("h", "c", "h'", "c'")
    assert made.gates == ("i", "g", "o", "i'", "g'", "o'", "g''", "o''")
    assert made.inputs == ("i", "o", "i'", "o'")
    assert [(product.kind, product.gates) for product in made.products] == [
        ("hidden", ("g", "o", "g'", "o'")),
        ("feedback", ("g''", "o''")),
    ]
    assert made.weights == ("o", "o'")
    assert made.steps == (DIRECT, "gamma", f"{DIRECT}'", "gamma'")
    assert not made.direct


@pytest.mark.parametrize("equations", [*CELLS.values(), *filter(has_dual, RANDOM)], ids=lambda each: each.name)
def test_the_forward_of_a_step(equations: Equations) -> None:
    """New states are the cell's to the last bit, and tangents the complex step's."""
    points, tangents = (random_leaves(equations, seed) for seed in (0, 1))
    along: Points = {leaf: value + 1j * STEP * tangents[leaf] for leaf, value in points.items()}
    expected = evaluate(equations.new, along)
    values, made = evaluate(simplified(equations).new, points), dual(equations)
    found = evaluate(made.new, leaves_of_dual(equations, points, tangents))
    for state in range(len(equations.states)):
        np.testing.assert_array_equal(found[state], values[state])
        tangent, right = found[len(equations.states) + state], np.imag(expected[state]) / STEP
        np.testing.assert_allclose(tangent + 0 * right, right, rtol=1e-9, atol=1e-11 * (1 + np.abs(right).max()))


def leaves_of_dual(equations: Equations, points: Points, tangents: Points) -> Points:
    """Return the leaves of a dual; a product's tangent in two parts."""
    found: Points = {}
    for (operation, attribute), value in points.items():
        tangent, prime = tangents[operation, attribute], f"{attribute}'"
        found[operation, attribute] = value
        if operation == "state" and isinstance(attribute, int):
            found[operation, attribute + len(equations.states)] = tangent
        elif operation == "product" and isinstance(attribute, tuple):
            gate = f"{attribute[1]}'"
            found[operation, (0, gate)], found[operation, (1, f"{gate}'")] = 0.25 * tangent, 0.75 * tangent
        elif operation == "direct":
            found["step", DIRECT], found["step", f"{DIRECT}'"] = value, tangent
        else:
            found[operation, prime] = tangent
    return found


# ---- whole layers ----------------------------------------------------------------------------------


def random_layer(equations: Equations, seed: int) -> tuple[dict[str, Array], Array, list[Array]]:
    """Return parameters, x with what stands behind it, and initial states."""
    draw = np.random.default_rng(seed)
    inputs = H if equations.direct else INPUTS
    rows_x, rows_h = len(equations.inputs) * H, len(equations.rows) * H
    shapes = {"weight_ih": (rows_x, inputs), "weight_hh": (rows_h, H), "bias_ih": (rows_x,), "bias_hh": (rows_h,)}
    params = {name: draw.normal(size=shape) / 2 for name, shape in shapes.items()}
    params["weight_diagonal"] = draw.normal(size=len(equations.weights) * H)
    x = draw.normal(size=(T, B, inputs + len(equations.steps) * H))
    return params, x, [draw.normal(size=(B, H)) for _ in equations.states]


def layer_of_dual(equations: Equations, params: dict[str, Array], tangents: dict[str, Array]) -> dict[str, Array]:
    """Return the parameters of the dual."""
    w, v = params, tangents
    of_x = np.block([[w["weight_ih"], np.zeros_like(w["weight_ih"])], [v["weight_ih"], w["weight_ih"]]])
    return {
        "weight_ih": of_x,
        "weight_hh": np.concatenate([w["weight_hh"], v["weight_hh"], w["weight_hh"]]),
        "bias_ih": np.concatenate([w["bias_ih"], v["bias_ih"]]),
        "bias_hh": np.concatenate([w["bias_hh"], v["bias_hh"], np.zeros_like(w["bias_hh"])]),
        "weight_diagonal": np.concatenate([w["weight_diagonal"], v["weight_diagonal"]]),
    }


def x_of_dual(equations: Equations, x: Array, tangent: Array) -> Array:
    """Return x of the dual: x and x', then what stands behind x, and its tangents."""
    width = x.shape[-1] - len(equations.steps) * H
    direct = slice(0, width if equations.direct else 0)
    parts = [(a[..., :width], a[..., direct], a[..., width:]) for a in (x, tangent)]
    return np.concatenate([parts[0][0], parts[1][0], *parts[0][1:], *parts[1][1:]], axis=-1)


@pytest.mark.parametrize("equations", CELLS.values(), ids=CELLS)
def test_layers(equations: Equations) -> None:
    """J v, and the derivative of the gradient along v: both from one layer of the dual."""
    (params, x, states), (d_params, d_x, d_states) = (random_layer(equations, seed) for seed in (2, 3))
    d_output = np.random.default_rng(4).normal(size=(T, B, H))
    first = Loop(lower(equations), {name: value + 1j * STEP * d_params[name] for name, value in params.items()}, H)
    outputs = first.forward(x + 1j * STEP * d_x, [s + 1j * STEP * d for s, d in zip(states, d_states, strict=True)])
    gradient_x, gradient_states = first.backward(d_output)

    second = Loop(lower(dual(equations)), layer_of_dual(equations, params, d_params), H)
    along = second.forward(x_of_dual(equations, x, d_x), [*states, *d_states], len(states))
    close(along, np.imag(outputs) / STEP, "J v")
    found_x, found_states = second.backward(d_output, len(states))
    for name, found, right in zip(equations.states, found_states, gradient_states, strict=False):
        close(found, np.imag(right) / STEP, f"d{name}")
    width = x.shape[-1] - len(equations.steps) * H
    right = np.imag(gradient_x) / STEP
    behind = 2 * width
    of_direct = found_x[..., behind : behind + H] if equations.direct else 0.0
    close(found_x[..., :width] + of_direct, right[..., :width], "dx")
    behind += H * equations.direct
    close(found_x[..., behind : behind + len(equations.steps) * H], right[..., width:], "inputs of every step")
    of = second.d_params
    (rows, columns), rows_h = params["weight_ih"].shape, len(params["weight_hh"])
    gradients = {
        "weight_ih": of["weight_ih"][:rows, :columns] + of["weight_ih"][rows:, columns:],
        "weight_hh": of["weight_hh"][:rows_h] + of["weight_hh"][2 * rows_h :],
        "bias_ih": of["bias_ih"][:rows],
        "bias_hh": of["bias_hh"][:rows_h],
        "weight_diagonal": of["weight_diagonal"][: len(params["weight_diagonal"])],
    }
    for name, gradient in gradients.items():
        close(gradient, np.imag(first.d_params[name]) / STEP, name)


def close(got: Array | list[Array], right: Array, message: str) -> None:
    scale = 1 + np.abs(right).max(initial=0)
    np.testing.assert_allclose(got, right, rtol=1e-9, atol=1e-11 * scale, err_msg=message)
