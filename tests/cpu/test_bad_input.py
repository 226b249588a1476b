"""Bad input is named: the argument, what was expected, what came. Unusual but good input works."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from array_forms import misaligned, read_only
from problems import make

import rnnkernels as rk
from rnnkernels import _cpu
from rnnkernels.run import Whole

P = make("lstm", (4, 3, 5, 6), "float32")


def call(**changes: Any) -> rk.Run:
    arguments = {"cell": "lstm", "x": P.x, "params": P.params, "state": P.state} | changes
    return rk.forward(**arguments)


def params(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (P.params | changes).items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cell": "lstn"}, ValueError, "cell: expected one of .*lstm.*; got 'lstn'"),
        ({"cell": 3}, TypeError, "cell: expected a string, got int"),
        ({"x": P.x[0]}, ValueError, r"x: expected shape \(T, B, I\), got \(3, 5\)"),
        ({"x": P.x[..., :4]}, ValueError, r"x: expected shape \(T, B, I\) = \(4, 3, 5\), got \(4, 3, 4\)"),
        ({"x": P.x.astype("f8")}, TypeError, "x: expected dtype float32, the parameters', got float64"),
        ({"x": P.x.astype("c8")}, TypeError, "x: expected dtype float32"),
        ({"x": P.x.astype(">f4")}, TypeError, "x: expected dtype float32"),
        ({"x": P.x.astype(bool)}, TypeError, "x: expected dtype float32"),
        ({"x": np.array(["a"])}, TypeError, "x: expected dtype float32"),
        ({"x": None}, TypeError, "x: expected an array of float32, got NoneType"),
        ({"x": [[1.0], [2.0, 3.0]]}, TypeError, "x: expected an array"),
        ({"x": np.zeros((4, 3, 5), int)}, ValueError, r"x: expected shape \(T, B\) of tokens, got \(4, 3, 5\)"),
        ({"x": np.array([[0, 1, 5]])}, ValueError, r"x: expected tokens in \[0, 5\), got 5 at \[0, 2\]"),
        ({"x": np.array([[0, 1, 2], [0, -1, 2]])}, ValueError, r"got -1 at \[1, 1\]"),
        ({"x": np.array([[2**63]], np.uint64)}, ValueError, "x: expected tokens .*got 9223372036854775808"),
        ({"params": None}, TypeError, "params: expected a mapping"),
        ({"params": {}}, ValueError, "params: expected weight_ih, .*got no weight_ih, no weight_hh"),
        ({"params": params(weight_hh=None)}, ValueError, "params: .*got no weight_hh"),
        ({"params": params(weight_hr=P.x)}, ValueError, "params: .*an unknown 'weight_hr'"),
        ({"params": params(weight_ih=P.params["weight_ih"].astype("i4"))}, TypeError, r"weight_ih.*int32"),
        ({"params": params(weight_ih=P.params["weight_ih"].astype("f2"))}, TypeError, r"weight_ih.*float16"),
        ({"params": params(weight_hh=P.params["weight_hh"].astype("f8"))}, TypeError, r"weight_hh.*float64"),
        (
            {"params": params(weight_ih=P.params["weight_ih"][:20])},
            ValueError,
            r"weight_ih'\].*\(24, 5\), got \(20, 5\)",
        ),
        (
            {"params": params(weight_hh=P.params["weight_hh"][:, :5])},
            ValueError,
            r"params\['weight_.h'\]: expected shape",
        ),
        ({"params": params(weight_hh=np.zeros((24,), "f4"))}, ValueError, r"weight_hh'\]: expected shape"),
        ({"params": params(weight_hh=np.zeros((0, 0), "f4"))}, ValueError, r"weight_hh'\].*H at least 1"),
        ({"params": params(weight_hh=np.zeros((0, 2**40), "f4"))}, ValueError, r"weight_hh'\].*H at most"),
        ({"params": params(weight_ih=np.zeros((24, 0), "f4"))}, ValueError, r"weight_ih'\].*I at least 1"),
        ({"params": params(bias_ih=P.params["bias_ih"][:-1])}, ValueError, r"bias_ih'\].*\(24,\), got \(23,\)"),
        ({"params": params(bias_hh=P.params["bias_hh"][None])}, ValueError, r"bias_hh'\].*got \(1, 24\)"),
        ({"state": P.state[0]}, TypeError, r"state: expected a tuple of arrays \(h, c\), got ndarray"),
        ({"state": P.state[:1]}, ValueError, r"state: expected 2 arrays \(h, c\), got 1"),
        ({"state": (P.state[0], P.state[1][:2])}, ValueError, r"state\[1\].*\(3, 6\), got \(2, 6\)"),
        ({"state": (P.state[0], P.state[1].astype("f8"))}, TypeError, r"state\[1\]: expected dtype float32"),
        ({"state": 7}, TypeError, "state: expected a tuple"),
    ],
)
def test_forward_says_what_is_wrong(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(**changes)


def test_step_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"x_t: expected shape \(B, I\), got \(4, 3, 5\)"):
        rk.step("lstm", P.x, P.params, P.state)
    with pytest.raises(ValueError, match=r"x_t: expected shape \(B,\) of tokens, got \(1, 2\)"):
        rk.step("lstm", np.zeros((1, 2), int), P.params)
    with pytest.raises(TypeError, match="x_t: expected dtype float32"):
        rk.step("lstm", P.x[0].astype("f8"), P.params)


def test_backward_says_what_is_wrong() -> None:
    run = call()
    with pytest.raises(TypeError, match="run: expected what forward returned, got int"):
        rk.backward(3, P.d_output)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="run: expected one made with training=True"):
        rk.backward(call(training=False), P.d_output)
    with pytest.raises(ValueError, match=r"d_output: expected shape \(T, B, H\) = \(4, 3, 6\), got \(3, 3, 6\)"):
        rk.backward(run, P.d_output[:3])
    with pytest.raises(TypeError, match="d_output: expected dtype float32"):
        rk.backward(run, P.d_output.astype("f8"))
    with pytest.raises(ValueError, match=r"d_state: expected 2 arrays \(h, c\), got 1"):
        rk.backward(run, P.d_output, P.d_state[:1])
    with pytest.raises(ValueError, match=r"d_state\[0\]"):
        rk.backward(run, P.d_output, (P.d_state[0][:1], P.d_state[1]))


def test_the_extension_trusts_nobody() -> None:
    """Called directly, past the Python layer, it still refuses what would reach foreign memory."""
    p, run = P.params, call()
    layer = (p["weight_ih"], p["weight_hh"], p["bias_ih"], p["bias_hh"], None, None, None)
    with pytest.raises(ValueError, match="contiguous"):
        _cpu.forward("lstm", P.x[:, ::-1], layer, None, True)
    with pytest.raises(TypeError, match="x: expected dtype float32, got float64"):
        _cpu.forward("lstm", P.x.astype("f8"), layer, None, True)
    with pytest.raises(ValueError, match=r"weight_gg.*the cell has none, got one"):
        _cpu.forward("lstm", P.x, (*layer[:4], p["weight_hh"], None, None), None, True)
    with pytest.raises(ValueError, match=r"weight_diagonal.*expected one, got none"):
        _cpu.forward("lstm_peephole", P.x, layer, None, True)
    other = rk.forward("lstm", P.x[:2], P.params)
    assert isinstance(other._kept, Whole)
    with pytest.raises(ValueError, match="reserve"):
        _cpu.backward("lstm", P.x, layer, None, run.output, other._kept.reserve, None, None)
    assert isinstance(run._kept, Whole)
    with pytest.raises(ValueError, match="output"):
        _cpu.backward("lstm", P.x, layer, None, run.output[:2], run._kept.reserve, None, None)
    with pytest.raises(ValueError, match="d_states: expected as many as the cell has states after h"):
        _cpu.backward("lstm", P.x, layer, None, run.output, run._kept.reserve, None, None, d_sequence=[None, None])
    with pytest.raises(ValueError, match="settings: lstm has 1, got 2"):
        _cpu.forward("lstm", P.x, layer, None, True, settings=[1.0, 1.0])
    for wrong in [
        (0, 2**24, False, False, 0, 3, None, [0.0, 0.0], 0.0, 0.0),
        (0, 0, False, False, -1, 3, None, [0.0, 0.0], 0.0, 0.0),
        (0, 0, False, False, 0, 0, None, [0.0, 0.0], 0.0, 0.0),
        (0, 0, False, False, 0, 3, None, [0.0], 0.0, 0.0),
        (0, 0, False, False, 0, 3, None, [0.0, 1.0], 0.0, 0.0),
        (0, 0, False, False, 0, 3, None, [0.0, 0.0], float("nan"), 0.0),
        (0, 0, False, False, 0, 3, None, [0.0, 0.0], 0.0, -0.1),
        (0, 0, False, False, 0, 3, np.arange(11), [0.0, 0.0], 0.0, 0.0),
    ]:
        with pytest.raises(ValueError, match="noise: expected"):
            _cpu.forward("lstm", P.x, layer, None, True, noise=wrong)
    zoned = (0, 0, False, False, 0, 3, None, [0.1, 0.1], 0.0, 0.0)
    with pytest.raises(ValueError, match="reserve"):  # it holds more with zoneout
        _cpu.backward("lstm", P.x, layer, None, run.output, run._kept.reserve, None, None, noise=zoned)
    projected = rk.init_params("lstm_projected", 5, 6, proj_size=4)
    half = tuple(projected.get(name) for name in rk.parameters.NAMES)
    with pytest.raises(ValueError, match=r"weight_hr.*expected one, got none"):
        _cpu.forward("lstm_projected", P.x, (*half[:6], None), None, True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"weight_hr.*expected shape \(P, H\) = \(4, 6\), got \(5, 6\)"):
        _cpu.forward("lstm_projected", P.x, (*half[:6], np.zeros((5, 6), "f4")), None, True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rate: expected a number in \[0, 1\), got 1"):
        _cpu.drop(P.x, 1.0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("lstm", 0, 4), ValueError, "input_size: expected at least 1, got 0"),
        (("lstm", 4, -1), ValueError, "hidden_size: expected at least 1, got -1"),
        (("lstm", 4.0, 4), TypeError, "input_size: expected an integer, got 4.0"),
        (("lstm", 2**40, 2**40), ValueError, "hidden_size: expected at most 2147483648"),
        (("nope", 4, 4), ValueError, "cell: expected one of"),
        (("lstm_projected", 4, 4), ValueError, "proj_size: lstm_projected's h is projected, got None"),
    ],
)
def test_init_params_says_what_is_wrong(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rk.init_params(*arguments)


def test_init_params_checks_its_options() -> None:
    for dtype in ("float16", "int32", None):
        with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float64'"):
            rk.init_params("lstm", 2, 3, dtype=dtype)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="proj_size: lstm's h is not projected, got 2"):
        rk.init_params("lstm", 2, 3, proj_size=2)
    with pytest.raises(ValueError, match="proj_size: expected at least 1, got 0"):
        rk.init_params("lstm_projected", 2, 3, proj_size=0)
    with pytest.raises(TypeError, match="dtype"):
        rk.init_params("lstm", 2, 3, dtype="nonsense")
    with pytest.raises(TypeError, match="rng: expected an integer seed"):
        rk.init_params("lstm", 2, 3, rng="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rng: expected a seed of at least 0"):
        rk.init_params("lstm", 2, 3, rng=-1)


def test_gains_start_at_one_and_the_shift_of_the_cell_state_at_zero() -> None:
    plain, lstm = rk.init_params("lstm", 2, 3, rng=0), rk.init_params("lstm_layer_norm", 2, 3, rng=0)
    assert all((lstm[name] == value).all() for name, value in plain.items())  # nothing else is drawn otherwise
    assert lstm["weight_diagonal"].tolist() == [1.0] * 27 + [0.0] * 3
    assert rk.init_params("gru_layer_norm", 2, 3)["weight_diagonal"].tolist() == [1.0] * 18
    assert rk.cell_info("lstm_layer_norm")["diagonals"][-3:] == ("u_o", "c", "c_shift")


def test_init_params_draws_what_it_says() -> None:
    drawn = rk.init_params("gru", 7, 100, rng=3, dtype="float64")
    assert list(drawn) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
    assert {name: value.shape for name, value in drawn.items()} == rk.parameter_shapes("gru", 7, 100)
    for value in drawn.values():
        assert 0.08 < np.abs(value).max() <= 0.1
    again = rk.init_params("gru", 7, 100, rng=np.random.default_rng(3), dtype="float64")
    np.testing.assert_array_equal(drawn["weight_hh"], again["weight_hh"])
    assert list(rk.init_params("gru", 2, 3, bias=False)) == ["weight_ih", "weight_hh"]


@pytest.mark.parametrize(
    "form",
    [np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a[::-1].copy()[::-1], misaligned, read_only],
    ids=["fortran", "strided", "reversed", "misaligned", "readonly"],
)
def test_any_layout_works(form: Any) -> None:
    plain = rk.backward(call(), P.d_output, P.d_state)
    run = rk.forward("lstm", form(P.x), {k: form(v) for k, v in P.params.items()}, tuple(map(form, P.state)))
    grads = rk.backward(run, form(P.d_output), tuple(map(form, P.d_state)))
    np.testing.assert_array_equal(run.output, call().output)
    np.testing.assert_array_equal(grads.params["weight_hh"], plain.params["weight_hh"])


def test_lists_and_every_integer_type_work() -> None:
    p = make("gru", (2, 2, 5, 3), tokens=True)
    output = p.forward().output
    for kind in ("i1", "u1", "i2", "u4", "i8", "u8", ">i4"):
        np.testing.assert_array_equal(rk.forward("gru", p.x.astype(kind), p.params, p.state).output, output)
    np.testing.assert_array_equal(rk.forward("gru", p.x.tolist(), p.params, list(p.state)).output, output)
    lists = {name: value.tolist() for name, value in p.params.items()}
    np.testing.assert_array_equal(rk.forward("gru", p.x, lists, p.state).output, output)


def test_what_does_not_fit_in_memory_is_an_error() -> None:
    """A broadcast array looks huge and is small: the copy of it fails, not the process."""
    huge = np.broadcast_to(np.zeros((1, 1, 5), "f4"), (2**22, 2**22, 5))
    with pytest.raises(MemoryError):
        call(x=huge)
