"""Optimisers against PyTorch's and against their formulas, saving and loading, clipping."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rnnkernels import optim

Arrays = dict[str, np.ndarray]

# Our class and arguments, PyTorch's.
CASES: dict[str, tuple[type[optim.Optimizer], dict[str, Any], str, dict[str, Any]]] = {
    "sgd": (optim.SGD, {}, "SGD", {}),
    "sgd momentum": (optim.SGD, {"momentum": 0.9}, "SGD", {"momentum": 0.9}),
    "sgd nesterov": (
        optim.SGD,
        {"momentum": 0.8, "nesterov": True},
        "SGD",
        {"momentum": 0.8, "nesterov": True},
    ),
    "adagrad": (optim.Adagrad, {}, "Adagrad", {}),
    "adagrad eps": (optim.Adagrad, {"eps": 1e-3}, "Adagrad", {"eps": 1e-3}),
    "adagrad start": (
        optim.Adagrad,
        {"eps": 0, "initial_accumulator_value": 0.1},
        "Adagrad",
        {"eps": 0, "initial_accumulator_value": 0.1},
    ),
    "rmsprop": (optim.RMSprop, {}, "RMSprop", {}),
    "rmsprop momentum": (
        optim.RMSprop,
        {"alpha": 0.9, "eps": 1e-4, "momentum": 0.7},
        "RMSprop",
        {"alpha": 0.9, "eps": 1e-4, "momentum": 0.7},
    ),
    "adam": (optim.Adam, {}, "Adam", {}),
    "adam betas": (
        optim.Adam,
        {"beta1": 0.5, "beta2": 0.9, "eps": 1e-5},
        "Adam",
        {"betas": (0.5, 0.9), "eps": 1e-5},
    ),
}


def some_params(dtype: str = "float64", seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"weight": (3, 5), "bias": (4,), "scale": (), "none": (0, 2)}
    return {name: np.asarray(rng.normal(size=shape), dtype) for name, shape in shapes.items()}


def make(case: str, params: Arrays, lr: float = 0.05) -> optim.Optimizer:
    kind, options, _, _ = CASES[case]
    return kind(params, lr, **options)


# --- formulas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_thirty_steps_are_those_of_pytorch(case: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    params = some_params(dtype)
    theirs = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    _, _, name_there, options = CASES[case]
    ours = make(case, params)
    other = getattr(torch.optim, name_there)(theirs.values(), lr=0.05, **options)
    for step in range(30):
        if step == 20:  # a schedule
            ours.lr = other.param_groups[0]["lr"] = 0.01
        grads = some_params(dtype, seed=step + 1)
        ours.step(grads)
        for name, tensor in theirs.items():
            tensor.grad = torch.from_numpy(grads[name].copy())
        other.step()
    for name, p in params.items():
        rounding = 30 * float(np.finfo(dtype).eps)  # one per step, of values of about 1
        np.testing.assert_allclose(p, theirs[name].detach().numpy(), atol=rounding, rtol=rounding)


def by_hand(case: str, p: float, grads: list[float], lr: float) -> float:
    """The published update of one number."""
    a = b = 0.0
    for t, g in enumerate(grads, 1):
        if case == "sgd":
            p -= lr * g
        elif case == "sgd momentum":
            a = 0.9 * a + g
            p -= lr * a
        elif case == "sgd nesterov":
            a = 0.8 * a + g
            p -= lr * (g + 0.8 * a)
        elif case == "adagrad":
            a += g * g
            p -= lr * g / (math.sqrt(a) + 1e-10)
        elif case == "rmsprop":
            a = 0.99 * a + 0.01 * g * g
            p -= lr * g / (math.sqrt(a) + 1e-8)
        elif case == "adam":
            a = 0.9 * a + 0.1 * g
            b = 0.999 * b + 0.001 * g * g
            p -= lr * (a / (1 - 0.9**t)) / (math.sqrt(b / (1 - 0.999**t)) + 1e-8)
    return p


@pytest.mark.parametrize("case", ["sgd", "sgd momentum", "sgd nesterov", "adagrad", "rmsprop", "adam"])
def test_one_number_by_hand(case: str) -> None:
    grads = [0.3, -1.2, 0.05, 0.0, 2.0]
    params = {"p": np.array([0.7])}
    optimizer = make(case, params)
    for g in grads:
        optimizer.step({"p": np.array([g])})
    assert params["p"].item() == pytest.approx(by_hand(case, 0.7, grads, 0.05), rel=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_parameters_are_updated_in_place_and_gradients_are_not(case: str) -> None:
    params = some_params()
    held = dict(params)
    grads = some_params(seed=1)
    kept = {name: g.copy() for name, g in grads.items()}
    optimizer = make(case, params)
    for _ in range(2):
        optimizer.step(grads)
    for name in params:
        assert params[name] is held[name]
        np.testing.assert_array_equal(grads[name], kept[name])
    assert (params["weight"] != some_params()["weight"]).all()


@pytest.mark.parametrize("case", CASES)
def test_layout_does_not_matter(case: str) -> None:
    """Transposed, strided, byte-swapped-free views: the same numbers, in place."""
    plain, base = some_params(), np.zeros((10, 6))
    views = {**some_params(), "weight": base[::2, 1:4].T}
    views["weight"][...] = plain["weight"]
    one, two = make(case, plain), make(case, views)
    for seed in range(3):
        grads = some_params(seed=seed)
        one.step(grads)
        two.step({**grads, "weight": np.asfortranarray(grads["weight"])})
    np.testing.assert_array_equal(views["weight"], plain["weight"])
    np.testing.assert_array_equal(base[::2, 1:4].T, plain["weight"])
    assert not base[1::2].any()


@pytest.mark.parametrize("case", CASES)
def test_a_nan_stays_in_its_element(case: str) -> None:
    params = some_params()
    grads = some_params(seed=1)
    grads["weight"][1, 2] = np.nan
    optimizer = make(case, params)
    optimizer.step(grads)
    grads["weight"][1, 2] = 0.0
    optimizer.step(grads)
    assert np.isnan(params["weight"][1, 2])
    assert np.isnan(params["weight"]).sum() == 1
    assert np.isfinite(params["bias"]).all()


@pytest.mark.parametrize("case", CASES)
def test_a_rate_of_zero_changes_nothing(case: str) -> None:
    params = some_params()
    make(case, params, lr=0.0).step(some_params(seed=1))
    for name, p in some_params().items():
        np.testing.assert_array_equal(params[name], p)


# --- saving and loading ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_a_loaded_optimizer_continues_bit_for_bit(case: str, dtype: str) -> None:
    params = some_params(dtype)
    optimizer = make(case, params)
    for seed in range(1, 4):
        optimizer.step(some_params(dtype, seed))
    optimizer.lr = 0.0321
    saved = optimizer.state_dict()
    copies = {name: p.copy() for name, p in params.items()}
    other = make(case, copies, lr=0.7)
    other.load_state_dict(saved)
    for key, value in saved.items():
        assert isinstance(value, np.ndarray), key
        value[...] = 77  # neither optimiser may still be looking at it
    for seed in range(4, 8):
        optimizer.step(some_params(dtype, seed))
        other.step(some_params(dtype, seed))
    for name, p in params.items():
        np.testing.assert_array_equal(p, copies[name])
    for key, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[key])


def test_what_a_state_holds() -> None:
    params = {"w": np.zeros((2, 3), np.float32)}
    optimizer = optim.Adam(params, 0.25)
    optimizer.step({"w": np.ones((2, 3), np.float32)})
    state = optimizer.state_dict()
    assert set(state) == {"step", "lr", "exp_avg.w", "exp_avg_sq.w"}
    for name, dtype, value in (("step", "int64", 1), ("lr", "float64", 0.25)):
        assert (str(state[name].dtype), state[name].shape, state[name].item()) == (dtype, (), value)
    assert state["exp_avg.w"].dtype == np.float32


def test_a_wrong_state_is_refused_whole() -> None:
    optimizer = optim.RMSprop(some_params())
    optimizer.step(some_params(seed=1))
    good = optimizer.state_dict()
    changes: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"square_avg.weight": np.zeros((5, 3))}, ValueError, r"square_avg.weight.*\(3, 5\).*\(5, 3"),
        ({"square_avg.weight": np.zeros((3, 5), np.float32)}, TypeError, "float64.*float32"),
        ({"step": np.array(1.0)}, TypeError, r"state\['step'\]: expected a int64"),
        ({"step": np.array(-1)}, ValueError, "at least 0, got -1"),
        ({"lr": np.array(-1.0)}, ValueError, "lr: expected a number in"),
        ({"sum.weight": np.zeros((3, 5))}, ValueError, "missing: none; extra: sum.weight"),
    ]
    for change, error, message in changes:
        with pytest.raises(error, match=message):
            optimizer.load_state_dict({**good, "square_avg.bias": np.ones(4), **change})
    with pytest.raises(ValueError, match=r"missing: lr; extra: none"):
        optimizer.load_state_dict({k: v for k, v in good.items() if k != "lr"})
    for key, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, good[key])


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_wrong_gradients_are_named_and_touch_nothing(case: str) -> None:
    params = some_params()
    optimizer = make(case, params)
    grads = some_params(seed=1)
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({k: v for k, v in grads.items() if k != "scale"}, ValueError, "missing: scale; extra: none"),
        ({**grads, "more": np.zeros(1)}, ValueError, "missing: none; extra: more"),
        ({**grads, "none": np.zeros((2, 0))}, ValueError, r"'none'.*expected shape \(0, 2\)"),
        ({**grads, "none": np.zeros((0, 2), np.float32)}, TypeError, "expected a float64 array"),
        ({**grads, "none": [[]]}, TypeError, "expected a float64 array, got list"),
    ]
    for bad, error, message in wrong:
        with pytest.raises(error, match=message):
            optimizer.step(bad)
    for name, p in some_params().items():
        np.testing.assert_array_equal(params[name], p)
    assert optimizer.state_dict()["step"] == 0


def test_wrong_parameters_are_named() -> None:
    frozen = np.zeros(3)
    frozen.flags.writeable = False
    wrong: list[tuple[Any, type[Exception], str]] = [
        ({}, ValueError, "params: expected at least one array"),
        ({"w": np.zeros(3, np.int32)}, TypeError, r"params\['w'\]: expected a float32.*got int32"),
        ({"w": np.zeros(3, np.float16)}, TypeError, "got float16"),
        ({"w": np.zeros(3, ">f8")}, TypeError, "got >f8"),
        ({"w": [1.0]}, TypeError, "got list"),
        ({"w": frozen}, ValueError, r"params\['w'\]: expected a writable array"),
    ]
    for params, error, message in wrong:
        with pytest.raises(error, match=message):
            optim.SGD(params)


@pytest.mark.parametrize(
    ("kind", "options", "error"),
    [
        (optim.SGD, {"lr": -1}, ValueError),
        (optim.SGD, {"lr": math.nan}, ValueError),
        (optim.SGD, {"lr": math.inf}, ValueError),
        (optim.SGD, {"lr": "fast"}, TypeError),
        (optim.SGD, {"lr": None}, TypeError),
        (optim.SGD, {"momentum": 1.0}, ValueError),
        (optim.SGD, {"nesterov": True}, ValueError),
        (optim.Adagrad, {"eps": -1e-9}, ValueError),
        (optim.Adagrad, {"initial_accumulator_value": math.inf}, ValueError),
        (optim.RMSprop, {"alpha": 1.5}, ValueError),
        (optim.RMSprop, {"momentum": -0.1}, ValueError),
        (optim.Adam, {"beta1": 1}, ValueError),
        (optim.Adam, {"beta2": -0.5}, ValueError),
    ],
)
def test_wrong_hyperparameters_are_named(kind: Any, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{next(iter(options))}: expected a"):
        kind(some_params(), **options)


def test_an_assigned_rate_is_checked() -> None:
    optimizer = optim.SGD(some_params(), 0.5)
    with pytest.raises(ValueError, match="lr: expected"):
        optimizer.lr = -0.1
    assert optimizer.lr == 0.5


# --- clipping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_by_global_norm(dtype: str) -> None:
    grads = some_params(dtype, seed=5)
    kept = {name: g.copy() for name, g in grads.items()}
    norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in grads.values()))
    assert optim.clip_by_global_norm(grads, 1e3) == pytest.approx(norm, rel=1e-15)
    assert optim.clip_by_global_norm(grads, math.inf) == pytest.approx(norm, rel=1e-15)
    for name, g in grads.items():  # below the limit: not a bit changes
        np.testing.assert_array_equal(g, kept[name])
    assert optim.clip_by_global_norm(grads, 0.5) == pytest.approx(norm, rel=1e-15)
    eps = float(np.finfo(dtype).eps)
    for name, g in grads.items():
        np.testing.assert_allclose(g, kept[name] * (0.5 / norm), rtol=4 * eps)
    assert optim.clip_by_global_norm(grads, math.inf) == pytest.approx(0.5, rel=4 * eps)


def test_clipping_by_global_norm_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    grads = some_params(seed=5)
    tensors = [torch.zeros(g.shape, dtype=torch.float64, requires_grad=True) for g in grads.values()]
    for tensor, g in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.from_numpy(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(tensors, 0.7)
    assert optim.clip_by_global_norm(grads, 0.7) == pytest.approx(norm.item(), rel=1e-14)
    for tensor, g in zip(tensors, grads.values(), strict=True):
        np.testing.assert_allclose(g, tensor.grad.numpy(), rtol=2e-6)  # they add 1e-6 to the norm


def test_the_norm_is_not_squared() -> None:
    grads = {"w": np.array([3.0, 4.0])}
    assert optim.clip_by_global_norm(grads, 10.0) == 5.0
    np.testing.assert_array_equal(grads["w"], [3.0, 4.0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_norm_that_is_not_finite_is_returned_and_scales_nothing(dtype: str, bad: float) -> None:
    grads = some_params(dtype, seed=5)
    grads["bias"][2] = bad
    kept = {name: g.copy() for name, g in grads.items()}
    norm = optim.clip_by_global_norm(grads, 1e-3)
    assert math.isnan(norm) if math.isnan(bad) else norm == math.inf
    for name, g in grads.items():
        np.testing.assert_array_equal(g, kept[name])


@pytest.mark.parametrize(("dtype", "huge"), [("float32", 1e38), ("float64", 1e300)])
def test_a_finite_gradient_has_a_finite_norm(dtype: str, huge: float) -> None:
    grads = {"w": np.full(16, huge, dtype), "v": np.full(9, -huge, dtype)}
    assert optim.clip_by_global_norm(grads, 1.0) == pytest.approx(5 * huge, rel=1e-6)
    np.testing.assert_allclose(grads["v"], -0.2, rtol=1e-6)


def test_clipping_by_value() -> None:
    grads = {"w": np.array([[-7.0, 4.0], [np.nan, 5.5]]), "v": np.array([np.inf, -0.0], np.float32)}
    held = dict(grads)
    optim.clip_by_value(grads, 5)
    np.testing.assert_array_equal(grads["w"], [[-5.0, 4.0], [np.nan, 5.0]])
    np.testing.assert_array_equal(grads["v"], [5.0, 0.0])
    assert all(grads[name] is held[name] for name in grads)


@pytest.mark.parametrize("clip", [optim.clip_by_global_norm, optim.clip_by_value])
def test_bad_input_of_the_clippers(clip: Any) -> None:
    frozen = np.ones(2)
    frozen.flags.writeable = False
    with pytest.raises(TypeError, match=r"grads\['w'\]: expected a float32 or float64.*got int64"):
        clip({"w": np.array([9])}, 1.0)
    with pytest.raises(ValueError, match=r"grads\['w'\]: expected a writable"):
        clip({"w": frozen}, 1.0)
    for limit in (-1.0, math.nan):
        with pytest.raises(ValueError, match=r"^(max_norm|limit): expected"):
            clip({"w": np.ones(2)}, limit)
    with pytest.raises(ValueError, match="max_norm: expected a number above 0"):
        optim.clip_by_global_norm({"w": np.ones(2)}, 0.0)
    assert optim.clip_by_global_norm({}, 1.0) == 0.0
