"""Backpropagation through time: the full gradient, truncated ones, windows over endless sequences."""

from __future__ import annotations

import itertools
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import FORMS, is_free
from tolerances import error, gradient_length, tolerance

from rnnkernels import bptt, optim, reference
from rnnkernels.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

B, I, H = 3, 4, 5  # noqa: E741 - the sizes' names everywhere in this package
CELLS = [cell for cell in FORMS if is_free(cell)]
WINDOWS = [(1, 1), (1, 4), (2, 3), (2, 4), (2, 7), (3, 3), (3, 5), (3, 6), (4, 13), (5, 16), (16, 16)]  # k1, k2; T = 17

Arrays = dict[str, np.ndarray]


class Readout:
    """A loss with parameters of its own: sum over steps of weight_t * sum(sin(output @ w))."""

    def __init__(self, steps: int, seed: int = 0, dtype: str = "float64") -> None:
        rng = np.random.default_rng(seed)
        self.w = rng.normal(size=(H, 2)).astype(dtype)
        self.weights = rng.normal(size=(steps, 1, 1)).astype(dtype)
        self.calls: list[tuple[int, np.ndarray]] = []

    def __call__(self, output: np.ndarray, start: int) -> tuple[float, np.ndarray, Arrays]:
        self.calls.append((start, output.copy()))
        weights = self.weights[start : start + len(output)]
        y = output @ self.w  # (T', B, 2)
        dy = weights * np.cos(y)
        return float((weights * np.sin(y)).sum()), dy @ self.w.T, {"readout": np.einsum("tbh,tbk->hk", output, dy)}


def sequence(steps: int, *, tokens: bool = False, seed: int = 1, dtype: str = "float64") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, I, (steps, B)) if tokens else rng.normal(size=(steps, B, I)).astype(dtype)


def assert_same(one: bptt.Result, two: bptt.Result) -> None:
    """Bit for bit."""
    assert one.loss == two.loss
    assert list(one.grads) == list(two.grads)
    for name, grad in one.grads.items():
        np.testing.assert_array_equal(grad, two.grads[name], err_msg=name)
    for a, b in zip(one.state, two.state, strict=True):
        np.testing.assert_array_equal(a, b)


# --- full -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_full_is_the_complex_step_of_the_loss(cell: str, tokens: bool, layers: int) -> None:
    stack = Stack(cell, I, H, layers, dtype="float64", rng=0)
    x, loss = sequence(7, tokens=tokens), Readout(7)
    result = bptt.full_bptt(stack, x, loss)
    assert result.start == 0
    assert list(result.grads) == [*stack.params, "readout"]

    def value(params: Any, w: Any) -> Any:
        output = x
        for layer in range(layers):
            own = {name[: -len("_l0")]: p for name, p in params.items() if name.endswith(f"_l{layer}")}
            output, _ = reference.forward(cell, output, own)
        return (loss.weights * np.sin(output @ w)).sum()

    assert result.loss == pytest.approx(value(stack.params, loss.w), rel=1e-12)
    rng = np.random.default_rng(3)
    for name in (*result.grads, "all"):
        v = {key: rng.normal(size=g.shape) for key, g in result.grads.items() if name in (key, "all")}
        moved = {key: p + 1e-30j * v.get(key, 0) for key, p in stack.params.items()}
        slope = value(moved, loss.w + 1e-30j * v.get("readout", 0)).imag / 1e-30
        found = sum((result.grads[key] * v[key]).sum() for key in v)
        assert abs(found - slope) <= 1e-10 * max(1.0, abs(slope)), name


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_full_is_pytorchs_autograd(cell: str) -> None:
    torch = pytest.importorskip("torch")
    stack = Stack(cell, I, H, 2, dtype="float64", rng=0)
    x, loss = sequence(25), Readout(25)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    options = {"nonlinearity": cell.removeprefix("rnn_")} if kind is torch.nn.RNN else {}
    layers = kind(I, H, 2, dtype=torch.float64, **options)
    layers.load_state_dict({name: torch.from_numpy(p.copy()) for name, p in stack.params.items()})
    w = torch.from_numpy(loss.w).clone().requires_grad_()
    output, _ = layers(torch.from_numpy(x))
    (torch.from_numpy(loss.weights) * torch.sin(output @ w)).sum().backward()
    result = bptt.full_bptt(stack, x, loss)
    for name, p in layers.named_parameters():
        np.testing.assert_allclose(result.grads[name], p.grad, atol=1e-10, rtol=0)
    np.testing.assert_allclose(result.grads["readout"], w.grad, atol=1e-10, rtol=0)


def test_full_starts_from_a_state_and_gives_the_last_one() -> None:
    stack = Stack("lstm", I, H, 2, dtype="float64", rng=0)
    x, loss = sequence(9), Readout(9)
    head = stack.forward(x[:4], training=False)
    tail = bptt.full_bptt(stack, x[4:], loss, head.state)
    for one, two in zip(tail.state, stack.forward(x, training=False).state, strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(loss.calls[0][1], stack.forward(x, training=False).output[4:])


# --- truncated ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("k1", "k2"), [(17, 17), (1, 17), (4, 17), (4, 18), (5, 1000), (20, 20), (20, 33)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_over_everything_is_full_bptt_bit_for_bit(cell: str, k1: int, k2: int, dtype: str) -> None:
    stack = Stack(cell, I, H, 2, dtype=dtype, rng=0)
    x, loss = sequence(17, dtype=dtype), Readout(17, dtype=dtype)
    full = bptt.full_bptt(stack, x, loss)
    assert_same(bptt.truncated_bptt(stack, x, loss, k1=k1, k2=k2), full)
    if k1 == k2:  # online too
        (only,) = bptt.windows(stack, [x], loss, k1=k1, k2=k2)
        assert_same(only, full)


def by_definition(stack: Stack, x: np.ndarray, loss: Readout, k1: int, k2: int) -> Iterator[tuple[float, Arrays, int]]:
    """Williams & Peng's BPTT(k2; k1) with the state before a window as a constant, window by window."""
    steps = len(x)
    for begin in range(0, steps, k1):
        end = min(begin + k1, steps)
        start = max(0, begin + k1 - k2)
        state = stack.forward(x[:start], training=False).state
        run = stack.forward(x[start:end], state)
        value, d_errors, own = loss(run.output[begin - start :], begin)
        d_output = np.zeros_like(run.output)
        d_output[begin - start :] = d_errors
        yield value, {**stack.backward(run, d_output).params, **own}, begin


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("k1", "k2"), WINDOWS)
@pytest.mark.parametrize("cell", ["rnn_tanh", "lstm", "gru_reset_before"])
def test_windows_and_their_sum_by_definition(cell: str, k1: int, k2: int, tokens: bool) -> None:
    steps = 17
    stack = Stack(cell, I, H, 2, dtype="float64", rng=0)
    x, loss = sequence(steps, tokens=tokens), Readout(steps)
    expected = list(by_definition(stack, x, loss, k1, k2))
    allowed = 2 * tolerance("float64", "gradient", 2 * gradient_length(steps, B, I, H))
    found = list(bptt.windows(stack, [x], loss, k1=k1, k2=k2))
    assert [r.start for r in found] == [begin for _, _, begin in expected]
    for result, (value, grads, _) in zip(found, expected, strict=True):
        assert result.loss == pytest.approx(value, rel=1e-13)
        assert result.grads.keys() == grads.keys()
        assert all(error(result.grads[name], g) <= allowed for name, g in grads.items())
    total = bptt.truncated_bptt(stack, x, loss, k1=k1, k2=k2)
    assert total.start == 0
    assert total.loss == pytest.approx(sum(value for value, _, _ in expected), rel=1e-12)
    for name, g in total.grads.items():
        assert error(g, sum(grads[name] for _, grads, _ in expected)) <= len(expected) * allowed
    full = bptt.full_bptt(stack, x, loss)
    assert error(total.grads["weight_hh_l0"], full.grads["weight_hh_l0"]) > 1e-6  # truncation is no rounding
    assert error(total.grads["readout"], full.grads["readout"]) <= len(expected) * allowed  # but not of the readout


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("k1", "k2"), WINDOWS)
def test_the_state_is_carried_without_a_seam(cell: str, k1: int, k2: int) -> None:
    """With parameters that do not change, windows see the outputs of one run over everything, bit for bit."""
    stack = Stack(cell, I, H, 2, rng=0)
    x, loss = sequence(17, dtype="float32"), Readout(17, dtype="float32")
    results = list(bptt.windows(stack, [x], loss, k1=k1, k2=k2))
    whole = stack.forward(x, training=False)
    np.testing.assert_array_equal(np.concatenate([output for _, output in loss.calls]), whole.output)
    for one, two in zip(results[-1].state, whole.state, strict=True):
        np.testing.assert_array_equal(one, two)
    after = stack.forward(x[: 2 * k1], training=False).state if len(results) > 1 else whole.state
    np.testing.assert_array_equal(results[min(1, len(results) - 1)].state[-1], after[-1])


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (3, 5), (2, 7)])
def test_how_the_sequence_is_cut_into_chunks_does_not_matter(k1: int, k2: int, tokens: bool) -> None:
    stack = Stack("gru", I, H, dtype="float64", rng=0)
    x = sequence(17, tokens=tokens)
    expected = list(bptt.windows(stack, [x], Readout(17), k1=k1, k2=k2))
    for cuts in ([1] * 17, [3] * 5 + [2], [16, 1], [0, 5, 0, 0, 11, 1, 0], [2, 7, 8]):
        chunks = np.split(x, np.cumsum(cuts)[:-1])
        assert [len(c) for c in chunks] == cuts
        found = list(bptt.windows(stack, iter(chunks), Readout(17), k1=k1, k2=k2))
        for one, two in zip(found, expected, strict=True):
            assert one.start == two.start
            assert_same(one, two)


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (2, 5), (3, 4), (1, 1)])
def test_parameters_may_be_updated_between_windows(k1: int, k2: int) -> None:
    """The window runs with the new parameters, from the state that the old ones left at its start."""
    steps, rate = 12, 0.05
    stack, plain = (Stack("lstm", I, H, dtype="float64", rng=0) for _ in range(2))
    x, loss = sequence(steps), Readout(steps)
    losses = []
    for result in bptt.windows(stack, [x], loss, k1=k1, k2=k2):
        losses.append(result.loss)
        for name, p in stack.params.items():
            np.subtract(p, rate * result.grads[name], out=p)

    state_at: dict[int, Any] = {0: None}
    for number, begin in enumerate(range(0, steps, k1)):
        start = max(0, begin + k1 - k2)
        run = plain.forward(x[start : begin + k1], state_at[start])
        value, d_errors, _ = loss(run.output[begin - start :], begin)
        assert losses[number] == pytest.approx(value, rel=1e-12)
        following = max(0, begin + 2 * k1 - k2)
        if following > start:
            state_at[following] = plain.forward(x[start:following], state_at[start], training=False).state
        d_output = np.zeros_like(run.output)
        d_output[begin - start :] = d_errors
        for name, g in plain.backward(run, d_output).params.items():
            plain.params[name] -= rate * g
    for name, p in plain.params.items():
        np.testing.assert_allclose(stack.params[name], p, atol=1e-12)


# --- memory ---------------------------------------------------------------------------------------


class Counted:
    """A model that knows how many of its runs are alive."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.alive = 0
        self.most = 0

    def forward(self, x: np.ndarray, state: Any = None, *, training: bool = True) -> Any:
        run = self.stack.forward(x, state, training=training)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(run, self._gone)
        return run

    def backward(self, run: Any, d_output: np.ndarray, d_state: Any = None) -> Any:
        return self.stack.backward(run, d_output, d_state)

    def _gone(self) -> None:
        self.alive -= 1


def no_loss(output: np.ndarray, start: int) -> tuple[float, np.ndarray, Arrays]:
    return float(start), np.zeros_like(output), {}


@pytest.mark.parametrize(("k1", "k2"), [(4, 4), (4, 12)])
def test_memory_does_not_grow_with_the_number_of_steps(k1: int, k2: int) -> None:
    """Between two windows no run is alive, and the arrays that are do not become more."""
    model = Counted(Stack("lstm", I, H, rng=0))
    chunks = (np.full((8, B, I), k, np.float32) for k in range(60))
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    alive = []
    tracemalloc.start()
    try:
        for number, result in enumerate(bptt.windows(model, chunks, no_loss, k1=k1, k2=k2)):
            assert model.alive == 0
            assert result.loss == number * k1
            if number % 20 == 10:  # always in the first half of a chunk
                snapshot = tracemalloc.take_snapshot().filter_traces([arrays])
                alive.append(sum(trace.size for trace in snapshot.traces))
    finally:
        tracemalloc.stop()
    assert model.most == (1 if k1 == k2 else 2)
    assert alive == [alive[0]] * 6
    assert alive[0] > 4 * 8 * B * I  # it sees arrays: at least a chunk


@pytest.mark.parametrize(("k1", "k2", "size"), [(4, 4, 8), (4, 6, 4), (3, 7, 8), (5, 5, 2), (2, 3, 11)])
def test_chunks_and_results_are_let_go(k1: int, k2: int, size: int) -> None:
    """When a chunk is asked for, the one before is gone; when a window runs, so is the last window's result."""
    last: dict[str, weakref.ref[Any]] = {}

    def gone(what: str) -> bool:
        return what not in last or last[what]() is None

    def chunks() -> Iterator[np.ndarray]:
        for _ in range(9):
            assert gone("chunk")
            chunk = np.ones((size, B, I), np.float32)
            last["chunk"] = weakref.ref(chunk)
            yield chunk
            del chunk

    class Watching(Counted):
        def forward(self, x: np.ndarray, state: Any = None, *, training: bool = True) -> Any:
            assert gone("result")
            return super().forward(x, state, training=training)

    for result in bptt.windows(Watching(Stack("gru", I, H, rng=0)), chunks(), no_loss, k1=k1, k2=k2):
        last["result"] = weakref.ref(result)
        del result


def test_an_endless_sequence_is_read_as_far_as_needed() -> None:
    read = itertools.count()

    def chunks() -> Iterator[np.ndarray]:
        while True:
            next(read)
            yield sequence(5)

    results = bptt.windows(Stack("gru", I, H, dtype="float64"), chunks(), no_loss, k1=10, k2=15)
    assert [result.start for result in itertools.islice(results, 3)] == [0, 10, 20]
    assert next(read) == 6


# --- what truncation costs ------------------------------------------------------------------------


def loss_after_training(delay: int, k2: int) -> float:
    """Learn to repeat the bit of `delay` - 1 steps ago, a chain of `delay` steps, with windows (1, k2).

    The recurrent weights begin small: a fixed random recurrence keeps no echo that a readout alone could use.
    """
    steps, units, rows = 1500, 8, 16
    stack = Stack("rnn_tanh", 1, units, dtype="float64", rng=0)
    stack.params["weight_hh_l0"] *= 0.1
    rng = np.random.default_rng(1)
    own = {"w": 0.3 * rng.normal(size=units), "b": np.zeros(())}
    bits = rng.integers(0, 2, (steps + delay - 1, rows))
    x, target = 2.0 * bits[delay - 1 :, :, None] - 1, bits[:steps]

    def loss(output: np.ndarray, start: int) -> tuple[float, np.ndarray, Arrays]:
        logit = output @ own["w"] + own["b"]  # (T', B)
        wanted = target[start : start + len(output)]
        d_logit = (1 / (1 + np.exp(-logit)) - wanted) / rows
        grads = {"w": np.einsum("tb,tbh->h", d_logit, output), "b": d_logit.sum()}
        return float((np.logaddexp(0, logit) - wanted * logit).mean()), d_logit[..., None] * own["w"], grads

    optimizer = optim.Adam({**stack.params, **own}, 0.02)
    losses = []
    for result in bptt.windows(stack, [x], loss, k1=1, k2=k2):
        losses.append(result.loss)
        grads = {name: np.asarray(g) for name, g in result.grads.items()}
        optim.clip_by_global_norm(grads, 1.0)
        optimizer.step(grads)
    return float(np.mean(losses[-100:]))


@pytest.mark.parametrize("delay", [3])
def test_a_delay_is_learnt_when_the_window_reaches_it_and_not_otherwise(delay: int) -> None:
    assert loss_after_training(delay, k2=delay) < 0.05
    assert loss_after_training(delay, k2=delay - 1) > 0.6  # guessing gives ln 2 = 0.69


# --- edges ----------------------------------------------------------------------------------------


def test_dropout_draws_from_the_generator_given() -> None:
    stack = Stack("gru", I, H, 2, dropout=0.5, dtype="float64", rng=0)
    x = sequence(12)

    def run(seed: int) -> list[bptt.Result]:
        rng = np.random.default_rng(seed)
        results = list(bptt.windows(stack, [x], Readout(12), k1=3, k2=6, rng=rng))
        results.append(bptt.truncated_bptt(stack, x, Readout(12), k1=3, k2=3, rng=rng))
        return [*results, bptt.full_bptt(stack, x, Readout(12), rng=rng)]

    for one, two in zip(run(1), run(1), strict=True):
        assert_same(one, two)
    assert run(1)[0].loss != run(2)[0].loss
    with pytest.raises(TypeError, match="rng: expected"):
        bptt.full_bptt(stack, x, Readout(12))


def test_no_steps() -> None:
    stack = Stack("lstm", I, H, dtype="float64", rng=0)
    state = ((np.ones((B, H)), np.ones((B, H))),)
    for result in (
        bptt.full_bptt(stack, sequence(0), Readout(0), state),
        bptt.truncated_bptt(stack, sequence(0), Readout(0), k1=2, k2=3, state=state),
    ):
        assert result.loss == 0
        assert not any(g.any() for g in result.grads.values())
        np.testing.assert_array_equal(result.state, state)
    for chunks in ([], [sequence(0)]):
        assert list(bptt.windows(stack, chunks, Readout(0), k1=2, k2=3)) == []


@pytest.mark.parametrize(
    ("k1", "k2", "kind", "message"),
    [
        (0, 3, ValueError, "k1: expected at least 1, got 0"),
        (1, 0, ValueError, "k2: expected at least 1, got 0"),
        (2.0, 3, TypeError, "k1: expected an integer, got 2.0"),
        (1, None, TypeError, "k2: expected an integer, got None"),
        (True, 3, TypeError, "k1: expected an integer, got True"),
        (5, 3, ValueError, "k2: expected at least k1 = 5, got 3.*the losses of the other 2 would be dropped"),
    ],
)
def test_bad_window_lengths(k1: Any, k2: Any, kind: type[Exception], message: str) -> None:
    stack = Stack("gru", I, H, dtype="float64")
    with pytest.raises(kind, match=message):
        bptt.truncated_bptt(stack, sequence(9), Readout(9), k1=k1, k2=k2)
    with pytest.raises(kind, match=message):  # at once, not at the first window
        bptt.windows(stack, [sequence(9)], Readout(9), k1=k1, k2=k2)


def test_bad_chunks() -> None:
    stack = Stack("gru", I, H, dtype="float64")
    good = sequence(3)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (good[:, :2], ValueError, r"expected rows of shape \(3, 4\) and dtype float64.*got \(2, 4\).* number 1"),
        (good.astype(np.float32), ValueError, ".*got .* and float32 in number 1"),
        (sequence(3, tokens=True), ValueError, r".*got \(3,\) and int64 in number 1"),
        (good[0, 0], TypeError, "expected arrays .* got number 1"),
        ([[1, 2]], TypeError, "expected arrays .* got number 1"),
    ]
    for bad, kind, message in wrong:
        with pytest.raises(kind, match=f"^chunks: {message}"):
            list(bptt.windows(stack, [good, bad], Readout(9), k1=2, k2=2))


def test_a_bad_loss_function() -> None:
    stack = Stack("gru", I, H, dtype="float64")
    x = sequence(6)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda o, _: (0.0, o[1:], {}), ValueError, r"loss: expected a gradient of shape \(6, 3, 5\), got \(5, 3, 5\)"),
        (lambda o, _: (0.0, o.astype(np.float32), {}), TypeError, "loss: expected a gradient of dtype float64"),
        (lambda o, _: (0.0, o.tolist(), {}), TypeError, "loss: expected an array as the gradient, got a list"),
        (lambda o, _: (0.0, o, {"bias_hh_l0": o}), ValueError, "names of the model's parameters, got bias_hh_l0"),
    ]
    for loss, kind, message in wrong:
        with pytest.raises(kind, match=message):
            bptt.full_bptt(stack, x, loss)
