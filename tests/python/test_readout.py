"""The last layer: logits, losses, gradients, masks, draws; against the formulas in complex double precision."""

from __future__ import annotations

import copy
import doctest
import importlib
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tolerances import gradient_length, tolerance

import rnnkernels as rk
from rnnkernels.readout import LOSSES

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

T, B, H, K = 4, 3, 5, 7
LENGTHS = [4, 0, 2]
MASK = np.random.default_rng(5).random((T, B)) < 0.5
LEADS = {"sequence": (T, B), "step": (B,), "one": (), "more": (2, T, B)}


def make(loss: str, dtype: str = "float64", lead: tuple[int, ...] = (T, B)) -> tuple[rk.Readout, Array, Array]:
    """A readout, outputs and targets."""
    rng = np.random.default_rng(0)
    readout = rk.Readout(H, K, loss=loss, dtype=dtype, rng=rng)
    assert readout.bias is not None
    readout.bias[:] = rng.standard_normal(K)
    targets = rng.integers(0, K, lead) if loss == "cross_entropy" else rng.standard_normal((*lead, K)).astype(dtype)
    return readout, rng.standard_normal((*lead, H)).astype(dtype), targets


def losses(loss: str, y: Array, targets: Array) -> Array:
    """The loss of each row, (...,), of real or complex y (..., K)."""
    if loss == "squared_error":
        squares: Array = ((y - targets) ** 2).sum(axis=-1)
        return squares
    shifted = y - y.real.max(axis=-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    picked: Array = -np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    return picked


def counting(mask: Any, lengths: Any) -> Array:
    """Which rows count, one after the other."""
    counts = np.ones((T, B), bool)
    for t, b in np.ndindex(T, B):
        counts[t, b] = (mask is None or mask[t, b]) and (lengths is None or t < lengths[b])
    return counts


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_losses_and_gradients_are_the_formulas(dtype: str, loss: str, mask: Any, lengths: Any, reduction: str) -> None:
    readout, output, targets = make(loss, dtype)
    counts = counting(mask, lengths)
    options = {"mask": mask, "lengths": lengths, "reduction": reduction}
    share = counts.sum() if reduction == "mean" else 1

    def value(arrays: dict[str, Array]) -> Any:
        y = arrays["output"] @ arrays["readout.weight"].T + arrays["readout.bias"]
        return losses(loss, y, targets)[counts].sum() / share

    found, d_output, grads = readout.loss_and_gradients(output, targets, **options)
    assert list(grads) == list(readout.params) == ["readout.weight", "readout.bias"]
    wide = {name: a.astype(complex) for name, a in {"output": output, **readout.params}.items()}
    within = tolerance(dtype, "gradient", gradient_length(1, T * B, H, K, gates=1)) * T * B
    assert found == pytest.approx(value(wide).real, abs=within, rel=within)
    assert readout.loss(output, targets, **options) == found
    assert not d_output[~counts].any()
    for name, gradient in {"output": d_output, **grads}.items():
        assert gradient.dtype == dtype
        expected = np.empty(gradient.shape)
        for index in np.ndindex(*gradient.shape):
            moved = {key: array.copy() for key, array in wide.items()}
            moved[name][index] += 1e-30j
            expected[index] = value(moved).imag / 1e-30
        assert np.abs(gradient - expected).max() <= within * max(1.0, np.abs(expected).max()), name


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("lead", LEADS.values(), ids=LEADS)
def test_outputs_may_have_any_leading_axes(lead: tuple[int, ...], loss: str) -> None:
    readout, output, targets = make(loss, lead=lead)
    flat = output.reshape(-1, H)
    count, d_flat, of_flat = readout.loss_and_gradients(flat, targets.reshape(len(flat), *targets.shape[len(lead) :]))
    found, d_output, grads = readout.loss_and_gradients(output, targets)
    assert found == count
    np.testing.assert_array_equal(d_output, d_flat.reshape(output.shape))
    np.testing.assert_array_equal(grads["readout.weight"], of_flat["readout.weight"])
    assert readout.logits(output).shape == (*lead, K)
    np.testing.assert_array_equal(readout.logits(output).reshape(-1, K), readout.logits(flat))


def test_what_does_not_count_is_not_read() -> None:
    readout, output, targets = make("cross_entropy")
    expected = readout.loss_and_gradients(output, targets, lengths=LENGTHS)
    counts = counting(None, LENGTHS)
    targets[~counts], output[~counts] = -100, np.nan
    found = readout.loss_and_gradients(output, targets, lengths=LENGTHS)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    assert np.isfinite(found[2]["readout.weight"]).all()


def test_a_loss_of_ones_own_goes_back() -> None:
    """`backward` of what `loss_and_gradients` puts on the logits is what that gives."""
    readout, output, targets = make("squared_error")
    d_logits = 2 * (readout.logits(output) - targets)
    d_output, grads = readout.backward(output, d_logits)
    _, d_expected, expected = readout.loss_and_gradients(output, targets, reduction="sum")
    np.testing.assert_allclose(d_output, d_expected, rtol=1e-13)
    for name, gradient in grads.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-12, atol=1e-14)


def test_probabilities_are_the_softmax() -> None:
    readout, output, _ = make("cross_entropy")
    p = readout.probabilities(output)
    logits = readout.logits(output)
    assert p.shape == (T, B, K)
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-14)
    np.testing.assert_allclose(np.log(p[..., 1:] / p[..., :1]), logits[..., 1:] - logits[..., :1], atol=1e-12)


def test_nothing_overflows() -> None:
    readout = rk.Readout.of(np.array([[1e30, 0], [0, 1e30], [0, 0]], np.float32), np.zeros(3, np.float32))
    loss, d_output, _ = readout.loss_and_gradients(np.eye(2, dtype=np.float32), np.array([0, 1]))
    assert loss == 0
    assert not d_output.any()
    np.testing.assert_array_equal(readout.probabilities(np.eye(2, dtype=np.float32)), np.eye(3)[:2])


@pytest.mark.parametrize("reuse", [False, True])
def test_nothing_given_is_changed_and_gradients_are_fresh(reuse: bool) -> None:
    readout = rk.Readout(4, 3, rng=0, reuse=reuse)
    h, targets = np.ones((6, 4), np.float32), np.zeros(6, np.int32)
    _, d_first, first = readout.loss_and_gradients(h, targets)
    d_kept, kept = d_first.copy(), {name: array.copy() for name, array in first.items()}
    _, d_second, _ = readout.loss_and_gradients(h * 2, targets + 1)
    assert (h == 1).all()
    assert (targets == 0).all()
    assert all(np.array_equal(first[name], kept[name]) for name in kept)
    assert np.shares_memory(d_first, d_second) == reuse
    assert np.array_equal(d_first, d_kept) != reuse


def test_draws_follow_the_probabilities() -> None:
    readout, output, _ = make("cross_entropy")
    one = np.broadcast_to(output[0, 0], (20000, H))
    drawn = readout.sample(one, temperature=0.5, rng=0)
    assert drawn.dtype == np.int64
    heated = readout.logits(output[0, 0]) / 0.5
    p = np.exp(heated - heated.max())
    p /= p.sum()
    assert np.abs(np.bincount(drawn, minlength=K) / len(drawn) - p).max() < 4 * 0.5 / np.sqrt(len(drawn))
    np.testing.assert_array_equal(drawn, readout.sample(one, temperature=0.5, rng=np.random.default_rng(0)))
    np.testing.assert_array_equal(readout.sample(output, temperature=0), readout.logits(output).argmax(axis=-1))
    np.testing.assert_array_equal(readout.sample(output, temperature=1e-320), readout.sample(output, temperature=0))


def test_parameters_are_taken_and_named() -> None:
    weight, bias = np.ones((K, H)), np.zeros(K)
    readout = rk.Readout.of(weight, bias, name="out")
    assert readout.params["out.weight"] is weight
    assert readout.params["out.bias"] is bias
    output = np.ones((2, H))
    rk.optim.SGD(readout.params, 0.1).step(readout.loss_and_gradients(output, [0, 1])[2])
    assert weight[0, 0] > 1  # in place
    assert list(rk.Readout(H, K, bias=False).params) == ["readout.weight"]
    assert list(rk.Readout(H, K, bias=False).backward(np.ones(H, "f"), np.ones(K, "f"))[1]) == ["readout.weight"]
    assert repr(readout) == "Readout(H=5, K=7, 'cross_entropy', float64)"


def test_the_initial_weights_are_uniform() -> None:
    readout = rk.Readout(400, 50, rng=3)
    assert readout.bias is not None
    assert not readout.bias.any()
    assert 0.049 < np.abs(readout.weight).max() <= 0.05
    np.testing.assert_array_equal(readout.weight, rk.Readout(400, 50, rng=3).weight)


def test_copies_are_their_own() -> None:
    readout, output, targets = make("cross_entropy")
    for other in (copy.deepcopy(readout), pickle.loads(pickle.dumps(readout))):
        assert other.loss(output, targets) == readout.loss(output, targets)
        assert other.weight is not readout.weight


def test_a_driver_takes_its_loss() -> None:
    stack, readout = rk.Stack("gru", K, H, rng=0), rk.Readout(H, K, rng=1)
    tokens = np.random.default_rng(0).integers(0, K, (T + 1, B))

    loss = readout.against(tokens[1:], reduction="sum")
    whole = rk.bptt.full_bptt(stack, tokens[:-1], loss)
    parts = rk.bptt.truncated_bptt(stack, tokens[:-1], loss, k1=2, k2=3)
    assert whole.loss == pytest.approx(parts.loss, rel=1e-6)
    assert set(whole.grads) == {*stack.params, *readout.params}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_against_is_the_loss_of_each_windows_targets(loss: str, reduction: str) -> None:
    readout, output, targets = make(loss)
    mask, lengths = np.random.default_rng(2).random((T, B)) < 0.8, np.array([1, T, 2])
    counts = mask & np.less.outer(np.arange(T), lengths)
    against = readout.against(targets, mask=mask, lengths=lengths, reduction=reduction)
    for begin, end in ((0, T), (1, 3), (T - 1, T)):
        part = slice(begin, end)
        more: dict[str, Any] = {"mask": counts[part], "reduction": reduction}
        expected = readout.loss_and_gradients(output[part], targets[part], **more)
        value, d_output, grads = against(output[part], begin)
        assert value == expected[0]
        np.testing.assert_array_equal(d_output, expected[1])
        assert all(np.array_equal(grads[name], array) for name, array in expected[2].items())
    none = readout.against(targets, lengths=[1] * B, reduction=reduction)
    value, d_output, grads = none(output[2:], 2)  # every row has ended
    assert value == 0
    assert not d_output.any()
    assert not any(array.any() for array in grads.values())
    with pytest.raises(ValueError, match=f"^targets: expected those of {T + 1} steps at least, got {T}$"):
        against(output, 1)


def test_a_training_with_a_readout_is_three_lines() -> None:
    stack, readout = rk.Stack("gru", K, 16, rng=0), rk.Readout(16, K, rng=1)
    tokens = np.tile(np.random.default_rng(0).integers(0, K, (4, B)), (40, 1))  # four steps, again and again
    optimizer = rk.optim.Adam(stack.params | readout.params, lr=1e-2)
    losses = []
    for part in rk.bptt.windows(stack, [tokens[:-1]], readout.against(tokens[1:]), k1=4, k2=8):
        rk.optim.clip_by_global_norm(part.grads, 1.0)
        optimizer.step(part.grads)
        losses.append(part.loss)
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match=r"extra: readout.weight, readout.bias; make the optimiser of all parameters"):
        rk.optim.Adam(stack.params).step(part.grads)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"output": np.ones((T, B, H + 1))}, ValueError, r"output: expected shape \(\.\.\., H = 5\), got \(4, 3, 6\)"),
        ({"output": np.ones((T, B, H), "f")}, TypeError, "output: expected dtype float64, .* got float32"),
        ({"targets": np.ones((T, B))}, TypeError, "targets: expected integers, got float64"),
        ({"targets": np.ones((B, T), int)}, ValueError, r"targets: expected the shape .* \(4, 3\), got \(3, 4\)"),
        ({"targets": np.full((T, B), K)}, ValueError, r"targets: expected integers in \[0, 7\), got 7"),
        ({"targets": np.full((T, B), -1)}, ValueError, r"targets: expected integers in \[0, 7\), got -1"),
        ({"mask": np.ones((T, B))}, TypeError, "mask: expected booleans, got float64"),
        ({"mask": np.ones(T, bool)}, ValueError, r"mask: expected the shape .* got \(4,\)"),
        ({"mask": np.zeros((T, B), bool)}, ValueError, "mask: expected a row that counts"),
        ({"lengths": [0] * B}, ValueError, "lengths: expected a row that counts"),
        ({"lengths": [5] * B}, ValueError, "lengths: expected 0 to T = 4, got 5"),
        ({"reduction": "max"}, ValueError, "reduction: expected one of mean, sum, got 'max'"),
    ],
)
def test_what_does_not_fit_is_said(change: dict[str, Any], error: type[Exception], message: str) -> None:
    readout, output, targets = make("cross_entropy")
    with pytest.raises(error, match=f"^{message}"):
        readout.loss_and_gradients(**{"output": output, "targets": targets, **change})


def test_what_belongs_to_the_other_loss_is_refused() -> None:
    readout, output, _ = make("squared_error")
    for name in ("probabilities", "sample"):
        with pytest.raises(ValueError, match=f"^{name}: expected a readout of loss 'cross_entropy'"):
            getattr(readout, name)(output)
    with pytest.raises(ValueError, match=r"^targets: expected shape \(\.\.\., K\) = \(4, 3, 7\), got \(4, 3\)"):
        readout.loss(output, np.ones((T, B)))
    with pytest.raises(ValueError, match=r"^lengths: expected outputs \(T, B, H\) with them, got 2 dimensions"):
        readout.loss(output[0], np.ones((B, K)), lengths=[1] * B)


def test_its_example_runs() -> None:
    found = doctest.testmod(importlib.import_module("rnnkernels.readout"))
    assert found.attempted > 5
    assert found.failed == 0


def test_nothing_at_all() -> None:
    readout, output, targets = make("cross_entropy")
    loss, d_output, grads = readout.loss_and_gradients(output[:0], targets[:0], reduction="sum")
    assert loss == 0
    assert d_output.shape == (0, B, H)
    assert not grads["readout.weight"].any()
    assert readout.sample(output[:0]).shape == (0, B)
