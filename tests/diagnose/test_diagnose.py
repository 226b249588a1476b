"""How gradients flow: norms over time against what is known of them, singular values, gates against the reference."""

from __future__ import annotations

import importlib
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

import rnnkernels as rk
from rnnkernels import charlm, diagnose, reference

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = npt.NDArray[Any]

T, B, H = 9, 3, 5
REFERENCE = importlib.import_module("rnnkernels.reference.cells")  # reference.cells is a function


def layer(cell: str, rng: int = 0, inputs: int = H) -> dict[str, Array]:
    """A layer's parameters, large enough that gates come near their ends."""
    projected = 4 if rk.cell_info(cell)["projected"] else None
    params = rk.init_params(cell, inputs, H, rng=rng, dtype="float64", proj_size=projected)
    return {name: 4 * array for name, array in params.items()}


def stack_of(cell: str, weights: Mapping[str, Array], hidden: int, **more: Any) -> rk.Stack:
    stack = rk.Stack(cell, hidden, hidden, dtype="float64", rng=0, **more)
    for name, array in stack.params.items():
        array[...] = weights.get(name.removesuffix("_l0"), 0)
    return stack


# ---- gates ----


def gates_of_the_reference(cell: str, x: Array, params: dict[str, Array], state: Any) -> list[Array]:
    """What the reference's sigmoids gave, in the order of its steps, each (B, n·H)."""
    noted: list[Array] = []

    def sigmoid(z: Array) -> Array:
        noted.append(np.array(original(z)))
        return noted[-1]

    original = REFERENCE.sigmoid
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(REFERENCE, "sigmoid", sigmoid)
        reference.forward(cell, x, params, state)
    return noted


@pytest.mark.parametrize("cell", rk.cells())
@pytest.mark.parametrize("from_state", [False, True])
def test_gates_are_those_of_the_reference(cell: str, from_state: bool) -> None:
    rng = np.random.default_rng(1)
    params = layer(cell)
    x = rng.standard_normal((T, B, H))
    widths = [s.shape[1] for s in rk.forward(cell, x, params).state]
    state = tuple(rng.random((B, width)) for width in widths) if from_state else None
    found = diagnose.gate_values(cell, x, params, state)
    assert tuple(found) == diagnose.sigmoid_gates(cell)
    noted = gates_of_the_reference(cell, x, params, state)
    if cell == "slstm":  # the reference has the logarithm of its f alone
        found.pop("f")
    assert len(noted) % T == 0
    for name, values in found.items():
        assert values.shape == (T, B, H)
        for t in range(T):
            of_step = noted[t * len(noted) // T : (t + 1) * len(noted) // T]
            blocks = [block for array in of_step for block in np.split(array, array.shape[-1] // H, axis=-1)]
            nearest = min(float(np.abs(block - values[t]).max()) for block in blocks)
            assert nearest < 1e-12, (name, t)
    if len(found) > 1:  # and they are different ones
        assert len({values.tobytes() for values in found.values()}) == len(found)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        *[("lstm", "i f o"), ("lstm_cifg", "i o"), ("lstm_fgr", "i f o"), ("gru", "r z"), ("mut1", "z r")],
        *[("mgu", "f"), ("slstm", "f o"), ("slstm_exp", "o"), ("rnn_tanh", ""), ("indrnn", ""), ("janet", "f")],
    ],
)
def test_names_of_sigmoid_gates(cell: str, names: str) -> None:
    assert diagnose.sigmoid_gates(cell) == tuple(names.split())


def test_gates_are_in_their_places() -> None:
    """One weight at a time: which gate opens when a bias of its name is large."""
    for cell, order in (("lstm", "ifgo"), ("gru", "rzn"), ("mut3", "zrn")):
        for k, name in enumerate(order):
            params = {n: np.zeros_like(a) for n, a in layer(cell).items()}
            params["bias_ih"][k * H : (k + 1) * H] = 9
            found = diagnose.gate_values(cell, np.zeros((1, 1, H)), params)
            assert {n for n, values in found.items() if values.min() > 0.99} == ({name} & set(found))


def test_gates_of_tokens_and_without_biases() -> None:
    params = rk.init_params("gru", 7, H, rng=0, dtype="float64", bias=False)
    tokens = np.random.default_rng(0).integers(0, 7, (T, B))
    by_token = diagnose.gate_values("gru", tokens, params)
    by_vector = diagnose.gate_values("gru", np.eye(7)[tokens], params)
    for name in "rz":
        np.testing.assert_allclose(by_token[name], by_vector[name], rtol=1e-14)


# ---- singular values ----


def test_singular_values_gate_by_gate() -> None:
    params = layer("gru")
    found = diagnose.singular_values("gru", params)
    assert list(found) == ["r", "z", "n"]
    for k, values in enumerate(found.values()):
        weight = params["weight_hh"][k * H : (k + 1) * H]
        np.testing.assert_allclose(values**2, np.linalg.eigvalsh(weight @ weight.T)[::-1], rtol=1e-10)
    assert list(diagnose.singular_values("mut1", layer("mut1"))) == ["r", "n"]  # its z sees no h
    assert list(diagnose.singular_values("mut3", layer("mut3"))) == ["z", "r", "n"]
    fed = diagnose.singular_values("lstm_fgr", layer("lstm_fgr"))
    assert list(fed) == ["i", "f", "g", "o", "i of gates", "f of gates", "o of gates"]
    assert all(values.shape == (H,) for values in fed.values())
    assert diagnose.singular_values("lstm_projected", layer("lstm_projected"))["o"].shape == (4,)
    element_wise = layer("indrnn")
    by_size = np.sort(np.abs(element_wise["weight_diagonal"]))[::-1]
    assert (diagnose.singular_values("indrnn", element_wise)["a"] == by_size).all()


# ---- norms ----


@pytest.mark.parametrize("largest", [0.8, 1.0, 1.25])
def test_the_slope_is_the_logarithm_of_the_singular_value_where_a_layer_is_linear(largest: float) -> None:
    """A ReLU of positive numbers: h' = s P h, with P a permutation, all of whose singular values are 1."""
    hidden = 6
    weights = {"weight_hh": largest * np.roll(np.eye(hidden), 1, axis=0)}
    stack = stack_of("rnn_relu", weights, hidden)
    start = np.random.default_rng(0).random((2, hidden)) + 0.5
    found = diagnose.of_stack(stack, np.zeros((40, 2, hidden)), state=((start,),)).layers[0]
    assert found.singular_values["a"] == pytest.approx(np.full(hidden, largest))
    np.testing.assert_allclose(found.norms["h"], largest ** np.arange(39, -1, -1.0), rtol=1e-12)
    assert math.log(diagnose.step_factor(found.norms["h"])) == pytest.approx(math.log(largest), abs=1e-12)


def test_a_cell_without_a_forget_gate_keeps_the_gradient_of_c() -> None:
    """With f = 1 and no recurrent weights dL/dc is the same at every step, bit for bit."""
    hidden = 4
    bias = np.zeros(3 * hidden)
    stack = stack_of("lstm_nfg", {"bias_ih": bias}, hidden)
    rng = np.random.default_rng(0)
    stack.params["weight_ih_l0"][...] = rng.standard_normal(stack.params["weight_ih_l0"].shape)
    found = diagnose.of_stack(stack, rng.standard_normal((30, 1, hidden))).layers[0]
    before_last = found.norms["c"][:-1]
    assert (before_last == before_last[0]).all()
    assert before_last[0] > 0
    assert diagnose.step_factor(before_last) == 1


def test_norms_are_those_of_the_backward() -> None:
    stack = rk.Stack("gru", 7, H, 2, dropout=0.5, dtype="float64", rng=0)
    rng = np.random.default_rng(0)
    x, d_last = rng.integers(0, 7, (T, B)), rng.standard_normal((B, H))
    found = diagnose.of_stack(stack, x, d_last)
    assert (found.cell, found.hidden, found.steps, found.batch) == ("gru", H, T, B)
    stack.dropout = 0.0
    d_output = np.zeros((T, B, H))
    d_output[-1] = d_last
    norms = stack.backward(stack.forward(x), d_output, norms=True).norms
    assert norms is not None
    for each, readings in zip(found.layers, norms, strict=True):
        np.testing.assert_allclose(each.norms["h"], readings[0].mean(axis=1), rtol=1e-14)


def test_shares_of_saturated_gates() -> None:
    hidden = 2
    bias = np.zeros(3 * hidden)
    bias[: 2 * hidden] = [9, 0, -9, -9]  # r: one unit open, one at a half; z: closed
    found = diagnose.of_stack(stack_of("gru", {"bias_ih": bias}, hidden), np.zeros((5, 2, hidden))).layers[0].gates
    assert found["r"][:2] == (0.0, 0.5)
    assert found["z"][:2] == (1.0, 0.0)
    assert found["r"].mean == pytest.approx((1 / (1 + math.exp(-9)) + 0.5) / 2)


def test_step_factor() -> None:
    assert diagnose.step_factor([8, 4, 2, 1]) == pytest.approx(2)
    assert diagnose.step_factor([0, 1e-300, 1, np.inf]) == pytest.approx(1e-300)
    assert math.isnan(diagnose.step_factor([0, 0, 1]))
    assert math.isnan(diagnose.step_factor([]))


@pytest.mark.parametrize("cell", [cell for cell in rk.cells() if not rk.cell_info(cell)["projected"]])
def test_every_cell_is_diagnosed_and_shown(cell: str) -> None:
    found = diagnose.of_cell(cell, 6, num_layers=2, steps=4, batch=2)
    for each in found.layers:
        assert tuple(each.norms) == rk.cell_info(cell)["states"]
        assert tuple(each.gates) == diagnose.sigmoid_gates(cell)
        assert all(0 <= share <= 1 for gate in each.gates.values() for share in gate)
    shown = diagnose.table(found)
    assert shown.startswith(f"{cell}, 2 x 6 units, 4 steps, 2 rows")
    assert shown.count("‖dL/dh‖") == 2


def test_a_stack_of_another_kind_is_refused() -> None:
    for more in ({"bidirectional": True}, {"zoneout": 0.1}):
        with pytest.raises(ValueError, match="stack: expected one direction and no noise"):
            diagnose.of_stack(rk.Stack("gru", 2, 2, **more), np.zeros((1, 1, 2)))
    with pytest.raises(ValueError, match="x: expected at least one step and one row, got"):
        diagnose.of_stack(rk.Stack("gru", 2, 2), np.zeros((0, 1, 2), np.float32))
    params = layer("gru")
    params["weight_hh"][0, 0] = np.inf
    with pytest.raises(ValueError, match=r"params\['weight_hh'\]: expected finite numbers"):
        diagnose.singular_values("gru", params)


# ---- a character model ----


def test_a_models_last_prediction() -> None:
    text = "the quick brown fox jumps over the lazy dog. " * 4
    vocabulary = charlm.Vocabulary.from_text(text)
    model = charlm.CharModel(vocabulary, hidden=7, layers=2, dropout=0.3, dtype="float64", rng=0)
    found = charlm.diagnose(model, text, steps=12, batch=5)
    assert (found.steps, found.batch, len(found.layers)) == (12, 5, 2)
    tokens = vocabulary.encode(text)
    norms = []
    for first in np.linspace(0, len(text) - 13, 5).astype(int):  # the last window ends with the text
        output = model.stack.forward(tokens[first : first + 12, None], training=False).output
        logits = model.readout.logits(output[-1])
        p = np.exp(logits - logits.max())
        p /= p.sum()
        p[0, tokens[first + 12]] -= 1
        norms.append(np.linalg.norm(p @ model.params["readout.weight"]))
    assert found.layers[1].norms["h"][-1] == pytest.approx(np.mean(norms), rel=1e-12)
    assert charlm.diagnose(model, text[:14], steps=12).batch == 2
    with pytest.raises(ValueError, match="text: expected more than 12 characters for as many steps, got 12"):
        charlm.diagnose(model, text[:12], steps=12)


# ---- table and picture ----


def test_the_table_has_the_figures() -> None:
    found = diagnose.of_cell("lstm", 8, steps=30, batch=2)
    shown = diagnose.table(found)
    norms = found.layers[0].norms["h"]
    row = next(line for line in shown.splitlines() if "‖dL/dh‖" in line)
    wanted = [norms[-1 - back] for back in (0, 1, 2, 5, 10, 20, 29)]
    assert [float(n) for n in re.findall(r"\d\.\d\de[+-]\d\d", row)] == pytest.approx(wanted, rel=5e-3)
    assert row.endswith(f"× {diagnose.step_factor(norms):.4f}")
    largest = found.layers[0].singular_values["f"][0]
    assert re.search(rf"recurrent, f +{largest:.3f} ", shown)
    assert re.search(rf"\n  o +0\.0% +0\.0% +{found.layers[0].gates['o'].mean:.3f}", shown)
    assert "‖dL/dh‖" in diagnose.table(diagnose.of_cell("rnn_tanh", 3, steps=1, batch=1))


@pytest.mark.parametrize("ending", diagnose.PICTURES)
def test_a_picture(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = tmp_path / f"picture{ending}"
    diagnose.draw(diagnose.of_cell("lstm", 4, steps=5, batch=2), file)
    assert file.read_bytes()[:4] in (b"<?xm", b"\x89PNG", b"%PDF")


def test_a_picture_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="pip install matplotlib"):
        diagnose.draw(diagnose.of_cell("gru", 4, steps=2, batch=1), tmp_path / "a.svg")


def test_a_picture_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"path: expected a name that ends in \.svg, \.png, \.pdf, got 'a\.gif'"):
        diagnose.draw(diagnose.of_cell("gru", 4, steps=2, batch=1), "a.gif")
