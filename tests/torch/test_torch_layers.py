"""Layers in the hands of PyTorch: loading, copying, hooks, parametrizations, pruning, processes, threads, autograd."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import resource
import threading
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch_compare import CELLS, LAYERS, NAMES, assert_near, leaves, one_tensor, structure, twins

import rnnkernels.torch as rnn

SIZES = (5, 3, 4, 6, 2)

each = pytest.mark.parametrize("name", NAMES)


def options(name: str) -> dict[str, Any]:
    return {} if name in CELLS else {"num_layers": 2, "bidirectional": True}


def pair(name: str, **named: Any) -> tuple[Any, Any, Any]:
    """PyTorch's layer, ours with the same parameters, and an input."""
    torch.manual_seed(1)
    theirs, ours = twins(name, 4, 6, **options(name), **named)
    return theirs, ours, torch.randn(*((3,) if name in CELLS else (5, 3)), 4, dtype=named.get("dtype"))


def assert_same(actual: Any, expected: Any, quantity: str = "output") -> None:
    assert structure(actual) == structure(expected)
    for mine, other in zip(leaves(actual), leaves(expected), strict=True):
        assert_near(mine, other, quantity, SIZES)


def gradients(layer: Any, x: Any) -> list[Any]:
    layer.zero_grad()
    one_tensor(layer(x)).backward()
    return [p.grad for p in layer.parameters()]


# ---- parameters --------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_parameters_are_pytorchs_to_the_bit(name: str, dtype: Any) -> None:
    made = []
    for library in (torch.nn, rnn):
        torch.manual_seed(7)
        made.append(getattr(library, name)(4, 6, **options(name), dtype=dtype))
    theirs, ours = made
    assert isinstance(ours, type(theirs))
    assert type(ours).__name__ == name
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert torch.random.get_rng_state().sum() > 0
    assert set(vars(ours)) == set(vars(theirs))


@each
def test_state_dicts_go_both_ways_and_through_files(name: str) -> None:
    theirs, ours, x = pair(name)
    with io.BytesIO() as file:
        torch.save(theirs.state_dict(), file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
    fresh = getattr(rnn, name)(4, 6, **options(name))
    assert not fresh.load_state_dict(state, strict=True).missing_keys
    assert_same(fresh(x), ours(x))
    theirs.load_state_dict(fresh.state_dict(), strict=True, assign=True)
    assert_same(fresh(x), theirs(x))
    for wrong in ({}, {**state, "weight": x}):
        with pytest.raises(RuntimeError) as raised:
            ours.load_state_dict(wrong)
        with pytest.raises(RuntimeError) as expected:
            theirs.load_state_dict(wrong)
        assert str(raised.value) == str(expected.value)


@each
def test_conversions(name: str) -> None:
    theirs, ours, x = pair(name)
    for method in ("double", "half", "bfloat16", "float"):
        x = getattr(x, method)()
        assert_same(getattr(ours, method)()(x), getattr(theirs, method)()(x))


@each
def test_copies_are_apart(name: str) -> None:
    _, ours, x = pair(name)
    before = [t.clone() for t in leaves(ours(x))]
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        with torch.no_grad():
            for p in twin.parameters():
                p.zero_()
        assert all(torch.equal(a, b) for a, b in zip(leaves(ours(x)), before, strict=True))
        assert not any(torch.equal(a, b) for a, b in zip(leaves(twin(x)), before, strict=True))


def _fill(layer: Any, x: Any, results: Any) -> None:
    """In another process: run the shared layer, then change its parameters."""
    with torch.no_grad():
        results.put([t.numpy() for t in leaves(layer(x))])
        for p in layer.parameters():
            p.fill_(0.25)


def test_memory_shared_with_another_process() -> None:
    import torch.multiprocessing as processes

    _, ours, x = pair("LSTM")
    expected = [t.detach() for t in leaves(ours(x))]
    ours.share_memory()
    context = processes.get_context("spawn")
    results = context.Queue()
    other = context.Process(target=_fill, args=(ours, x, results))
    other.start()
    found = results.get(timeout=60)
    other.join(60)
    assert other.exitcode == 0
    assert all(torch.equal(torch.from_numpy(a), b) for a, b in zip(found, expected, strict=True))
    assert all((p == 0.25).all() for p in ours.parameters())


# ---- what is done to a layer -------------------------------------------------------------------------


@each
@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "old weight_norm"])
def test_parametrizations(name: str, kind: str) -> None:
    theirs, ours, x = pair(name)
    weight = "weight_hh" if name in CELLS else "weight_hh_l1_reverse"
    for layer in (theirs, ours):
        torch.manual_seed(3)
        if kind == "old weight_norm":
            with pytest.warns(FutureWarning, match="weight_norm"):
                torch.nn.utils.weight_norm(layer, weight)
        else:
            getattr(torch.nn.utils.parametrizations, kind)(layer, weight)
    assert isinstance(ours, getattr(rnn, name))
    for _ in range(2):
        assert_same(ours(x), theirs(x))
        for mine, other in zip(gradients(ours, x), gradients(theirs, x), strict=True):
            assert_near(mine, other, "gradient", SIZES)
        with torch.no_grad():
            for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
                a.mul_(1.25)
                b.mul_(1.25)
    assert list(ours.state_dict()) == list(theirs.state_dict())


@each
def test_pruning(name: str) -> None:
    from torch.nn.utils import prune

    theirs, ours, x = pair(name)
    weight = "weight_hh" if name in CELLS else "weight_hh_l0"
    for layer in (theirs, ours):
        prune.l1_unstructured(layer, weight, amount=0.5)
    assert_same(ours(x), theirs(x))
    for mine, other in zip(gradients(ours, x), gradients(theirs, x), strict=True):
        assert_near(mine, other, "gradient", SIZES)
    for layer in (theirs, ours):
        prune.remove(layer, weight)
    assert (getattr(ours, weight) == 0).sum() == getattr(ours, weight).numel() // 2
    assert_same(ours(x), theirs(x))


@each
def test_hooks(name: str) -> None:
    seen: dict[str, list[Any]] = {"nn": [], "ours": []}
    theirs, ours, x = pair(name)
    for layer, record in ((theirs, seen["nn"]), (ours, seen["ours"])):
        layer.register_forward_pre_hook(lambda _, args, record=record: record.append(structure(args)))
        layer.register_forward_hook(
            lambda _, args, out, record=record: record.append((structure(args), structure(out)))
        )
        layer.register_full_backward_hook(lambda _, a, b, record=record: record.append((structure(a), structure(b))))
        one_tensor(layer(x.clone().requires_grad_())).backward()
    assert seen["ours"] == seen["nn"]
    assert len(seen["ours"]) == 3


@each
def test_functional_call_and_replaced_parameters(name: str) -> None:
    theirs, ours, x = pair(name)
    other = {key: value * 0.5 for key, value in ours.state_dict().items()}
    call = torch.func.functional_call
    assert_same(call(ours, other, (x,)), call(theirs, other, (x,)))
    key = next(iter(other))
    setattr(ours, key, torch.nn.Parameter(other[key]))
    setattr(theirs, key, torch.nn.Parameter(other[key]))
    assert_same(ours(x), theirs(x))
    ours.weight = None  # a name of no meaning is free
    with torch.no_grad():
        getattr(ours, key).copy_(other[key] * 3)
        getattr(theirs, key).copy_(other[key] * 3)
    assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("name", LAYERS)
def test_attributes_set_after_the_constructor(name: str) -> None:
    theirs, ours, x = pair(name)
    for key, value in (("batch_first", True), ("dropout", 0.5), ("training", False)):
        setattr(theirs, key, value)
        setattr(ours, key, value)
        torch.manual_seed(2)
        expected = theirs(x)
        torch.manual_seed(2)
        assert_same(ours(x), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_packed_there_and_back(name: str) -> None:
    theirs, ours, x = pair(name)
    packed = pack_padded_sequence(x, torch.tensor([2, 5, 3]), enforce_sorted=False)
    (found, final), (expected, expected_final) = ours(packed), theirs(packed)
    assert_same(pad_packed_sequence(found)[0], pad_packed_sequence(expected)[0])
    assert_same(final, expected_final)


@pytest.mark.parametrize("name", LAYERS)
def test_a_packed_batch_of_another_width_is_refused(name: str) -> None:
    """torch.nn.LSTM does not look, and reads past the end of the weights; its RNN and GRU refuse in these words."""
    _, ours, x = pair(name)
    narrow = pack_padded_sequence(x[..., :3], torch.tensor([5, 4, 3]))
    with pytest.raises(RuntimeError, match=r"input.size\(-1\) must be equal to input_size. Expected 4, got 3"):
        ours(narrow)
    state = torch.zeros(4, 2, 6)
    with pytest.raises(RuntimeError, match=r"Expected hidden(\[0\])? size \(4, 3, 6\), got \[4, 2, 6\]"):
        ours(pack_padded_sequence(x, torch.tensor([5, 4, 3])), (state, state) if name == "LSTM" else state)


def test_a_cell_refuses_rows_where_there_is_one() -> None:
    """torch.nn.LSTMCell takes as many rows as it is wide for a single one, and crashes."""
    _, ours, x = pair("LSTMCell")
    with pytest.raises(RuntimeError, match="hx and cx should also be 1-D"):
        ours(x[0], (torch.zeros(6, 6), torch.zeros(6, 6)))


# ---- what these kernels do not serve -------------------------------------------------------------------


@each
def test_what_pytorch_takes_and_these_kernels_do_not(name: str) -> None:
    theirs, ours, _ = pair(name, dtype=torch.complex64)
    x = torch.randn(*((3,) if name in CELLS else (5, 3)), 4, dtype=torch.complex64)
    if name in ("RNN", "RNNCell"):  # tanh is there for complex numbers
        with pytest.raises(NotImplementedError, match=rf"rnnkernels.torch.{name}: PyTorch takes this call"):
            ours(x)
        ours.allow_torch = True
        assert torch.equal(leaves(ours(x))[0], leaves(theirs(x))[0])


@each
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_a_trace_does_not_hold_the_numbers_of_a_call(name: str) -> None:
    theirs, ours, x = pair(name)
    with torch.no_grad():
        with pytest.raises(NotImplementedError, match="allow_torch = True"):
            torch.jit.trace(ours, (x,))
        ours.allow_torch = True
        traced = torch.jit.trace(ours, (x,))
        for mine, other in zip(leaves(traced(x + 1)), leaves(theirs(x + 1)), strict=True):
            assert_near(mine, other, "output", SIZES)


# ---- threads and memory ------------------------------------------------------------------------------


@each
def test_one_layer_in_four_threads(name: str) -> None:
    _, ours, x = pair(name)
    inputs = [x + k for k in range(4)]
    expected = [gradients(ours, value) for value in inputs]
    replicas = [copy.deepcopy(ours) for _ in inputs]
    shared: dict[int, Any] = {}
    own: dict[int, Any] = {}

    def work(k: int) -> None:
        for _ in range(10):
            shared[k] = [t.detach() for t in leaves(ours(inputs[k]))]
            own[k] = gradients(replicas[k], inputs[k])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k, value in enumerate(inputs):
        assert all(torch.equal(a, b) for a, b in zip(own[k], expected[k], strict=True))
        assert all(torch.equal(a, b) for a, b in zip(shared[k], leaves(ours(value)), strict=True))


@each
def test_memory_does_not_grow(name: str) -> None:
    torch.manual_seed(1)
    ours = getattr(rnn, name)(32, 64)
    x = torch.randn(*((64,) if name in CELLS else (16, 16)), 32)  # a leak of one output a call would be 8 to 32 MB

    def run(count: int) -> None:
        for _ in range(count):
            gradients(ours, x)
            ours(x)

    run(50)
    gc.collect()
    tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    grown = []
    for _ in range(4):  # what leaks grows every time; a heap that is fragmented by other tests settles
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run(500)
        gc.collect()
        assert sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects()) <= tensors
        grown.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)  # KiB
        if grown[-1] < 4096:
            return
    pytest.fail(f"memory grew by {grown} KiB")
