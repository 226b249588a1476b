"""Derivatives that the kernels give by a cell's linear cell, or by equations of what a call asks of its steps.

Compared with the loop of PyTorch's own operations, and with slopes.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from call_derivatives import OPTIONS, B, H, T, compare, make

import rnnkernels as rk
import rnnkernels.torch
from rnnkernels import steps
from rnnkernels.equations.derived import LinearCell, Variant, derived, dual_of
from rnnkernels.noise import Drawn
from rnnkernels.torch import duals, loops

BUILT_IN = ("gru_reset_before", "mut1", "mut1_projected", "mut2", "mut2_projected", "mut3", "mgu", "lstm_fgr")
PROJECTED = ("lstm_projected", "lstm_peephole_projected")
LOOPED = ("lstm_layer_norm", "gru_layer_norm")
SHAPES = [(0, 2, 3), (2, 0, 3), (1, 1, 1), (3, 1, 2), (1, 2, 19)]

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")  # of PyTorch's own use of it


def test_what_derives_which_cell() -> None:
    for cell in BUILT_IN:
        assert isinstance(derived(Variant(cell)), LinearCell)
        assert dual_of(cell) is None
    for cell in LOOPED:
        assert derived(Variant(cell)) is None
    assert {*BUILT_IN, *PROJECTED, *LOOPED} == {cell for cell in steps.cells() if not dual_of(cell)}
    assert not [cell for cell in rk.cells() if cell.endswith("'")]


def test_a_linear_cell_is_derived_by_itself() -> None:
    first = derived(Variant("mut3"))
    assert isinstance(first, LinearCell)
    again = derived(Variant(first.cell[:]))
    assert isinstance(again, LinearCell)
    assert again.cell is first.cell


@pytest.mark.parametrize("cell", [*BUILT_IN, *PROJECTED])
def test_every_cell(cell: str) -> None:
    size: dict[str, Any] = {"proj_size": 2} if cell in PROJECTED else {}
    compare(*make(cell, "ragged", **size))
    compare(*make(cell, "dense", states=False, bias=False, inputs=3, **size))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cell", ["gru_reset_before", "lstm_fgr", "lstm_projected"])
def test_every_option(cell: str, options: str) -> None:
    for states in (False, True):
        compare(*make(cell, options, states=states, inputs=3))


@pytest.mark.parametrize("options", ["ragged", "resets", "packed"])
@pytest.mark.parametrize("cell", ["mut3", "lstm_peephole_projected"])
def test_tokens(cell: str, options: str) -> None:
    for states in (False, True):
        compare(*make(cell, options, tokens=True, states=states, inputs=3))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("cell", ["gru_reset_before", "mgu", "lstm_fgr", "lstm_projected"])
def test_shapes(cell: str, shape: tuple[int, int, int]) -> None:
    for states in (False, True):
        compare(*make(cell, "dense", shape=shape, inputs=2, states=states))


@pytest.mark.parametrize("options", ["ragged", "resets"])
@pytest.mark.parametrize("cell", ["lstm", "lstm_cifg", "lstm_fgr", "lstm_projected"])
def test_a_state_that_is_held(cell: str, options: str) -> None:
    compare(*make(cell, options, cell_clip=0.2))


@pytest.mark.parametrize("options", ["ragged", "packed"])
@pytest.mark.parametrize(
    ("cell", "zoneout"),
    [
        ("lstm", (0.3, 0.1)),
        ("gru", (0.25,)),
        ("mut3", (0.25,)),
        ("lstm_projected", (0.0, 0.4)),
        ("slstm", (0.2, 0, 0, 0)),
    ],
)
def test_masks_that_are_expected(cell: str, zoneout: tuple[float, ...], options: str) -> None:
    noise = Drawn(torch.tensor(0), expected=True, zoneout=zoneout, recurrent_dropout=0.3, weight_dropout=0.1)
    spec, *rest = make(cell, options, noise=noise)
    compare(spec, *rest)
    drawn = spec._replace(asked=spec.asked._replace(noise=spec.asked.noise._replace(expected=False)))
    assert not duals.serves(drawn, rest[0])
    with pytest.raises(NotImplementedError, match="first derivatives alone"):
        loops.check(drawn)


def test_dropouts_that_are_expected_are_none() -> None:
    noise = Drawn(torch.tensor(0), expected=True, recurrent_dropout=0.3)
    options: tuple[dict[str, Any], ...] = ({"noise": noise}, {})
    found, right = (make("gru", "dense", **more) for more in options)
    compare(*found)
    for one, other in zip(duals_of(*found), duals_of(*right), strict=True):
        assert torch.equal(one, other)


def duals_of(spec: Any, given: Any, d_results: Any, v: Any, _: Any) -> Any:
    from rnnkernels.torch.transforms import DUALS

    return DUALS.second_derivative(spec, given, d_results, v)


@pytest.mark.parametrize("cell", LOOPED)
def test_a_loop_mixes_states_as_the_kernels_do(cell: str) -> None:
    """Where masks are expected, of a cell that has nothing but the loop."""
    torch.manual_seed(0)
    layer = rk.torch.Recurrent(cell, 3, H, zoneout=0.3, dtype=torch.float64).eval()
    x = torch.randn(T, B, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,), fast_mode=True)


LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    **{cell: (cell, {}) for cell in BUILT_IN},
    "held": ("lstm_peephole", {"cell_clip": 0.2}),
    "expected": ("gru", {"zoneout": 0.2}),
    "projected": ("lstm_projected", {"proj_size": 2}),
}


def layer_of(name: str, inputs: int = 3, hidden: int = 4) -> Any:
    torch.manual_seed(0)
    cell, options = LAYERS[name]
    inputs = hidden if rk.cell_info(cell)["direct"] else inputs
    return rk.torch.Recurrent(cell, inputs, hidden, dtype=torch.float64, **options).eval()


@pytest.mark.parametrize("name", ["gru_reset_before", "mut1", "mut3", "mgu", "lstm_fgr", *list(LAYERS)[-3:]])
def test_slopes(name: str) -> None:
    """Of the gradients, and of the derivatives of these, in all parameters."""
    layer = layer_of(name, 2, 2)
    names = [each for each, _ in layer.named_parameters()]

    def output(x: torch.Tensor, *params: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (x,))[0]
        return made

    def gradient(x: torch.Tensor, *params: torch.Tensor) -> Any:
        return torch.autograd.grad(output(x, *params).pow(3).sum(), (x, *params), create_graph=True)

    x = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)
    inputs = (x, *(p.detach().requires_grad_() for p in layer.parameters()))
    assert torch.autograd.gradgradcheck(output, inputs, fast_mode=True, nondet_tol=1e-12)
    assert torch.autograd.gradgradcheck(gradient, inputs, fast_mode=True, nondet_tol=1e-12)
    assert torch.autograd.gradcheck(output, inputs, check_forward_ad=True, fast_mode=True, nondet_tol=1e-12)


@pytest.mark.parametrize("name", LAYERS)
def test_the_loop_is_not_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of(name)
    x = torch.randn(T, B, layer.input_size, dtype=torch.float64, requires_grad=True)

    def refused(*_: Any) -> None:
        raise AssertionError("a loop in Python")

    monkeypatch.setattr(loops, "run", refused)
    (d_x,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
    (dd_x,) = torch.autograd.grad(d_x.square().sum(), x, create_graph=True)
    assert dd_x.abs().sum() > 0
    if name in ("gru_reset_before", "mut1", "mut2", "mut3", "mgu"):  # of any order
        (ddd_x,) = torch.autograd.grad(dd_x.square().sum(), x, create_graph=True)
        assert ddd_x.abs().sum() > 0
        assert torch.autograd.grad(ddd_x.square().sum(), x)[0].abs().sum() > 0
    with torch.autograd.forward_ad.dual_level():
        made = torch.autograd.forward_ad.make_dual(x.detach(), torch.ones_like(x))
        assert torch.autograd.forward_ad.unpack_dual(layer(made)[0]).tangent is not None


@pytest.mark.parametrize("name", ["gru_reset_before", "mgu", "projected", "held", "expected"])
def test_transforms(name: str) -> None:
    """`hessian` is forward mode over reverse mode, mapped."""
    layer = layer_of(name)
    x, v = (torch.randn(3, 2, layer.input_size, dtype=torch.float64) for _ in range(2))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return layer(x)[0].pow(3).sum()

    def slope(x: torch.Tensor) -> torch.Tensor:
        return torch.func.jvp(loss, (x,), (v,))[1]

    hessian = torch.func.hessian(loss)(x)
    by_rows = torch.autograd.functional.hessian(loss, x)
    torch.testing.assert_close(hessian, by_rows, rtol=1e-9, atol=1e-11)
    along = torch.einsum("abcdef,abc->def", hessian, v)
    torch.testing.assert_close(torch.func.grad(slope)(x), along, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(slope))(x[None])[0], along, rtol=1e-9, atol=1e-11)
    with pytest.raises(NotImplementedError, match=r"forward mode of forward mode .* jacfwd\(jacrev"):
        torch.func.jvp(slope, (x,), (v,))


def test_a_row_that_is_not_run_reaches_nothing() -> None:
    """NaN beyond a row's last step stays there."""
    layer = layer_of("gru_reset_before")
    x = torch.randn(T, B, 3, dtype=torch.float64)
    x[2:, 0] = torch.nan
    x.requires_grad_()
    output = layer(x, lengths=torch.tensor([2, T, 3]))[0]
    (first,) = torch.autograd.grad(output.square().sum(), x, create_graph=True)
    second = torch.autograd.grad(first[:, :, 0].square().sum(), [x, *layer.parameters()])
    assert all(t.isfinite().all() for t in second)
