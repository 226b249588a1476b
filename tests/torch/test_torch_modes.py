"""Dispatch modes: what `make_fx`, `functionalize`, counters and recorders see of a call, and that it is the call's.

A mode stands in the place of a tensor subclass. Where one is active, a call is the registered operator.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.func import functional_call, functionalize, grad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from torch_compare import LAYERS, leaves, twins

import rnnkernels as rk
import rnnkernels.torch as rnn

T, B, H = 6, 3, 5
I = 4  # noqa: E741
FORWARD, BACKWARD = torch.ops.rnnkernels.forward.default, torch.ops.rnnkernels.backward.default
LENGTHS = torch.tensor([6, 0, 2])
BATCH_SIZES = torch.tensor([3, 3, 2, 1, 1, 1])
RESETS = torch.arange(T * B).reshape(T, B) % 4 == 1


def packed(data: Any) -> Any:
    return PackedSequence(data.flatten(0, 1)[:11], BATCH_SIZES)


Case = tuple[Any, Any]  # makes a layer; calls it with x
CASES: dict[str, Case] = {
    **{name: (lambda name=name: getattr(rnn, name)(I, H), lambda layer, x: layer(x)) for name in LAYERS},
    **{
        f"{name}Cell": (lambda name=name: getattr(rnn, f"{name}Cell")(I, H), lambda layer, x: layer(x[0]))
        for name in LAYERS
    },
    "deep": (lambda: rnn.LSTM(I, H, 2, bidirectional=True, proj_size=3), lambda layer, x: layer(x)),
    "packed": (lambda: rnn.LSTM(I, H), lambda layer, x: leaves(layer(packed(x))[1])),
    "mgu": (lambda: rnn.Recurrent("mgu", I, H), lambda layer, x: layer(x)),
    "lengths": (lambda: rnn.Recurrent("lstm", I, H), lambda layer, x: layer(x, lengths=LENGTHS)),
    "resets": (lambda: rnn.Recurrent("gru", I, H), lambda layer, x: layer(x, resets=RESETS, all_states=True)),
    "clip": (
        lambda: rnn.Recurrent("lstm_projected", I, H, proj_size=3, cell_clip=0.1, memory="states"),
        lambda layer, x: layer(x),
    ),
    "RecurrentCell": (lambda: rnn.RecurrentCell("mut3", I, H), lambda layer, x: layer(x[0])),
}


def loss_of(case: Case, layer: Any) -> Any:
    """(weights, x) → a number that all results have a part in."""

    def loss(weights: Any, x: Any) -> Any:
        class Held(torch.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.layer = layer

            def forward(self, x: Any) -> Any:
                return case[1](self.layer, x)

        results = functional_call(Held(), {f"layer.{name}": w for name, w in weights.items()}, (x,))
        return sum((leaf * (k + 1)).square().sum() for k, leaf in enumerate(leaves(results)))

    return loss


def made(case: Case) -> tuple[Any, dict[str, Any], Any, Any]:
    torch.manual_seed(1)
    layer = case[0]().double()
    weights = {name: p.detach().clone() for name, p in layer.named_parameters()}
    first, second = torch.randn(2, T, B, I, dtype=torch.float64)
    return layer, weights, first, second


def near(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_traced_graph_reads_its_inputs(case: Case, mode: str) -> None:
    layer, weights, first, second = made(case)
    loss = loss_of(case, layer)
    others = {name: 0.5 * w for name, w in weights.items()}
    options = {"tracing_mode": mode, "_allow_non_fake_inputs": True} if mode != "real" else {}
    for function in (loss, grad(loss, (0, 1))):
        graph = make_fx(function, **options)(weights, first)
        for given in ((weights, first), (others, second)):
            near(graph(*given), function(*given))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradients_of_autograd_are_traced(case: Case) -> None:
    layer, weights, first, second = made(case)
    loss = loss_of(case, layer)

    def function(weights: Any, x: Any) -> Any:
        weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
        return torch.autograd.grad(loss(weights, x), list(weights.values()))

    graph = make_fx(function)(weights, first)
    near(graph(weights, second), function(weights, second))


def test_lengths_and_seeds_are_inputs_of_a_graph() -> None:
    layer = rnn.Recurrent("gru", I, H, zoneout=0.5)
    x = torch.randn(T, B, I)
    weights = {name: p.detach() for name, p in layer.named_parameters()}

    def output(weights: Any, lengths: Any) -> Any:
        return functional_call(layer, weights, (x,), {"lengths": lengths})[0]

    def gradient(weights: Any, lengths: Any) -> Any:
        return grad(lambda w: output(w, lengths).sum())(weights)["weight_hh_l0"]

    for function in (output, gradient):
        graph = make_fx(function)(weights, LENGTHS)
        results: list[Any] = []
        for run in (graph, function, graph):
            if run is not graph or not results:
                torch.manual_seed(3)
            results.append(run(weights, LENGTHS.flip(0)))
        assert torch.equal(results[0], results[1])
        assert not torch.equal(results[0], results[2])  # masks are drawn anew


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_functionalize(case: Case) -> None:
    layer, weights, first, second = made(case)
    loss = loss_of(case, layer)
    near(functionalize(loss)(weights, first), loss(weights, first))
    graph = make_fx(functionalize(loss))(weights, first)
    near(graph(weights, second), loss(weights, second))


class Record(TorchDispatchMode):  # type: ignore[misc]
    """Which of our operators a mode sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "rnnkernels":
            self.seen.append(func)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_mode_sees_both_operators(case: Case) -> None:
    layer, _, x, _ = made(case)
    count = 4 if getattr(layer, "bidirectional", False) else 1
    parameters = list(layer.parameters())

    def loss() -> Any:
        return sum(leaf.square().sum() for leaf in leaves(case[1](layer, x)))

    expected = torch.autograd.grad(loss(), parameters)
    with Record() as record:
        found = torch.autograd.grad(loss(), parameters)
    assert record.seen == [FORWARD] * count + [BACKWARD] * count
    near(found, expected)
    value = loss()  # the forward of an eager call, its backward under a mode
    with Record() as record:
        found = torch.autograd.grad(value, parameters)
    assert record.seen == [BACKWARD] * count
    near(found, expected)
    with Record() as record:
        value = loss()
    near(torch.autograd.grad(value, parameters), expected)
    with Record() as record, torch.no_grad():
        loss()
    assert record.seen == [FORWARD] * count


def test_a_mode_rewrites_a_call() -> None:
    class Zeros(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            return (torch.zeros_like(result[0]), *result[1:]) if func is FORWARD else result

    with Zeros(), torch.no_grad():
        assert not rnn.LSTM(I, H)(torch.randn(T, B, I))[0].any()


def test_a_mode_for_functions_sees_a_call() -> None:
    class Names(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    seen: list[Any] = []
    with Names(), torch.no_grad():
        rnn.GRU(I, H)(torch.randn(T, B, I))
    assert any(func in (FORWARD, torch.ops.rnnkernels.forward) for func in seen)


def test_a_penalty_on_gradients_under_a_mode() -> None:
    layer = rnn.GRU(I, H)
    x = torch.randn(T, B, I, requires_grad=True)
    found = []
    for watched in (False, True):
        with Record() if watched else torch.enable_grad():
            (first,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
            found.append(torch.autograd.grad(first.square().sum(), list(layer.parameters())))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


# ---- counted -----------------------------------------------------------------------------------------


def flops(function: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    total: int = counter.get_total_flops()
    return total


@pytest.mark.parametrize("name", [*LAYERS, "LSTM-projected"])
def test_operations_are_counted_as_those_of_pytorch(name: str) -> None:
    arguments = {"num_layers": 2, "bidirectional": True}
    if name == "LSTM-projected":
        arguments["proj_size"] = 3
    theirs, ours = twins(name.partition("-")[0], I, H, **arguments, dtype=torch.float64)  # oneDNN's LSTM has no count
    x = torch.randn(T, B, I, dtype=torch.float64)
    with torch.no_grad():
        expected = flops(lambda: theirs(x))
        assert flops(lambda: ours(x)) == expected > 0
    x.requires_grad_()
    width = 3 if "proj_size" in arguments else H
    states = tuple(torch.zeros(4, B, size, dtype=x.dtype, requires_grad=True) for size in (width, H))
    given = states if name.startswith("LSTM") else states[0]
    trained = [
        flops(lambda layer=layer: sum(leaf.sum() for leaf in leaves(layer(x, given))).backward())
        for layer in (ours, theirs)
    ]
    assert trained == [3 * expected] * 2


@pytest.mark.parametrize("cell", rk.cells())
def test_every_cell_is_counted_as_its_loop_in_pytorch(cell: str) -> None:
    from rnnkernels.torch import loops
    from rnnkernels.torch.spec import make_spec

    info = rk.cell_info(cell)
    layer = rnn.Recurrent(cell, H, H, proj_size=3 if info["projected"] else 0)
    x = torch.randn(T, B, H)
    with torch.no_grad():
        found = flops(lambda: layer(x))
        weights = {name: getattr(layer, attribute) for name, attribute in layer._all_weights[0].items()}
        spec = make_spec(layer._asked(None, None, None), tuple(weights), (False, False, False))
        assert found == flops(lambda: loops.run(spec, x, tuple(weights.values()))) > 0


def test_steps_that_are_not_run_are_not_counted() -> None:
    layer, x = rnn.Recurrent("gru", I, H), torch.randn(T, B, I)
    with torch.no_grad():
        whole = flops(lambda: layer(x))
        assert flops(lambda: layer(x, lengths=LENGTHS)) * T * B == whole * int(LENGTHS.sum())
        tokens = flops(lambda: layer(torch.zeros(T, B, dtype=torch.int64)))
    assert tokens == 2 * T * B * 3 * H * H  # no product with x


def test_what_is_run_again_is_counted_again() -> None:
    x = torch.randn(T, B, I, requires_grad=True)
    kept, less = (
        flops(lambda m=memory: rnn.Recurrent("gru", I, H, memory=m)(x)[0].sum().backward())
        for memory in ("all", "states")
    )
    assert 3 * less == 4 * kept


@pytest.mark.filterwarnings("ignore:Profiler clears events")
def test_a_call_has_a_name_in_the_profiler() -> None:
    layer, x = rnn.GRU(I, H), torch.randn(T, B, I)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        layer(x)[0].sum().backward()
        with torch.no_grad():
            rnn.Recurrent("mgu", I, H)(x)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["rnnkernels.gru"] == counts["rnnkernels.gru backward"] == counts["rnnkernels.mgu"] == 1
