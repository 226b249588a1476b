"""PyTorch's own database of modules and calls, run over the classes that take the place of its own.

The calls, the references and the wrong calls are PyTorch's (`torch.testing._internal.common_modules`); so are the
checks in kind, those of its test/test_modules.py that concern a layer on the CPU. Where its modules cannot be imported
these tests skip: they are its internals.
"""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence
from torch_compare import NAMES, assert_near, leaves, structure

import rnnkernels.torch as rnn

pytest.importorskip("expecttest")  # PyTorch's tests need it
common = pytest.importorskip("torch.testing._internal.common_modules")

INFOS = {
    info.module_cls.__name__: info for info in common.module_db if info.module_cls.__module__ == "torch.nn.modules.rnn"
}
SIZES = (5, 5, 10, 10, 2)  # no call of the database is larger
LARGE = 9.0  # the largest number in it: a gradient sums what that multiplies, and its errors

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")  # torch.nn's

each = pytest.mark.parametrize("name", NAMES)
floats = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def calls(name: str, dtype: Any, training: bool = True, requires_grad: bool = False) -> Any:
    """Yield PyTorch's layer and ours of the same parameters, and a call's arguments, from the database."""
    torch.manual_seed(0)
    packed = {"with_packed_sequence": True} if name in ("RNN", "GRU") else {}
    info = INFOS[name]
    for case in info.module_inputs_func(info, "cpu", dtype, requires_grad, training, **packed):
        arguments, named = case.constructor_input.args, case.constructor_input.kwargs
        theirs = getattr(torch.nn, name)(*arguments, **named, dtype=dtype).train(training)
        ours = getattr(rnn, name)(*arguments, **named, dtype=dtype).train(training)
        ours.load_state_dict(theirs.state_dict(), strict=True)
        yield theirs, ours, case


def assert_same(actual: Any, expected: Any, quantity: str = "output") -> None:
    assert structure(actual) == structure(expected)
    for mine, other in zip(leaves(actual), leaves(expected), strict=True):
        assert_near(mine, other, quantity, SIZES)


def differentiate(layer: Any, arguments: Any) -> tuple[Any, list[Any]]:
    """Return a call's result, and its gradients for the inputs and the parameters."""
    given = [t for t in leaves(arguments) if t.is_floating_point()]
    for tensor in given:
        tensor.grad = None
    layer.zero_grad()
    result = layer(*arguments)
    outputs = [t for t in leaves(result) if t.is_floating_point()]
    torch.autograd.backward(outputs, [torch.cos(t.detach()) for t in outputs])
    return result, [t.grad for t in (*given, *layer.parameters())]


def test_every_class_is_in_the_database() -> None:
    assert set(NAMES) == set(INFOS)


@each
@floats
@modes
def test_forward(name: str, dtype: Any, training: bool) -> None:
    for theirs, ours, case in calls(name, dtype, training):
        arguments, named = case.forward_input.args, case.forward_input.kwargs
        found = ours(*arguments, **named)
        assert_same(found, theirs(*arguments, **named))
        if not isinstance(arguments[0], PackedSequence):  # the reference takes tensors
            known = case.reference_fn(ours, *arguments, **named)
            for mine, other in zip(leaves(found), leaves(known), strict=True):
                assert_near(mine, other, "output", SIZES)


@each
@floats
def test_gradients(name: str, dtype: Any) -> None:
    for theirs, ours, case in calls(name, dtype, requires_grad=True):
        expected = differentiate(theirs, case.forward_input.args)
        found = differentiate(ours, case.forward_input.args)
        assert_same(found[0], expected[0])
        for mine, other in zip(found[1], expected[1], strict=True):
            assert_near(mine, other, "gradient", SIZES, amplified=LARGE)


@each
def test_the_numerical_derivative_and_that_of_the_derivative(name: str) -> None:
    for k, (_, ours, case) in enumerate(calls(name, torch.float64, requires_grad=True)):
        given = [t for t in leaves(case.forward_input.args) if t.is_floating_point()]
        values = [t.detach().clone().requires_grad_() for t in (*given, *ours.parameters())]

        def run(*tensors: Any, layer: Any = ours, arguments: Any = case.forward_input.args) -> Any:
            rest = list(tensors)
            built = replaced(arguments, rest)
            params = dict(zip(dict(layer.named_parameters()), rest, strict=True))
            return tuple(t for t in leaves(torch.func.functional_call(layer, params, built)) if t.is_floating_point())

        if k % 3 == 0:
            assert torch.autograd.gradcheck(run, values, fast_mode=True)
        if k % 7 == 0:
            assert torch.autograd.gradgradcheck(run, values, fast_mode=True)


def replaced(value: Any, tensors: list[Any]) -> Any:
    """`value` with its floating-point tensors taken from the front of `tensors`."""
    if isinstance(value, torch.Tensor):
        return tensors.pop(0) if value.is_floating_point() else value
    if value is None:
        return None
    parts = [replaced(part, tensors) for part in value]
    return PackedSequence(*parts) if isinstance(value, PackedSequence) else tuple(parts)


@each
@floats
def test_inputs_that_are_not_contiguous(name: str, dtype: Any) -> None:
    def spread(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            wide = value.detach().repeat_interleave(2, -1)[..., ::2]
            return wide.requires_grad_() if value.is_floating_point() else value
        return value if isinstance(value, PackedSequence) else tuple(map(spread, value))

    for _, ours, case in calls(name, dtype, requires_grad=True):
        arguments = case.forward_input.args
        expected = differentiate(ours, arguments)
        found = differentiate(ours, spread(arguments))
        for mine, other in zip([*leaves(found[0]), *found[1]], [*leaves(expected[0]), *expected[1]], strict=True):
            assert torch.equal(mine, other)


@each
def test_errors(name: str) -> None:
    info = INFOS[name]
    for wrong in info.module_error_inputs_func(info, "cpu", torch.float32, False, True):
        make, call = wrong.module_error_input.constructor_input, wrong.module_error_input.forward_input
        with pytest.raises(wrong.error_type, match=wrong.error_regex):
            getattr(rnn, name)(*make.args, **make.kwargs)(*call.args, **call.kwargs)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_to_a_dtype_at_birth_and_later(name: str, dtype: Any) -> None:
    for theirs, ours, case in calls(name, torch.float32):
        converted = case.forward_input.args
        converted = replaced(converted, [t.to(dtype) for t in leaves(converted) if t.is_floating_point()])
        found = ours.to(dtype)(*converted)
        assert {p.dtype for p in ours.parameters()} == {dtype}
        assert_same(found, theirs.to(dtype)(*converted))
        named = case.constructor_input.kwargs
        born = getattr(rnn, name)(*case.constructor_input.args, **named, dtype=dtype, device="cpu")
        assert {(p.dtype, p.device.type) for p in born.parameters()} == {(dtype, "cpu")}


@each
def test_repr_pickle_copy_and_state(name: str) -> None:
    for theirs, ours, case in calls(name, torch.float64):
        expected = ours(*case.forward_input.args)
        assert (repr(ours), str(ours)) == (repr(theirs), str(theirs))
        with io.BytesIO() as file:
            torch.save(ours, file)
            file.seek(0)
            loaded = torch.load(file, weights_only=False)
        for twin in (pickle.loads(pickle.dumps(ours)), copy.deepcopy(ours), copy.copy(ours), loaded):
            assert type(twin) is type(ours)
            found = twin(*case.forward_input.args)
            assert all(torch.equal(a, b) for a, b in zip(leaves(found), leaves(expected), strict=True))
        assert list(theirs.state_dict()) == list(ours.state_dict())
        theirs.load_state_dict(ours.state_dict(), strict=True)


@each
def test_meta_and_to_empty(name: str) -> None:
    for _, ours, case in calls(name, torch.float32):
        expected = ours(*case.forward_input.args)
        if isinstance(case.forward_input.args[0], PackedSequence):
            continue
        born = getattr(rnn, name)(*case.constructor_input.args, **case.constructor_input.kwargs, device="meta")
        shapes = born(*replaced(case.forward_input.args, [t.to("meta") for t in leaves(case.forward_input.args)]))
        assert [t.shape for t in leaves(shapes)] == [t.shape for t in leaves(expected)]
        assert all(t.is_meta for t in leaves(shapes))
        filled = born.to_empty(device="cpu")
        filled.load_state_dict(ours.state_dict())
        found = filled(*case.forward_input.args)
        assert all(torch.equal(a, b) for a, b in zip(leaves(found), leaves(expected), strict=True))
