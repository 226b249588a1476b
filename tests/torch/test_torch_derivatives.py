"""Autograd around a layer, `torch.func`, and autocast: as with torch.nn's."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch_compare import CELLS, NAMES, assert_near, attempt, leaves, one_tensor, structure, twins

SIZES = (4, 3, 3, 4, 2)

pytestmark = [  # torch.nn's, and of what it imports for forward mode
    pytest.mark.filterwarnings("ignore:There is a performance drop"),
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
]

each = pytest.mark.parametrize("name", NAMES)


def pair(name: str, dtype: Any = torch.float64, **named: Any) -> tuple[Any, Any, Any]:
    """PyTorch's layer, ours with the same parameters, and an input."""
    torch.manual_seed(1)
    more = {} if name in CELLS else {"num_layers": 2, **named}
    theirs, ours = twins(name, 3, 4, **more, dtype=dtype)
    return theirs, ours, torch.randn(*((3,) if name in CELLS else (4, 3)), 3, dtype=dtype)


def assert_equal(actual: Any, expected: Any, quantity: str = "gradient") -> None:
    """Compare nested results, dicts among them."""
    values = torch.utils._pytree.tree_leaves
    for mine, other in zip(values(actual), values(expected), strict=True):
        assert mine.shape == other.shape
        assert_near(mine, other, quantity, SIZES)


def grads(layer: Any) -> list[Any]:
    return [p.grad for p in layer.parameters()]


# ---- autograd ------------------------------------------------------------------------------------------


@each
def test_gradients_accumulate_and_a_graph_is_kept(name: str) -> None:
    theirs, ours, x = pair(name)
    for layer in (theirs, ours):
        total = one_tensor(layer(x)) + one_tensor(layer(2 * x))
        total.backward(retain_graph=True)
        total.backward()
        one_tensor(layer(x)).backward()
        with pytest.raises(RuntimeError, match="second time"):
            total.backward()
    assert_equal(grads(ours), grads(theirs))


@each
def test_backward_in_eval_mode_and_after_a_change_of_mode(name: str) -> None:
    theirs, ours, x = pair(name)
    for layer in (theirs, ours):
        layer.eval()
        loss = one_tensor(layer(x))
        layer.train()
        loss.backward()
    assert_equal(grads(ours), grads(theirs))


@each
@pytest.mark.parametrize("what", ["weight", "input"])
def test_what_was_changed_in_place_is_found(name: str, what: str) -> None:
    _, ours, x = pair(name)
    x.requires_grad_()
    given = x * 1
    results = ours(given)
    loss = torch.stack([t.sum() for t in leaves(results)]).sum()  # which keeps nothing itself
    with torch.no_grad():
        {"weight": next(ours.parameters()), "input": given}[what].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@each
def test_final_states_may_be_changed_in_place(name: str) -> None:
    """As those of torch.nn's layers: set to zero where an episode ended, say."""
    found = []
    for layer in pair(name)[:2]:
        results = leaves(layer(pair(name)[2]))
        final = results if name in CELLS else results[1:]
        if name == "RNNCell":  # PyTorch's needs what it gave
            continue
        for state in final:
            state[..., 0, :].zero_()
        one_tensor(results).backward()
        found.append(grads(layer))
    assert_equal(found[-1:], found[:1])


@each
def test_saved_tensor_hooks_and_checkpointing(name: str) -> None:
    from torch.utils.checkpoint import checkpoint

    theirs, ours, x = pair(name)
    expected = torch.autograd.grad(one_tensor(theirs(x)), list(theirs.parameters()))
    params = list(ours.parameters())
    packed: list[Any] = []

    def pack(tensor: Any) -> Any:
        packed.append(tensor)
        return tensor.clone()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = one_tensor(ours(x))
    assert_equal(torch.autograd.grad(loss, params), expected)
    assert packed
    with torch.autograd.graph.save_on_cpu():
        loss = one_tensor(ours(x))
    assert_equal(torch.autograd.grad(loss, params), expected)
    for reentrant in (False, True):
        found = []
        for layer in (theirs, ours):
            layer.zero_grad()
            one_tensor(checkpoint(layer, x.clone().requires_grad_(), use_reentrant=reentrant)).backward()
            found.append(grads(layer))
        assert_equal(found[1], found[0])


@each
def test_many_gradients_at_once(name: str) -> None:
    theirs, ours, x = pair(name)
    found = []
    for layer in (theirs, ours):
        given = x.clone().requires_grad_()
        output = leaves(layer(given))[0]
        torch.manual_seed(4)
        several = torch.randn(3, *output.shape, dtype=x.dtype)
        wanted = [given, *layer.parameters()]
        found.append(torch.autograd.grad(output, wanted, several, is_grads_batched=True))
    assert_equal(found[1], found[0])


@each
def test_a_gradient_of_a_gradient(name: str) -> None:
    theirs, ours, x = pair(name)
    found = []
    for layer in (theirs, ours):
        given = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(one_tensor(layer(given)), given, create_graph=True)
        found.append(torch.autograd.grad((first**2).sum(), [given, *layer.parameters()], allow_unused=True))
    assert_equal(found[1], found[0])


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
@each
def test_without_gradients(name: str, guard: Any) -> None:
    theirs, ours, x = pair(name)
    with guard():
        found, expected = ours(x), theirs(x)
    assert structure(found) == structure(expected)
    if guard is torch.inference_mode:
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
            one_tensor(ours(leaves(found)[0][..., :3]))


# ---- torch.func ----------------------------------------------------------------------------------------


@each
def test_functional_transforms(name: str) -> None:
    func = torch.func
    theirs, ours, x = pair(name)
    torch.manual_seed(5)
    several, tangent = torch.randn(2, *x.shape, dtype=x.dtype), torch.randn_like(x)
    params = {k: p.detach() for k, p in ours.named_parameters()}
    halved = {k: p * 0.5 for k, p in params.items()}

    def loss_of(layer: Any) -> Any:
        return lambda params, x: one_tensor(func.functional_call(layer, params, (x,)))

    # torch.nn's have no batching rule: one after another, what vmap does at once.
    loss, expected = loss_of(ours), loss_of(theirs)
    each_gradient = [func.grad(expected)(params, sample) for sample in several]
    jacobian = torch.autograd.functional.jacobian(lambda x: expected(params, x), x)
    one_row = x[..., :1, :]
    for found, known in (
        (func.vmap(loss, (None, 0))(params, several), torch.stack([expected(params, sample) for sample in several])),
        (
            func.vmap(func.grad(loss), (None, 0))(params, several),
            {k: torch.stack([g[k] for g in each_gradient]) for k in params},
        ),
        (
            func.vmap(loss, (0, None))({k: torch.stack([p, halved[k]]) for k, p in params.items()}, x),
            torch.stack([expected(params, x), expected(halved, x)]),
        ),
        (
            func.jvp(lambda x: loss(params, x), (x,), (tangent,)),
            func.jvp(lambda x: expected(params, x), (x,), (tangent,)),
        ),
        (func.jacrev(loss, 1)(params, x), jacobian),
        (func.jacfwd(loss, 1)(params, x), jacobian),
        (
            func.hessian(loss, 1)(params, one_row),
            torch.autograd.functional.hessian(lambda x: expected(params, x), one_row),
        ),
    ):
        assert_equal(found, known)


@each
def test_forward_mode_with_dual_numbers(name: str) -> None:
    import torch.autograd.forward_ad as forward

    theirs, ours, x = pair(name)
    tangents = []
    for layer in (theirs, ours):
        with forward.dual_level():
            output = leaves(layer(forward.make_dual(x, torch.ones_like(x))))
            tangents.append([forward.unpack_dual(t).tangent for t in output])
    assert_equal(tangents[1], tangents[0])


# ---- autocast ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@each
def test_autocast_gives_what_pytorch_gives(name: str, low: Any) -> None:
    """The dtypes of every class, of inputs, states and weights in float32 or half; and near values and gradients."""
    compared = 0
    projections = (0, 2) if name == "LSTM" else (0,)
    forms = ("plain",) if name in CELLS else ("plain", "packed")
    kinds = (torch.float32, low)
    for proj, form, x_dtype, dtype, states, grad in product(projections, forms, kinds, kinds, (None, *kinds), (0, 1)):
        theirs, ours, x = pair(name, torch.float32, **({"proj_size": proj} if proj else {}))
        theirs.to(dtype), ours.to(dtype)
        x = x.to(x_dtype)
        hx = None
        if states is not None:
            rows = (3,) if name in CELLS else (2, 3)
            hx = tuple(torch.randn(*rows, width).to(states) for width in (proj or 4, 4))
            hx = hx if name.startswith("LSTM") else hx[1]
        given = pack_padded_sequence(x, torch.tensor([4, 3, 1])) if form == "packed" else x
        with torch.autocast("cpu", low), torch.set_grad_enabled(bool(grad)):
            expected, failure, _ = attempt(theirs, given, hx)
            found = ours(given, hx)
        if failure is not None:
            assert "primitive" in failure[1]  # float16 is not in every processor's oneDNN
            continue
        for mine, other in zip(leaves(found), leaves(expected), strict=True):
            assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
            assert_near(
                mine.to(low) if low != mine.dtype and mine.is_floating_point() else mine,
                other.to(low) if low != other.dtype and other.is_floating_point() else other,
                "output",
                SIZES,
            )
        if grad:
            one_tensor(found).backward()
            one_tensor(expected).backward()
            for mine, other in zip(grads(ours), grads(theirs), strict=True):
                assert mine.dtype == other.dtype
                assert_near(mine.to(low), other.to(low), "gradient", SIZES)
        compared += 1
    assert compared >= 10


@each
def test_float64_is_left_alone_by_autocast(name: str) -> None:
    theirs, ours, x = pair(name)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(ours(x), theirs(x), "output")
        with pytest.raises((NotImplementedError, RuntimeError)):
            ours(x.bfloat16())
