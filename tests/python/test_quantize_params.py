"""`quantize_params`: plain arrays that files hold exactly, and what is wrong with those that somebody wrote himself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import FORMS, Array, make

import rnnkernels as rk
from rnnkernels.reference import low_precision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MATRICES = ("weight_ih", "weight_hh", "weight_gg", "weight_hr")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("cell", FORMS)
def test_matrices_become_integers_and_nothing_else_changes(cell: str, bias: bool) -> None:
    params = make(cell, (1, 1, 33, 20), "float32", bias=bias).params
    found = rk.quantize_params(cell, params)
    assert [name for name in found if not name.endswith("_scale")] == list(params)
    for name, value in params.items():
        if name not in MATRICES:
            assert found[name].tobytes() == value.tobytes()
            continue
        scale = found[f"{name}_scale"]
        assert found[name].shape == value.shape
        assert found[name].dtype == np.int8
        assert scale.shape == value.shape[:1]
        assert scale.dtype == np.float32
        np.testing.assert_array_equal(np.abs(found[name].astype(int)).max(1), 127)
        error = np.abs(found[name] * scale[:, None].astype(np.float64) - value)
        assert (error <= scale[:, None] * 0.5000001).all()


def test_a_stacks_parameters_keep_their_names() -> None:
    stack = rk.Stack("lstm_projected", 5, 8, 2, proj_size=3, bidirectional=True, rng=0)
    found = rk.quantize_params("lstm_projected", stack.params)
    assert [name for name in found if not name.endswith("_scale")] == list(stack.params)
    for end in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        layer = {name[: -len(end)]: value for name, value in stack.params.items() if name.endswith(end)}
        for name, value in rk.quantize_params("lstm_projected", layer).items():
            stem, behind = (name.removesuffix("_scale"), "_scale") if name.endswith("_scale") else (name, "")
            assert found[f"{stem}{end}{behind}"].tobytes() == value.tobytes()


def saved(params: dict[str, Array], file: Path) -> Any:
    np.savez(file, **params)  # type: ignore[arg-type]
    return np.load(file)


def saved_safely(params: dict[str, Array], file: Path) -> Any:
    of_numpy = pytest.importorskip("safetensors.numpy")
    of_numpy.save_file(params, file)
    return of_numpy.load_file(file)


@pytest.mark.parametrize("through", [saved, saved_safely])
@pytest.mark.parametrize("cell", FORMS)
def test_files_hold_it_exactly(cell: str, through: Callable[..., Any], tmp_path: Path) -> None:
    p = make(cell, (3, 2, 33, 20), "float32")
    params = rk.quantize_params(cell, p.params)
    read = through(params, tmp_path / "layer.npz")
    assert sorted(read) == sorted(params)
    expected = rk.Prepared(cell, p.params, weights="int8").forward(p.x, p.state)[0]
    assert rk.Prepared(cell, read).forward(p.x, p.state)[0].tobytes() == expected.tobytes()
    again = {name: read[name] for name in params}
    assert all(again[name].tobytes() == value.tobytes() for name, value in params.items())


def test_scales_that_somebody_chose_are_taken() -> None:
    """Not those of the largest: integers that do not reach 127 stay what they are."""
    p = make("rnn_relu", (1, 2, 33, 20), "float32")
    params = rk.quantize_params("rnn_relu", p.params)
    coarse = params | {
        "weight_ih": (params["weight_ih"] // 4).astype(np.int8),
        "weight_ih_scale": params["weight_ih_scale"] * np.float32(4.1),
    }
    floats = p.params | {"weight_ih": coarse["weight_ih"] * coarse["weight_ih_scale"][:, None]}
    found = rk.Prepared("rnn_relu", coarse).forward(p.x, p.state)[0]
    by_largest = rk.Prepared("rnn_relu", floats, weights="int8").forward(p.x, p.state)[0]
    assert found.tobytes() != by_largest.tobytes()
    expected = low_precision.forward("rnn_relu", p.x, coarse, p.state, arithmetic="int8")[0]
    np.testing.assert_allclose(found, expected, atol=4e-6)


SCALE = "weight_ih_scale"
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a scale is missing": (
        {SCALE: None},
        ValueError,
        "params: expected weight_ih_scale beside weight_ih, which is int8",
    ),
    "a weight is missing": ({"weight_hh": None}, ValueError, "params: expected weight_hh beside weight_hh_scale"),
    "scales of another dtype": (
        {SCALE: np.ones(80)},
        TypeError,
        r"params\['weight_ih_scale'\]: .* float32, got float64",
    ),
    "too few scales": ({SCALE: np.ones(79, "f4")}, ValueError, r"params\['weight_ih_scale'\]: expected shape \(80,\)"),
    "a negative scale": ({SCALE: np.full(80, -1, "f4")}, ValueError, r"params\['weight_ih_scale'\]: .* got -1.0"),
    "a scale that is none": (
        {SCALE: np.full(80, np.nan, "f4")},
        ValueError,
        r"params\['weight_ih_scale'\]: .* got nan",
    ),
    "a scale of no float": (
        {SCALE: np.full(80, 3e38, "f4")},
        ValueError,
        r"params\['weight_ih_scale'\]: .* are finite",
    ),
    "-128": (
        {"weight_ih": np.full((80, 5), -128, "i1")},
        ValueError,
        r"params\['weight_ih'\]: .* -127 to 127, got -128",
    ),
    "a matrix of floats": ({"weight_ih": np.ones((80, 5), "f4")}, TypeError, r"params\['weight_ih'\]: expected int8"),
    "a vector": ({"weight_ih": np.ones(80, "i1")}, ValueError, r"params\['weight_ih'\]: expected two dimensions"),
    "another shape": ({"weight_hh": np.ones((80, 3), "i1")}, ValueError, r"params\['\w+'\]: expected shape"),
    "another name": ({"weight_xx": np.ones(3)}, ValueError, "params: expected weight_ih, weight_hh .* unknown"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_quantised_parameters_is_named(what: str) -> None:
    change, error, message = WRONG[what]
    params: dict[str, Any] = rk.quantize_params("lstm", make("lstm", (1, 1, 5, 20), "float32").params)
    params = {name: value for name, value in (params | change).items() if value is not None}
    with pytest.raises(error, match=f"^{message}"):
        rk.Prepared("lstm", params)
    of_stack = {
        name.replace("_scale", "_l0_scale") if "_scale" in name else f"{name}_l0": v for name, v in params.items()
    }
    with pytest.raises(error, match="_l0"):
        rk.PreparedStack("lstm", of_stack)


def test_what_cannot_be_quantised_is_named() -> None:
    p = make("lstm", (1, 1, 5, 20), "float32").params
    quantized = rk.quantize_params("lstm", p)
    with pytest.raises(TypeError, match=r"^params\['weight_ih'\]: expected float32, got what is quantised already"):
        rk.quantize_params("lstm", quantized)
    with pytest.raises(TypeError, match=r"^params\['weight_ih'\]: expected dtype float32, got float64"):
        rk.quantize_params("lstm", {name: value.astype("f8") for name, value in p.items()})
    p["weight_hh"][7, 3] = np.nan
    with pytest.raises(ValueError, match=r"^params\['weight_hh_l0'\]: expected finite numbers .* in row 7"):
        rk.quantize_params("lstm", {f"{name}_l0": value for name, value in p.items()})
    with pytest.raises(ValueError, match=r"^params: expected names that end in _l0, _l1, .* got 'weight_hh'"):
        rk.quantize_params("lstm", {"weight_ih_l0": p["weight_ih"], "weight_hh": p["weight_hh"]})
    with pytest.raises(ValueError, match=r"^params: of layer _l0, expected weight_ih, weight_hh .*; got no weight_hh"):
        rk.quantize_params("lstm", {"weight_ih_l0": p["weight_ih"]})
    with pytest.raises(ValueError, match=r"^params\['weight_ih'\]: expected shape \(60, 5\)"):
        rk.quantize_params("gru", p)
    with pytest.raises(
        ValueError, match=r"^weights: expected 'int8' for parameters that are quantised, got 'bfloat16'"
    ):
        rk.Prepared("lstm", quantized, weights="bfloat16")
