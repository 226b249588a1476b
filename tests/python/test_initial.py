"""Initial values: recurrent weights gate by gate, biases of forget gates; for layers and for stacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rnnkernels as rk

I, H, P = 3, 8, 5  # noqa: E741

FORGETFUL = {"lstm_nfg", "lstm_cifg", "mgu"}  # no f; no f of its own; an f that lets in
WITH_FORGET_GATE = {"slstm", "slstm_exp", "janet"} | {c for c in rk.cells() if c.startswith("lstm")} - FORGETFUL


def draw(cell: str, **options: Any) -> rk.parameters.Params:
    info = rk.cell_info(cell)
    options = {"rng": 0, **({"proj_size": P} if info["projected"] else {}), **options}
    return rk.init_params(cell, H if info["direct"] else I, H, **options)


def blocks(params: rk.parameters.Params) -> list[Any]:
    """Each gate's recurrent weights, (H, H) or of a projected cell (H, P)."""
    weight = params["weight_hh"]
    return [weight[first : first + H] for first in range(0, len(weight), H)]


def others(params: rk.parameters.Params, *names: str) -> dict[str, Any]:
    return {name: array for name, array in params.items() if not name.startswith(names)}


@pytest.mark.parametrize("cell", [cell for cell in rk.cells() if not rk.cell_info(cell)["projected"]])
def test_identity(cell: str) -> None:
    params, drawn = draw(cell, recurrent="identity"), draw(cell)
    if cell == "indrnn":
        assert (params["weight_diagonal"] == 1).all()
        assert not params["bias_ih"].any()
        return
    for block in blocks(params):
        np.testing.assert_array_equal(block, np.eye(H))
    assert not params["bias_ih"].any()
    assert not params["bias_hh"].any()
    np.testing.assert_equal(others(params, "weight_hh", "bias"), others(drawn, "weight_hh", "bias"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", [cell for cell in rk.cells() if cell != "indrnn"])
def test_orthogonal(cell: str, dtype: str) -> None:
    params, drawn = draw(cell, recurrent="orthogonal", dtype=dtype), draw(cell, dtype=dtype)
    found = blocks(params)
    for block in found:
        np.testing.assert_allclose(block.T @ block, np.eye(block.shape[1]), atol=20 * float(np.finfo(dtype).eps))
    assert len(found) == 1 or abs(found[0] - found[1]).max() > 0.1  # each gate has its own
    np.testing.assert_equal(others(params, "weight_hh"), others(drawn, "weight_hh"))
    np.testing.assert_equal(params, draw(cell, recurrent="orthogonal", dtype=dtype))


def test_orthogonal_matrices_are_all_as_likely() -> None:
    """The trace of one has a mean of 0 and a variance of 1 (Diaconis, Shahshahani 1994); without the signs, -1.6."""
    rng = np.random.default_rng(0)
    traces = [
        np.trace(rk.init_params("rnn_tanh", 1, 6, recurrent="orthogonal", rng=rng)["weight_hh"]) for _ in range(400)
    ]
    assert abs(np.mean(traces)) < 4 / 20
    assert abs(np.std(traces) - 1) < 0.15


def test_rows_are_orthonormal_where_they_are_fewer() -> None:
    for block in blocks(draw("lstm_projected", proj_size=H + 3, recurrent="orthogonal")):
        np.testing.assert_allclose(block @ block.T, np.eye(H), atol=1e-6)


@pytest.mark.parametrize("cell", rk.cells())
def test_forget_bias(cell: str) -> None:
    if cell not in WITH_FORGET_GATE:
        with pytest.raises(ValueError, match=f"^forget_bias: {cell} has no forget gate, got 1.0"):
            draw(cell, forget_bias=1.0)
        return
    params, drawn = draw(cell, forget_bias=1.5), draw(cell)
    fed = [name for name, of_x, _ in rk.cell_info(cell)["gates"] if of_x == "projected"]
    for gate, name in enumerate(fed):
        rows = slice(gate * H, (gate + 1) * H)
        total = params["bias_ih"][rows] + params["bias_hh"][rows]
        expected = np.full(H, 1.5) if name == "f" else drawn["bias_ih"][rows] + drawn["bias_hh"][rows]
        np.testing.assert_array_equal(total, expected.astype(np.float32))
    np.testing.assert_equal(others(params, "bias"), others(drawn, "bias"))


def test_a_large_forget_bias_keeps_the_state() -> None:
    """It is the biases of the gate that keeps: where that is open and the input's is closed, c stays."""
    params = draw("lstm", forget_bias=30.0)
    params["bias_ih"][:H] = -30  # i
    state = [np.full((1, H), 0.5, np.float32)] * 2
    x = np.zeros((4, 1, I), np.float32)
    np.testing.assert_allclose(rk.forward("lstm", x, params, state).state[1], 0.5, atol=1e-6)
    np.testing.assert_allclose(
        rk.forward("janet", x, draw("janet", forget_bias=30.0), state[:1]).state[0], 0.5, atol=1e-6
    )


def test_both_and_without_biases() -> None:
    params = draw("lstm", recurrent="identity", forget_bias=1.0)
    np.testing.assert_array_equal(params["bias_ih"], np.repeat([0, 1, 0, 0], H))
    assert "bias_ih" not in draw("lstm", recurrent="identity", bias=False)
    with pytest.raises(ValueError, match=r"^forget_bias: expected a layer with biases, got 1\.0 and bias=False"):
        draw("lstm", forget_bias=1.0, bias=False)


def test_what_a_cell_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^recurrent: indrnn has no recurrent matrix, expected"):
        draw("indrnn", recurrent="orthogonal")
    with pytest.raises(ValueError, match=r"^recurrent: expected 'uniform' or 'orthogonal' where h is projected from 8"):
        draw("lstm_projected", recurrent="identity")
    assert (blocks(draw("lstm_projected", proj_size=H, recurrent="identity"))[2] == np.eye(H)).all()
    with pytest.raises(ValueError, match=r"^forget_bias: expected a finite number, got inf"):
        draw("lstm", forget_bias=np.inf)
    with pytest.raises(ValueError, match=r"^recurrent: expected one of uniform, identity, orthogonal, got 'unit'"):
        draw("lstm", recurrent="unit")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_stack_has_them_in_every_layer(bidirectional: bool) -> None:
    stack = rk.Stack("lstm", I, H, 2, bidirectional=bidirectional, recurrent="orthogonal", forget_bias=1.0, rng=0)
    ends = ["_l0", "_l1"] + ["_l0_reverse", "_l1_reverse"] * bidirectional
    for end in ends:
        for block in blocks({"weight_hh": stack.params[f"weight_hh{end}"]}):
            np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-5)
        assert (stack.params[f"bias_ih{end}"][H : 2 * H] == 1).all()
        assert not stack.params[f"bias_hh{end}"][H : 2 * H].any()
    assert len({stack.params[f"weight_hh{end}"].tobytes() for end in ends}) == len(ends)
