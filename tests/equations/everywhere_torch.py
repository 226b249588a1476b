"""A cell from equations in `rnnkernels.torch`: run by test_everywhere.py.

The kernels are compared with autograd through the equations in PyTorch's operations, which is what second derivatives
are made of, and with the built-in cell of the same equations.
"""

from __future__ import annotations

import copy
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_layers import CELLS as OWN
from own_layers import B, H, I, T, decayed, headed, keeper, numbers
from processes import python

import rnnkernels as rk
from rnnkernels.equations.derived import LinearCell, Variant, derived
from rnnkernels.noise import Drawn
from tests.equations.builtin import CELLS

torch = pytest.importorskip("torch")
rnn = pytest.importorskip("rnnkernels.torch")

from call_derivatives import compare, make  # noqa: E402 - it needs torch

F64 = torch.float64
SAME = ("lstm", "gru", "gru_reset_before", "lstm_peephole", "mut2", "mut3", "indrnn", "slstm", "lstm_fgr")
D, L = 3, 4  # features and places of attention
CLOSE: dict[Any, Any] = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}, F64: {"rtol": 1e-10, "atol": 1e-12}}

pytestmark = [  # of PyTorch's own
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

each_own = pytest.mark.parametrize("cell", OWN)


def layer_of(cell: str, dtype: Any = F64, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    inputs = H if rk.cell_info(cell)["direct"] else I
    return rnn.Recurrent(cell, inputs, H, dtype=dtype, **options)


def input_of(cell: str, dtype: Any = F64) -> Any:
    inputs = H if rk.cell_info(cell)["direct"] else I
    return torch.from_numpy(numbers(cell, "float64", inputs)[0]).to(dtype)


def twins(cell: str, dtype: Any = F64, **options: Any) -> tuple[Any, Any]:
    """Return layers of the built-in cell and of its equations, of the same parameters."""
    right, found = layer_of(cell, dtype, **options), layer_of(CELLS[cell], dtype, **options)
    found.load_state_dict(right.state_dict())
    return right, found


def grads_of(layer: Any, x: Any, **options: Any) -> tuple[Any, list[Any]]:
    output = layer(x, **options)[0]
    weight = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return output, torch.autograd.grad((output * weight).sum(), [x, *layer.parameters()])


def second_of(layer: Any, x: Any, **options: Any) -> Any:
    """Return gradients of a function of the gradients."""
    output, state = layer(x, **options)[:2]
    first = state if isinstance(state, torch.Tensor) else state[-1]
    wanted = [x, *layer.parameters()]
    grads = torch.autograd.grad((output**2).sum() + first.sin().sum(), wanted, create_graph=True)
    return torch.autograd.grad(sum(grad.sin().sum() for grad in grads), wanted)


def assert_near(found: Any, wanted: Any, dtype: Any = F64) -> None:
    for k, (one, other) in enumerate(zip(found, wanted, strict=True)):
        torch.testing.assert_close(one, other, **CLOSE[dtype], msg=lambda text, k=k: f"{k}: {text}")


# ---- derivatives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"memory": "states"}], ids=str)
@pytest.mark.parametrize("cell", SAME)
def test_gradients(cell: str, options: dict[str, Any], dtype: Any) -> None:
    if rk.cell_info(cell)["direct"]:
        options = {**options, "bidirectional": False}
    right, found = twins(cell, dtype, **options)
    x = input_of(cell, dtype).requires_grad_()
    (output, wanted), (same, grads) = grads_of(right, x), grads_of(found, x)
    assert torch.equal(output, same)
    assert_near(grads, wanted, dtype)


@each_own
def test_gradients_are_those_of_a_loop_of_pytorch(cell: str) -> None:
    from rnnkernels._asked import Asked
    from rnnkernels.torch import loops
    from rnnkernels.torch.spec import make_spec

    layer, x = layer_of(cell), input_of(cell).requires_grad_()
    names = tuple(name.removesuffix("_l0") for name, _ in layer.named_parameters())
    spec = make_spec(Asked(cell[:]), names, (False, False, False))
    output, grads = grads_of(layer, x)
    looped = loops.run(spec, x, tuple(layer.parameters()))[0]
    torch.testing.assert_close(looped, output, **CLOSE[F64])
    weight = torch.linspace(-1, 1, output.numel(), dtype=F64).view_as(output)
    assert_near(torch.autograd.grad((looped * weight).sum(), [x, *layer.parameters()]), grads)


@pytest.mark.parametrize("cell", SAME)
def test_second_derivatives(cell: str) -> None:
    right, found = twins(cell)
    x = input_of(cell).requires_grad_()
    assert_near(second_of(found, x), second_of(right, x))
    lengths = torch.tensor([T, 2, 1])
    assert_near(second_of(found, x, lengths=lengths), second_of(right, x, lengths=lengths))


@each_own
def test_second_derivatives_are_slopes_of_the_gradients(cell: str) -> None:
    layer, x = layer_of(cell), input_of(cell)[:2, :2].requires_grad_()
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x: Any, *parameters: Any) -> Any:
        output, _ = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)
        return output

    assert torch.autograd.gradcheck(run, (x, *parameters))
    assert torch.autograd.gradgradcheck(run, (x, *parameters), nondet_tol=1e-12)


@rk.cell
def written_down(x: Any, h: Any, c: Any, w: Any, gamma: rk.PerStep) -> Any:
    """Two products and one of what is fed back, weights, x itself, inputs of every step."""
    i = rk.sigmoid(x.i + rk.product(gamma * h).i + w.i * c)
    g = rk.tanh(rk.product(i * h).g + w.g * rk.direct(x))
    d = gamma * c + i * g
    return i * rk.tanh(d), d


@rk.cell
def two_heads(x: Any, h: Any) -> Any:
    u = rk.product(h, heads=2)
    r = rk.sigmoid(x.r + u.r)
    return rk.sigmoid(x.z + u.z) * h + rk.tanh(x.n + rk.product(r * h, heads=2).n)


@rk.cell
def five_states(x: Any, h: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """One product, and more states than a dual has room for."""
    u = rk.product(h)
    n = rk.tanh(x.n + u.n)
    return rk.sigmoid(x.o + u.o) * a, 0.5 * b + n, 0.5 * c + n, 0.5 * d + n, 0.5 * h + n


MORE = (written_down, two_heads, five_states)


@pytest.mark.parametrize("options", ["dense", "ragged", "resets", "packed, reversed"])
@pytest.mark.parametrize("cell", MORE, ids=str.__str__)
def test_cells_without_a_dual_have_a_linear_cell(cell: str, options: str) -> None:
    """Of any form and of many states; the derivatives are those of a loop."""
    assert isinstance(derived(Variant(cell)), LinearCell)
    for states in (True, False):
        compare(*make(cell, options, states=states, bias=states, inputs=3))


def test_a_linear_cell_and_the_shapes_of_a_call() -> None:
    for shape in ((0, 2, 2), (2, 0, 2), (1, 1, 1), (3, 1, 18)):
        compare(*make(written_down, "dense", shape=shape))
    rates = Drawn(torch.tensor(0), expected=True, zoneout=(0.2, 0.4))
    compare(*make(written_down, "ragged", noise=rates))


@rk.cell
def ten_gates(x: Any, h: Any) -> Any:
    """Its dual has 30 gates, its linear cell 12 inputs of every step."""
    u = rk.product(h)
    return rk.tanh(sum(getattr(x, f"g{k}") * getattr(u, f"g{k}") for k in range(10)))


@rk.cell
def long_chain(x: Any, h: Any) -> Any:
    """It keeps more than 32 values."""
    n = x.n + rk.product(h).n
    for k in range(40):
        n = rk.tanh(1.25 * n + 0.01 * k)
    return n


@pytest.mark.parametrize(
    ("cell", "limit"),
    [(ten_gates, "expected at most 16 gates, got 30"), (long_chain, r"expected at most 64 values kept .*, got \d+")],
)
def test_a_cell_that_is_too_large_for_a_dual_says_so_once(cell: str, limit: str) -> None:
    layer, x = layer_of(cell), input_of(cell)[:2, :2].requires_grad_()
    with pytest.warns(UserWarning, match=rf"^{cell:s}: its second derivatives .* no room for .*: {limit}$"):
        second_of(layer, x)
    second_of(layer, x)  # warnings are errors here
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,), nondet_tol=1e-12)


@rk.cell
def kinks(x: Any, h: Any) -> Any:
    """At x = 0 and h = 0 every function stands at its kink."""
    larger, smaller = rk.maximum(x.a, x.b), rk.minimum(x.a, x.b)
    clipped = rk.clip(x.a, 0.0, 1.0) + rk.hard_sigmoid(x.b, 1.0, 0.0)
    chosen = rk.where(x.a >= x.b, 2.0 * x.a, 3.0 * x.b)
    return larger + 2.0 * smaller + rk.abs(x.a) + rk.relu(x.b) + clipped + chosen + rk.product(h).a


def test_kinks_are_those_of_the_kernels() -> None:
    from rnnkernels._asked import Asked
    from rnnkernels.torch import loops
    from rnnkernels.torch.spec import make_spec

    layer = rnn.Recurrent(kinks, I, H, dtype=F64)
    with torch.no_grad():
        layer.bias_ih_l0.zero_()
        layer.bias_hh_l0.zero_()
    x = torch.zeros(2, B, I, dtype=F64, requires_grad=True)
    names = tuple(name.removesuffix("_l0") for name, _ in layer.named_parameters())
    spec = make_spec(Asked(kinks[:]), names, (False, False, False))
    looped = loops.run(spec, x, tuple(layer.parameters()))[0]
    wanted = [x, *layer.parameters()]
    found = torch.autograd.grad(layer(x)[0].sum(), wanted)
    assert any(grad.any() for grad in found)
    assert_near(torch.autograd.grad(looped.sum(), wanted), found)


@each_own
def test_transforms(cell: str) -> None:
    layer, x = layer_of(cell), input_of(cell)

    def run(x: Any) -> Any:
        return layer(x)[0].sum(dim=(0, 1))  # (H,)

    reverse, forward = torch.func.jacrev(run)(x), torch.func.jacfwd(run)(x)
    torch.testing.assert_close(reverse, forward, **CLOSE[F64])
    tangent = torch.randn_like(x)
    value, pushed = torch.func.jvp(run, (x,), (tangent,))
    torch.testing.assert_close(value, run(x), **CLOSE[F64])
    torch.testing.assert_close(pushed, torch.einsum("htbi,tbi->h", reverse, tangent), **CLOSE[F64])
    many = torch.stack([x, 2 * x])
    batched = torch.func.vmap(lambda x: layer(x)[0])(many)
    for one, each in zip(batched, many, strict=True):
        torch.testing.assert_close(one, layer(each)[0], **CLOSE[F64])
    each_grad = torch.func.vmap(torch.func.grad(lambda x: layer(x)[0].sum()))(many)
    torch.testing.assert_close(each_grad[1], torch.func.grad(lambda x: layer(x)[0].sum())(many[1]), **CLOSE[F64])


@each_own
def test_one_step(cell: str) -> None:
    torch.manual_seed(0)
    step = rnn.RecurrentCell(cell, I, H, dtype=F64)
    layer = layer_of(cell)
    layer.load_state_dict({f"{name}_l0": value for name, value in step.state_dict().items()})
    x = input_of(cell).requires_grad_()
    output, wanted = grads_of(layer, x)
    state = None
    outputs = []
    for x_t in x:
        state = step(x_t, state)
        outputs.append(state if isinstance(state, torch.Tensor) else state[0])
    assert torch.equal(torch.stack(outputs), output)
    weight = torch.linspace(-1, 1, output.numel(), dtype=F64).view_as(output)
    grads = torch.autograd.grad((torch.stack(outputs) * weight).sum(), [x, *step.parameters()])
    assert_near(grads, wanted)
    first = x[0].detach().requires_grad_()

    def run(x: Any) -> Any:
        state = step(x)
        return state if isinstance(state, torch.Tensor) else state[0]

    assert torch.autograd.gradgradcheck(run, (first,), nondet_tol=1e-12)


# ---- attention -----------------------------------------------------------------------------------


def attending(cell: str, **options: Any) -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    layer = rnn.AttentionRecurrent(cell, 2, D, H, attention_size=5, dtype=F64, **options)
    generator = torch.Generator().manual_seed(1)
    x, features = (torch.randn(shape, generator=generator, dtype=F64) for shape in ((T, B, 2), (B, L, D)))
    return layer, x.requires_grad_(), features.requires_grad_()


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_peephole"])
def test_attention(cell: str) -> None:
    right, x, features = attending(cell)
    found, _, _ = attending(CELLS[cell])
    found.load_state_dict(right.state_dict())
    results = []
    for layer in (right, found):
        output = layer(x, features)[0]
        wanted = [x, features, *layer.parameters()]
        grads = torch.autograd.grad((output**2).sum(), wanted, create_graph=True)
        results.append((output, grads, torch.autograd.grad(sum(g.sin().sum() for g in grads), wanted)))
    assert torch.equal(results[1][0], results[0][0])
    assert_near(results[1][1], results[0][1])
    assert_near(results[1][2], results[0][2])


@pytest.mark.parametrize("cell", [keeper, decayed, headed])
def test_attention_of_a_cell_that_has_no_peer(cell: str) -> None:
    layer, x, features = attending(cell)
    more = torch.randn(2, B, len(rk.cell_info(cell)["elements"]) * H, dtype=F64)
    x = torch.cat([x.detach()[:2], more], 2)[:, :2].requires_grad_()
    features = features.detach()[:2].requires_grad_()

    def run(x: Any, features: Any) -> Any:
        return layer(x, features)[0]

    assert torch.autograd.gradcheck(run, (x, features))
    assert torch.autograd.gradgradcheck(run, (x, features), nondet_tol=1e-12)


# ---- modules -------------------------------------------------------------------------------------


def test_cell_clip_is_an_argument() -> None:
    right, found = twins("lstm", cell_clip=0.2)
    assert found.cell == "lstm_by_equations(cell_clip=0.2)"
    x = input_of("lstm").requires_grad_()
    (output, wanted), (same, grads) = grads_of(right, x), grads_of(found, x)
    assert torch.equal(output, same)
    assert_near(grads, wanted)
    assert_near(second_of(found, x), second_of(right, x))
    step = rnn.RecurrentCell(CELLS["lstm"], I, H, cell_clip=0.2)
    assert step.cell == found.cell
    assert rnn.AttentionRecurrent(CELLS["lstm"], 2, D, H, attention_size=5, cell_clip=0.2).cell == found.cell
    with pytest.raises(ValueError, match=r"^cell_clip: expected a number above 0, .*; got 1.0 for gru_by_equations"):
        rnn.Recurrent(CELLS["gru"], I, H, cell_clip=1.0)
    with pytest.raises(ValueError, match=r"^cell_clip: expected a number above 0"):
        rnn.Recurrent(CELLS["lstm"], I, H, cell_clip=-1.0)


@each_own
def test_copies_and_files(cell: str) -> None:
    layer, x = layer_of(cell, torch.float32), input_of(cell, torch.float32)
    output = layer(x)[0]
    assert torch.equal(copy.deepcopy(layer)(x)[0], output)
    other = layer_of(cell, torch.float32, seed=1)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x)[0], output)
    whole = io.BytesIO()
    torch.save(layer, whole)
    whole.seek(0)
    assert torch.equal(torch.load(whole, weights_only=False)(x)[0], output)
    assert f"<cell {cell:s}>, {I}, {H}" in repr(layer)


def test_files_are_read_where_the_functions_are_not(tmp_path: Path) -> None:
    path = tmp_path / "layers.pt"
    stored = []
    for cell in OWN:
        layer, x = layer_of(cell, torch.float32), input_of(cell, torch.float32)
        stored.append((layer, x, layer(x)[0].detach()))
    torch.save(stored, path)
    code = """
import sys, torch
import rnnkernels as rk
for layer, x, output in torch.load(sys.argv[1], weights_only=False):
    assert torch.equal(layer(x)[0], output)
    assert layer.cell in rk.cells()
"""
    done = python(code, str(path))
    assert done.returncode == 0, done.stderr


@each_own
def test_compile_and_export(cell: str) -> None:
    layer, x = layer_of(cell, torch.float32), input_of(cell, torch.float32)
    output = layer(x)[0]
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    given = x.clone().requires_grad_()
    same, grads = grads_of(compiled, given)
    assert torch.equal(same, output)
    assert_near(grads, grads_of(layer, given)[1], torch.float32)
    exported = torch.export.export(layer, (x,))
    stored = io.BytesIO()
    torch.export.save(exported, stored)
    stored.seek(0)
    assert torch.equal(torch.export.load(stored).module()(x)[0], output)


@each_own
def test_autocast(cell: str) -> None:
    layer, x = layer_of(cell, torch.float32), input_of(cell, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(x)[0]
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), layer(x)[0], rtol=0.05, atol=0.05)
    assert rnn.Recurrent(cell, I, H, dtype=torch.bfloat16)(x.bfloat16())[0].dtype == torch.bfloat16


def test_masks_have_first_derivatives_alone() -> None:
    layer = layer_of(keeper, recurrent_dropout=0.3, zoneout=0.2)
    x = input_of(keeper).requires_grad_()

    def run() -> Any:
        torch.manual_seed(5)
        return layer(x)[0]

    output = run()
    grads = torch.autograd.grad(output.sum(), x)[0]
    at = (1, 1, 2)
    with torch.no_grad():
        x[at] += 1e-6
        above = run().sum()
        x[at] -= 2e-6
        slope = (above - run().sum()) / 2e-6
        x[at] += 1e-6
    torch.testing.assert_close(grads[at], slope, rtol=1e-6, atol=1e-8)
    with pytest.raises(NotImplementedError, match=r"a run with masks .* first derivatives alone"):
        torch.autograd.grad(torch.autograd.grad(run().sum(), x, create_graph=True)[0].sum(), x)


def test_a_packed_batch() -> None:
    layer, x = layer_of(keeper), input_of(keeper).requires_grad_()
    lengths = torch.tensor([T, 3, 1])
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths)
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(layer(packed)[0])
    assert torch.equal(output, layer(x, lengths=lengths)[0])
    first = torch.autograd.grad((output**2).sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(first.sin().sum(), x)[0]
    again = torch.autograd.grad((layer(x, lengths=lengths)[0] ** 2).sum(), x, create_graph=True)[0]
    assert_near([second], [torch.autograd.grad(again.sin().sum(), x)[0]])


def test_halves_of_a_step_input_are_refused_where_a_layer_stands_on_another() -> None:
    with pytest.raises(ValueError, match=r"^num_layers: expected 1, as decayed reads gamma, p beside"):
        rnn.Recurrent(decayed, I, H, num_layers=2)


def test_results_are_numpys() -> None:
    for cell in OWN:
        x, params, _ = numbers(cell, "float32")
        layer = layer_of(cell, torch.float32)
        layer.load_state_dict({f"{name}_l0": torch.from_numpy(value) for name, value in params.items()})
        np.testing.assert_array_equal(
            layer(torch.from_numpy(x))[0].detach().numpy(), rk.forward(cell, x, params).output
        )


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_onnx_has_no_node() -> None:
    pytest.importorskip("onnxscript")
    layer, x = layer_of(keeper, torch.float32).eval(), input_of(keeper, torch.float32)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of PyTorch's exporter, which hides the cause
        torch.onnx.export(layer, (x,), dynamo=True, verbose=False)
    told: Any = caught.value
    while told.__cause__ is not None:
        told = told.__cause__
    assert "expected a cell that ONNX has an operator for" in str(told)
    assert "got keeper, which torch.export takes" in str(told)


# ---- several processes ---------------------------------------------------------------------------

_RANK = """
import copy, sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[3])
import own_layers
from own_layers import B, H, I, T, keeper, numbers
import rnnkernels.torch as rnn
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
torch.manual_seed(0)
layer = rnn.Recurrent(keeper, I, H, dtype=torch.float64)
alone = copy.deepcopy(layer)
shared = torch.nn.parallel.DistributedDataParallel(layer)
x = torch.from_numpy(numbers(keeper)[0])
both = torch.cat([x, 2 * x], 1)
(shared(both[:, rank * B : (rank + 1) * B])[0] ** 2).mean().backward()
found = [p.grad.clone() for p in layer.parameters()]
(alone(both)[0] ** 2).mean().backward()
for one, p in zip(found, alone.parameters()):
    torch.testing.assert_close(one, p.grad)
dist.destroy_process_group()
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not torch.distributed.is_gloo_available(),
    reason="needs gloo over a loopback interface called lo",
)
def test_data_parallel_processes(tmp_path: Path) -> None:
    support = Path(__file__).parents[1] / "support"
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK, str(rank), str(tmp_path / "meet"), str(support)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ended = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [code for _, code in ended] == [0, 0], ended
