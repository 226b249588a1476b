"""The stack of layers on arrays of a GPU, emulated: against the CPU's stack, and dropout of elements bit for bit.

Not here: what a single layer does there (test_cuda.py), and what a stack must give on the CPU (test_stack.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import random_states, zoneout_of

import rnnkernels as rk
from rnnkernels import _cpu
from rnnkernels.cuda import arrays, calls, extension

if TYPE_CHECKING:
    from rnnkernels.stack import Stack, StackGradients, StackRun

T, B, I, H, P = 6, 5, 4, 9, 7  # noqa: E741 - the sizes' names everywhere in this package
CELLS = ("lstm", "gru", "lstm_projected", "mut3")


SEED, LAYER = 2**63 + 2**40 + 5, 2**24 - 1  # both words of the key, all bits of a layer's number
# Rows in fours, and not; more columns than a block has threads; one dimension; no elements.
DROPPED = [(5, 3, 17), (4, 2, 64), (3, 300), (7, 1), (13,), (0,), (3, 0), (0, 5)]


def make(cell: str, layers: int, **options: Any) -> Stack:
    proj_size = P if rk.cell_info(cell)["projected"] else None
    return rk.Stack(cell, I, H, layers, proj_size=proj_size, dtype="float64", rng=0, **options)


def states(stack: Stack, rng: np.random.Generator) -> tuple[Any, ...]:
    many = stack.num_layers * stack.num_directions
    return tuple(random_states(stack.cell, rng, B, H, "float64", stack.proj_size) for _ in range(many))


def there(torch: Any, value: Any) -> Any:
    """The arrays of nested tuples as tensors."""
    if isinstance(value, (tuple, list)):
        return tuple(there(torch, part) for part in value)
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def assert_close(found: Any, wanted: Any, name: str) -> None:
    """Nested tuples of tensors against those of arrays."""
    if wanted is None:
        assert found is None, name
    elif isinstance(wanted, tuple):
        assert len(found) == len(wanted), name
        for k, (a, b) in enumerate(zip(found, wanted, strict=True)):
            assert_close(a, b, f"{name}[{k}]")
    else:
        assert not isinstance(found, np.ndarray), name
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9, atol=1e-11, err_msg=name)


def assert_alike(found: tuple[StackRun, StackGradients], wanted: tuple[StackRun, StackGradients]) -> None:
    for name in ("output", "outputs", "state", "states"):
        assert_close(getattr(found[0], name), getattr(wanted[0], name), name)
    for name in ("x", "state", "reset_state", "norms"):
        assert_close(getattr(found[1], name), getattr(wanted[1], name), f"d {name}")
    assert found[1].params.keys() == wanted[1].params.keys()
    for name, value in wanted[1].params.items():
        assert_close(found[1].params[name], value, f"d {name}")


def compare(torch: Any, stack: Stack, tokens: bool = False, **options: Any) -> None:
    """A forward and a backward on arrays and on tensors, with every gradient there is."""
    extension.load().set_kernel("reference")  # without cuBLAS's scratch memory, which takes the longest to poison
    rng = np.random.default_rng(1)
    width = stack.output_size * stack.num_directions
    x = rng.integers(0, I, (T, B)) if tokens else rng.standard_normal((T, B, I))
    state, d_state = states(stack, rng), states(stack, rng)
    if options.get("resets") is not None:
        options["reset_state"] = states(stack, rng)
    d_outputs = tuple(rng.standard_normal((stack.num_layers, T, B, width)))
    d_output = rng.standard_normal((T, B, width))
    on_host = dict(stack.params)
    results = []

    def same(value: Any) -> Any:
        return value

    def moved(value: Any) -> Any:
        return there(torch, value)

    for of in (same, moved):
        stack.params = {name: of(w) for name, w in on_host.items()}
        given = {name: of(value) if name == "reset_state" else value for name, value in options.items()}
        run = stack.forward(of(x), of(state), rng=np.random.default_rng(2), **given)
        d = {"d_state": of(d_state), "d_outputs": of(d_outputs), "norms": options.get("memory") != "replay"}
        results.append((run, stack.backward(run, of(d_output), **d)))
    assert_alike(results[1], results[0])


# ---- dropout of elements ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("shape", DROPPED, ids=str)
def test_dropped_elements_are_the_cpus(emulated: Any, shape: tuple[int, ...], rate: float, dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    x.flat[::5] = -0.0
    x.flat[1::7] = np.inf
    before = x.copy()
    for seed, layer in ((SEED, LAYER), (0, 1)):
        found, wanted = calls.drop(x, rate, seed, layer), _cpu.drop(x, rate, seed, layer)
        assert found.dtype == dtype
        assert found.shape == shape
        assert found.tobytes() == wanted.tobytes()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_dropped_halves_are_rounded_once(tensors: Any, dtype: str) -> None:
    kind = getattr(tensors, dtype)
    x = tensors.from_numpy(np.random.default_rng(0).standard_normal((5, 3, 17))).to(kind)
    wanted = tensors.from_numpy(_cpu.drop(x.float().numpy(), 0.3, SEED, LAYER)).to(kind)
    found = calls.drop(x, 0.3, SEED, LAYER)
    assert found.dtype == kind
    assert tensors.equal(found, wanted)
    assert 0.1 < (found == 0).double().mean() < 0.5


def test_what_cannot_be_dropped(tensors: Any) -> None:
    x = tensors.ones((2, 3))
    for rate in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match=r"rate: expected a number in \[0, 1\), got"):
            calls.drop(x, rate, 0, 1)
    with pytest.raises(ValueError, match="x: expected at least one dimension, got none"):
        calls.drop(x[0, 0], 0.5, 0, 1)
    with pytest.raises(TypeError, match="x: expected dtype float32 or float64 or bfloat16 or float16, got int64"):
        calls.drop(x.long(), 0.5, 0, 1)
    module, frame = extension.load(), arrays.torch_frame(0)
    place = module.Place(1, 0, frame.allocate)
    with pytest.raises(ValueError, match="x: expected an array on device 1, got one on device 0"):
        module.drop(place, frame.view(x), 0.5, 0, 1)


# ---- the stack ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_layers_on_layers(tensors: Any, cell: str, tokens: bool, ways: int) -> None:
    compare(tensors, make(cell, 2, bidirectional=ways == 2), tokens)


@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("options", ["dense", "lengths", "resets"])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_with_every_mask(tensors: Any, cell: str, ways: int, options: str, memory: str) -> None:
    """The same seeds, so the same masks: between layers, of states, of what the weights multiply, of the weights."""
    given: dict[str, Any] = {"memory": memory, "all_states": memory != "replay"}
    if options == "lengths":
        given["lengths"] = [6, 0, 3, 1, 5]
    elif options == "resets":
        given["resets"] = np.random.default_rng(0).random((T, B)) < 0.3
    rates = {"dropout": 0.3, "zoneout": zoneout_of(cell, 0.2), "recurrent_dropout": 0.1, "weight_dropout": 0.25}
    compare(tensors, make(cell, 3, bidirectional=ways == 2, **rates), **given)


@pytest.mark.parametrize("cell", CELLS)
def test_dropout_alone_and_evaluation(tensors: Any, cell: str) -> None:
    stack = make(cell, 3, dropout=0.4, zoneout=zoneout_of(cell, 0.2))
    compare(tensors, stack, tokens=True)
    x = np.random.default_rng(1).standard_normal((T, B, I))
    stack = make(cell, 3, dropout=0.4, zoneout=zoneout_of(cell, 0.2))
    wanted = stack.forward(x, training=False)
    stack.to("cuda")
    found = stack.forward(there(tensors, x), training=False)
    assert_close(found.output, wanted.output, "output")
    assert_close(found.state, wanted.state, "state")
    state: Any = None
    for t in range(T):
        state = stack.step(there(tensors, x[t]), state)
    assert_close(state, wanted.state, "stepped")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves(tensors: Any, dtype: str) -> None:
    """As float32 on the rounded values, with the same masks."""
    kind = getattr(tensors, dtype)
    stack = make("lstm", 2, dropout=0.4)
    small = {name: tensors.from_numpy(w).to(kind) for name, w in stack.params.items()}
    x = tensors.from_numpy(np.random.default_rng(1).standard_normal((T, B, I))).to(kind)
    outputs = []
    for of in (kind, tensors.float32):
        stack.params = {name: w.to(of) for name, w in small.items()}
        run = stack.forward(x.to(of), rng=np.random.default_rng(2))
        grads = stack.backward(run, tensors.ones_like(run.output))
        assert run.output.dtype == of
        assert {g.dtype for g in grads.params.values()} == {of}
        outputs.append([run.output, grads.x, *grads.params.values()])
    for a, b in zip(*outputs, strict=True):
        assert (a.float() - b).abs().max() < 0.05 * b.abs().max()
    stack.params = small
    with pytest.raises(TypeError, match=r"params: expected dtype float32 or float64 to move them, got torch"):
        stack.to("cpu")


def test_to_a_gpu_and_back(tensors: Any) -> None:
    stack = make("gru", 2, bidirectional=True)
    before = dict(stack.params)
    assert stack.to("cuda") is stack
    assert all(isinstance(w, tensors.Tensor) and w.dtype == tensors.float64 for w in stack.params.values())
    moved: dict[str, Any] = stack.params
    for w in moved.values():
        w.add_(1)  # copies: the arrays they were made of stay what they are
    stack.to("cuda:0").to("cpu")
    assert list(stack.params) == list(before)
    for name, w in stack.params.items():
        assert type(w) is np.ndarray
        np.testing.assert_array_equal(w, before[name] + 1)
    for place in ("gpu", "cuda:", "cuda:x", "cpu:0", ""):
        with pytest.raises(ValueError, match=r"place: expected 'cpu', 'cuda', 'cuda:1', ..., got"):
            stack.to(place)
    with pytest.raises(TypeError, match="place: expected a string, got 0"):
        stack.to(0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="library: expected one of torch, cupy, got 'jax'"):
        stack.to("cuda", "jax")


def test_what_lies_elsewhere_is_named(tensors: Any) -> None:
    stack = make("gru", 2, dropout=0.5).to("cuda")
    rng = np.random.default_rng(0)
    x = tensors.zeros((T, B, I), dtype=tensors.float64)
    with pytest.raises(TypeError, match="x: expected an array on GPU 0, as the parameters, got a ndarray"):
        stack.forward(x.numpy(), rng=rng)
    with pytest.raises(TypeError, match="x_t: expected an array on GPU 0, as the parameters, got a ndarray"):
        stack.step(x[0].numpy())
    with pytest.raises(TypeError, match=r"state\[0\]: expected an array on GPU 0, as the parameters, got a ndarray"):
        stack.forward(x, [[np.zeros((B, H))], None], rng=rng)
    run = stack.forward(x, rng=rng)
    d = tensors.ones((T, B, H), dtype=tensors.float64)
    with pytest.raises(TypeError, match="d_output: expected an array on GPU 0, as the parameters, got a ndarray"):
        stack.backward(run, d.numpy())
    with pytest.raises(
        TypeError, match=r"d_outputs\[0\]: expected an array on GPU 0, as the parameters, got a ndarray"
    ):
        stack.backward(run, d, d_outputs=[d.numpy(), None])
    with pytest.raises(ValueError, match=r"d_outputs\[1\]: expected shape \(T, B, H\) = \(6, 5, 9\), got \(1, 5, 9\)"):
        stack.backward(run, d, d_outputs=[None, d[:1]])
    with pytest.raises(TypeError, match=r"d_output: expected dtype torch\.float64, the parameters', got"):
        stack.backward(run, d.float())


def test_numpys_arrays_go_on_as_they_did(emulated: Any) -> None:
    """Copied to the GPU and back by every layer's call."""
    stack = make("lstm", 3, dropout=0.3, bidirectional=True)
    rng = np.random.default_rng(1)
    x, d_output = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 2 * H))
    results = []
    for backend in ("cpu", "cuda"):
        rk.set_backend(backend)
        try:
            run = stack.forward(x, rng=np.random.default_rng(2))
            results.append((run, stack.backward(run, d_output)))
        finally:
            rk.set_backend("cpu")
    (cpu, wanted), (ours, found) = results
    np.testing.assert_allclose(ours.output, cpu.output, rtol=1e-9, atol=1e-11)
    for name, value in wanted.params.items():
        np.testing.assert_allclose(found.params[name], value, rtol=1e-9, atol=1e-11, err_msg=name)


# ---- backpropagation through time ---------------------------------------------------------------


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (2, 5), (4, 7), (30, 30)])
def test_truncated_backpropagation(tensors: Any, k1: int, k2: int) -> None:
    """Chunks that are cut anew, windows that overlap; losses stay where they are."""
    from rnnkernels import bptt

    stack = make("lstm", 2)
    x = np.random.default_rng(1).standard_normal((17, B, I))

    def loss(output: Any, start: int) -> tuple[Any, Any, dict[str, Any]]:
        return (output * output).sum() * (1 + start), 2 * output * (1 + start), {}

    def results(chunks: list[Any]) -> list[bptt.Result]:
        return list(bptt.windows(stack, chunks, loss, k1=k1, k2=k2))

    wanted = results([x[:4], x[4:5], x[5:]])
    stack.params = {name: tensors.from_numpy(w) for name, w in stack.params.items()}
    given = tensors.from_numpy(x)
    found = results([given[:4], given[4:5], given[5:]])
    assert [r.start for r in found] == [r.start for r in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert isinstance(ours.loss, tensors.Tensor)
        np.testing.assert_allclose(float(ours.loss), theirs.loss, rtol=1e-9)
        assert_close(ours.state, theirs.state, "state")
        for name, value in theirs.grads.items():
            assert_close(ours.grads[name], value, name)
    whole = bptt.truncated_bptt(stack, given, loss, k1=k1, k2=k2)
    np.testing.assert_allclose(float(whole.loss), sum(r.loss for r in wanted), rtol=1e-9)

    def wrong(output: Any, start: int) -> tuple[Any, Any, dict[str, Any]]:
        return loss(output, start)[0], output.numpy(), {}

    with pytest.raises(TypeError, match="loss: expected a Tensor on GPU 0 as the gradient, got an array"):
        next(bptt.windows(stack, [given], wrong, k1=k1, k2=k2))
