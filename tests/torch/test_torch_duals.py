"""Derivatives that the kernels give by a cell's dual, against the loop of PyTorch's own operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnkernels as rk
from rnnkernels import steps
from rnnkernels._asked import Asked
from rnnkernels.equations.derived import dual_of
from rnnkernels.torch import duals, loops
from rnnkernels.torch.operators import with_tensors
from rnnkernels.torch.spec import Spec, make_spec
from rnnkernels.torch.transforms import DUALS

T, B, H = 5, 3, 4
CELLS = (
    *("rnn_tanh", "rnn_relu", "lstm", "lstm_peephole", "lstm_nig", "lstm_nfg", "lstm_nog", "lstm_niaf", "lstm_noaf"),
    *("lstm_cifg", "gru", "ligru", "janet", "indrnn", "slstm", "slstm_exp"),
)
OPTIONS: dict[str, dict[str, Any]] = {
    "dense": {},
    "all states": {"all_states": True},
    "ragged": {"lengths": torch.tensor([2, 5, 0]), "reverse": True, "all_states": True},
    "resets": {"resets": torch.tensor([[t == 2 and b == 1 for b in range(B)] for t in range(T)])},
    "packed": {"batch_sizes": torch.tensor([3, 2, 2, 1, 1])},
}

Tensors = tuple[torch.Tensor, ...]


def make(cell: str, options: str, *, states: bool = True, tokens: bool = False, bias: bool = True) -> Any:
    """Return a call's spec, its tensors, and gradients of its results and directions like these."""
    torch.manual_seed(0)
    params = rk.init_params(cell, H, H, bias=bias, rng=0, dtype="float64")
    shape = (9, 1, H) if options == "packed" else (T, B, H)
    x = torch.randint(0, H, shape[:2]) if tokens else torch.randn(shape, dtype=torch.float64)
    asked = Asked(cell, **OPTIONS[options])
    count = len(rk.cell_info(cell)["states"])
    reset = states and options == "resets"
    given: list[torch.Tensor] = [x, *map(torch.from_numpy, params.values())]
    given += [torch.rand(B, H, dtype=torch.float64) + 1 for _ in range(count * (states + reset))]
    given += [torch.randn(B, len(params["weight_ih"]), dtype=torch.float64)] if states else []
    spec = make_spec(asked, tuple(params), (states, reset, states))
    results = loops.run(spec, x, tuple(given[1:]))
    return spec, tuple(given), like(results), like(tuple(given)), like(results)


def like(tensors: Tensors) -> Tensors:
    return tuple(torch.randn(t.shape, dtype=torch.float64) for t in tensors)


def compare(spec: Spec, given: Tensors, d_results: Tensors, v: Tensors, v_d: Tensors) -> None:
    for name, arguments in (
        ("forward_derivative", (v,)),
        ("second_derivative", (d_results, v)),
        ("second_derivative", (d_results, (None, *v[1:]))),
        ("forward_second_derivative", (d_results, (*v, *v_d))),
    ):
        found, right = (getattr(module, name)(spec, given, *arguments) for module in (DUALS, loops))
        for one, other in zip(found, right, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def test_which_cells_have_a_dual() -> None:
    """Of two products none has, nor what has more than four states; a dual is on no list."""
    assert {cell for cell in steps.cells() if dual_of(cell)} == set(CELLS)
    assert not [cell for cell in rk.cells() if cell.endswith("'")]


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(cell: str) -> None:
    compare(*make(cell, "all states"))


@pytest.mark.parametrize("options", OPTIONS)
def test_every_option(options: str) -> None:
    for states in (True, False):
        for tokens in (False, True):
            compare(*make("lstm_peephole", options, states=states, tokens=tokens, bias=states))


@pytest.mark.parametrize("cell", ["lstm", "lstm_cifg", "lstm_projected"])
def test_the_loop_holds_a_state(cell: str) -> None:
    """`cell_clip` has no dual; the loop has it in its equations, with the kernels' gradients where it holds."""
    size = H if cell.endswith("projected") else None
    params = rk.init_params(cell, H, H, rng=0, dtype="float64", proj_size=size)
    x, d_output = (torch.randn(T, B, H, dtype=torch.float64) for _ in range(2))
    spec, given = (
        make_spec(Asked(cell, cell_clip=0.05), tuple(params), (False,) * 3),
        map(torch.from_numpy, params.values()),
    )
    tensors = (x, *given)
    assert not duals.serves(spec, tensors)
    run = rk.forward(cell, x.numpy(), params, cell_clip=0.05)
    output, *final = loops.run(spec, x, tensors[1:])
    assert (final[1].abs() == 0.05).any()
    torch.testing.assert_close(output, torch.from_numpy(run.output))
    found = loops.gradient(spec, tensors, (d_output, *[None] * len(final)))
    for one, name in zip(found[1:], params, strict=True):
        torch.testing.assert_close(one, torch.from_numpy(rk.backward(run, d_output.numpy()).params[name]))


def test_a_call_with_its_options_as_tensors_is_the_same() -> None:
    spec = make("gru", "ragged")[0]
    again = with_tensors(spec)
    assert again.lengths.tolist() == [2, 5, 0]
    assert again.reverse


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # of PyTorch's own use of it
def test_the_loop_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = rk.torch.Recurrent("lstm", 3, 4).double()
    x = torch.randn(T, B, 3, dtype=torch.float64, requires_grad=True)

    def refused(*_: Any) -> None:
        raise AssertionError("a loop in Python")

    monkeypatch.setattr(loops, "run", refused)
    (d_x,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    d_x.square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    with torch.autograd.forward_ad.dual_level():
        made = torch.autograd.forward_ad.make_dual(x.detach(), torch.ones_like(x))
        assert torch.autograd.forward_ad.unpack_dual(layer(made)[0]).tangent is not None


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_derivatives_of_gradients_and_of_these(cell: str) -> None:
    layer = rk.torch.Recurrent(cell, 2, 3).double()
    names = [name for name, _ in layer.named_parameters()]

    def output(x: torch.Tensor, *params: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (x,))[0]
        return made

    def gradient(x: torch.Tensor, *params: torch.Tensor) -> Any:
        return torch.autograd.grad(output(x, *params).pow(3).sum(), (x, *params), create_graph=True)

    x = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)
    inputs = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradgradcheck(output, inputs)
    assert torch.autograd.gradgradcheck(gradient, inputs)
