"""Derivatives that the kernels give by a cell's dual, against the loop of PyTorch's own operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from call_derivatives import OPTIONS, B, H, T, compare, make

import rnnkernels as rk
from rnnkernels import steps
from rnnkernels._asked import Asked
from rnnkernels.equations.derived import dual_of
from rnnkernels.torch import loops
from rnnkernels.torch.operators import with_tensors
from rnnkernels.torch.spec import make_spec

CELLS = (
    *("rnn_tanh", "rnn_relu", "lstm", "lstm_peephole", "lstm_nig", "lstm_nfg", "lstm_nog", "lstm_niaf", "lstm_noaf"),
    *("lstm_cifg", "gru", "ligru", "janet", "indrnn", "slstm", "slstm_exp"),
)


def test_which_cells_have_a_dual() -> None:
    """Of two products none has, nor what has more than four states: these have a linear cell. Neither is on a list."""
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
    """A loop has `cell_clip` in its equations, with the kernels' gradients where it holds."""
    size = H if cell.endswith("projected") else None
    params = rk.init_params(cell, H, H, rng=0, dtype="float64", proj_size=size)
    x, d_output = (torch.randn(T, B, H, dtype=torch.float64) for _ in range(2))
    spec, given = (
        make_spec(Asked(cell, cell_clip=0.05), tuple(params), (False,) * 3),
        map(torch.from_numpy, params.values()),
    )
    tensors = (x, *given)
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
