"""`AttentionRecurrent` on tensors of a GPU, emulated, against the loop in PyTorch's operations, which no kernel runs.

What the layer does on the CPU: tests/torch/test_torch_attention*.py. The numbers of the kernels behind it, for every
cell: tests/kernels/test_attention.py, which the emulated backend runs, too.
"""

from __future__ import annotations

from typing import Any

import pytest

FORMS: dict[str, dict[str, Any]] = {
    "additive": {},
    "gated": {"gated": True, "attention_size": 7},
    "location": {"location": (1, 3), "attention_size": 2},
    "location-sums": {"location": (2, 5), "gated": True},
    "bilinear": {"scores": "bilinear"},
    "dot": {"scores": "dot", "attention_size": 6, "bias": False},
}
T, B, I, D, H, L = 5, 3, 2, 3, 5, 4  # noqa: E741
RAGGED = [2, T, 0]


@pytest.fixture
def torch(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch, with tensors of the CPU in a GPU's place: halves go to the kernels as they are."""
    from rnnkernels.torch import attention

    monkeypatch.setattr(attention, "_widened", lambda _: False)
    monkeypatch.setattr(attention, "_waited_for", lambda _: True)
    return tensors


def make(torch: Any, cell: str = "lstm", dtype: str = "float64", **options: Any) -> Any:
    import rnnkernels.torch as rnn

    torch.manual_seed(0)
    layer = rnn.AttentionRecurrent(cell, I, D, H, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)  # so that weights are not all alike
    return layer.to(getattr(torch, dtype))


def arrays(layer: Any, steps: int = T, batch: int = B, places: int = L) -> dict[str, Any]:
    """What a call is given by name, in the layer's dtype; the first place of each row may be looked at."""
    import torch

    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(layer.weight_ih.dtype)

    mask = torch.rand(batch, places, generator=generator) < 0.7
    mask[:, 0] = True
    states = [tuple(normal(batch, width) for width in layer._widths) for _ in range(2)]
    state, reset = (s if len(s) > 1 else s[0] for s in states)
    resets = torch.rand(steps, batch, generator=generator) < 0.3
    given = {"x": normal(steps, batch, layer.input_size), "features": normal(batch, places, layer.feature_size)}
    return given | {"state": state, "mask": mask, "resets": resets, "reset_state": reset}


def call(layer: Any, given: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Floats that a call gives, and the gradients of a random sum of them in inputs and parameters."""
    import torch

    pytree = torch.utils._pytree
    given = pytree.tree_map_only(torch.Tensor, torch.clone, given)
    inputs = [t for t in pytree.tree_leaves(given) if isinstance(t, torch.Tensor) and t.is_floating_point()]
    for tensor in inputs:
        tensor.requires_grad_()
    output, final, attention = layer(**given)
    results = [r for r in pytree.tree_leaves((output, final, tuple(attention))) if isinstance(r, torch.Tensor)]
    results, drawn = [r for r in results if r.is_floating_point()], [r for r in results if not r.is_floating_point()]
    generator = torch.Generator().manual_seed(4)
    total = sum((r.double() * torch.randn(r.shape, generator=generator, dtype=torch.float64)).sum() for r in results)
    wanted = [*inputs, *layer.parameters()]
    grads = torch.autograd.grad(total, wanted, allow_unused=True)
    return results + drawn, [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True)]


def check(layer: Any, given: dict[str, Any], patch: pytest.MonkeyPatch, rtol: float = 1e-8, atol: float = 1e-10) -> Any:
    """Compare a call and its gradients with the loop's."""
    import torch

    from rnnkernels.torch import attention, attention_loop

    found = call(layer, given)
    with patch.context() as patched:
        patched.setattr(attention, "attend", attention_loop.run)
        wanted = call(layer, given)
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=atol)
    return found[0]


def seeded(layer: Any) -> dict[str, Any]:
    return {"seed": 6} if layer.hard else {}


def dense(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in ("resets", "reset_state")}


# ---- numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_loop_agrees(torch: Any, form: str, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense, with a mask, with rows that end, begin again and are empty."""
    layer = make(torch, hard=hard, **FORMS[form])
    given = arrays(layer) | seeded(layer)
    check(layer, dense(given), monkeypatch)
    check(layer, dense(given) | {"mask": None, "state": None}, monkeypatch)
    results = check(layer, given | {"lengths": RAGGED}, monkeypatch)
    if hard:
        places = results[-1]
        assert places.dtype == torch.int64
        assert [int((places[:, b] >= 0).sum()) for b in range(B)] == RAGGED


@pytest.mark.parametrize("cell", ["gru", "rnn_tanh", "slstm", "lstm_layer_norm"])
def test_other_cells_in_float32(torch: Any, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(torch, cell, "float32", location=(2, 3), gated=True)
    check(layer, arrays(layer) | {"lengths": RAGGED}, monkeypatch, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("steps", "batch", "places"), [(0, 2, 3), (4, 0, 3), (1, 1, 1), (7, 5, 21)], ids=str)
def test_other_shapes(torch: Any, steps: int, batch: int, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(torch, "gru", hard=True, location=(2, 3))
    check(layer, dense(arrays(layer, steps, batch, places)) | {"seed": 2}, monkeypatch)


def test_batch_first_tokens_and_the_clip(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, first = (make(torch, cell_clip=0.1, batch_first=batch_first) for batch_first in (False, True))
    given = dense(arrays(layer))
    vectors = torch.nn.functional.one_hot(torch.randint(0, I, (T, B)), I).double()
    results = check(layer, given | {"x": vectors}, monkeypatch)
    assert (results[2].abs() <= 0.1).all()
    tokens = check(layer, given | {"x": vectors.argmax(2)}, monkeypatch)
    torch.testing.assert_close(tokens, results)
    turned = first(**given | {"x": vectors.transpose(0, 1)})
    assert torch.equal(turned[0].transpose(0, 1), results[0])


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_are_storage(torch: Any, dtype: str, hard: bool) -> None:
    """As float32 on the rounded values, but for the rounding of what is stored: h, contexts, gate gradients."""
    kind = getattr(torch, dtype)
    layer = make(torch, "lstm", dtype, hard=hard, location=(2, 3), gated=True)
    given = arrays(layer) | {"lengths": RAGGED} | seeded(layer)
    results, grads = call(layer, given)
    wide = make(torch, "lstm", "float32", hard=hard, location=(2, 3), gated=True)
    wide.load_state_dict(layer.state_dict())
    floats = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.float() if t.is_floating_point() else t, given)
    wanted, wanted_grads = call(wide, floats)
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11

    def close(found: Any, exact: Any, factor: float) -> None:
        assert found.dtype == (kind if exact.is_floating_point() else torch.int64)
        error = (found.double() - exact.double()).abs().max() / exact.double().abs().max().clamp(min=0.1)
        assert error < factor * unit, float(error)

    for found, exact in zip(results, wanted, strict=True):
        close(found, exact, 8)
    for found, exact in zip(grads, wanted_grads, strict=True):
        close(found, exact, 30)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_row_without_a_place_is_nan_and_nobody_waits(
    torch: Any, form: str, hard: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its results and the gradients that it reaches, the other rows' as ever: no value of the mask is asked for."""
    layer = make(torch, hard=hard, **FORMS[form])
    given = dense(arrays(layer)) | seeded(layer)
    expected, _ = call(layer, given)
    mask = given["mask"].clone()
    mask[1] = False

    def waits(*_: Any) -> None:
        pytest.fail("a value was asked for")

    with monkeypatch.context() as patched:
        for name in ("__bool__", "item", "nonzero", "tolist", "numpy"):
            patched.setattr(torch.Tensor, name, waits)
        results, grads = call(layer, given | {"mask": mask})
        step = layer.stepper(given["features"], given["state"], mask, **seeded(layer))
        h = step(given["x"][0])
    # output, state h and c, weights, contexts, and of hard attention log_probs
    axes = [1, 0, 0, 1, 1, 1]
    for found, wanted, axis in zip(results, expected, axes[: 5 + hard], strict=False):
        rows, others = found.movedim(axis, 0), wanted.movedim(axis, 0)
        assert rows[1].isnan().all()
        assert torch.equal(rows[0::2], others[0::2])
    assert h[1].isnan().all()
    assert not h[0::2].isnan().any()
    assert (grads[1][~mask] == 0).all()  # of features
    assert all(g.isnan().any() for g in grads[-len(list(layer.parameters())) :])


# ---- one step at a time ------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "allowed"), [("float64", 1e-12), ("float32", 1e-6), ("float16", 4e-3)])
@pytest.mark.parametrize("hard", [False, True])
def test_a_stepper_takes_the_steps_of_a_call(torch: Any, hard: bool, dtype: str, allowed: float) -> None:
    """Of halves the states are rounded between its steps, and not inside a call."""
    layer = make(torch, "gru", dtype, hard=hard, location=(2, 3))
    given = arrays(layer)
    x, features, state, mask = (given[name] for name in ("x", "features", "state", "mask"))
    output, _, attention = layer(x, features, state, mask=mask, **seeded(layer))
    step = layer.stepper(features, state, mask, **seeded(layer))
    for _ in range(2):
        for t in range(T):
            h = step(x[t])
            assert h.dtype == step.weights.dtype == step.context.dtype == layer.weight_ih.dtype
            torch.testing.assert_close(h, output[t].detach(), rtol=0, atol=allowed)
            torch.testing.assert_close(step.weights, attention.weights[t].detach(), rtol=0, atol=allowed)
            assert not hard or torch.equal(step.place, attention.places[t])
        step.reset(state)


# ---- PyTorch around it -------------------------------------------------------------------------------


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_autocast_casts_to_the_half(torch: Any, half: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a layer of that half; gradients of the parameters are float32's. torch.autocast opens no region here."""
    from rnnkernels.torch import autocast

    kind = getattr(torch, half)
    layer = make(torch, "lstm", "float32", gated=True, location=(1, 3))
    narrow = make(torch, "lstm", half, gated=True, location=(1, 3))
    given = dense(arrays(layer))
    halves = torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda t: t.to(kind) if t.is_floating_point() else t, given
    )
    wanted, wanted_grads = call(narrow, halves)
    before = torch.get_autocast_dtype("cuda")
    with monkeypatch.context() as patched:
        patched.setattr(autocast, "_device", lambda _: "cuda")
        torch.set_autocast_enabled("cuda", True)
        torch.set_autocast_dtype("cuda", kind)
        try:
            results, grads = call(layer, given | {"features": halves["features"]})
            step = layer.stepper(given["features"], mask=given["mask"])
            assert step(given["x"][0]).dtype == kind
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.set_autocast_dtype("cuda", before)
    for found, exact in zip(results, wanted, strict=True):
        assert torch.equal(found, exact)
    assert [g.dtype for g in grads[-len(list(layer.parameters())) :]] == [torch.float32] * len(list(layer.parameters()))
    for found, exact in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(found.to(kind), exact)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize(
    ("form", "dtype"), [("location-sums", "float32"), ("bilinear", "bfloat16"), ("hard", "float64")]
)
def test_a_compiled_layer_is_the_eager_one(torch: Any, form: str, dtype: str, ragged: bool) -> None:
    """Through the operators, whose fake kernels know how large a reserve is; the backward has it as bytes."""
    layer = make(torch, "lstm", dtype, hard=form == "hard", **FORMS.get(form, {}))
    given = arrays(layer)
    given = (given | {"lengths": torch.tensor(RAGGED)} if ragged else dense(given)) | seeded(layer)
    torch._dynamo.reset()  # there is a limit of how often one piece of code is compiled
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(call(compiled, given), call(layer, given), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_operators_are_whole(torch: Any, dtype: str) -> None:
    """Schemas, fakes and derivatives, by PyTorch's own checks; sizes of reserves are the fakes'."""
    from torch.utils._python_dispatch import TorchDispatchMode

    for options in ({"hard": True}, {"location": (2, 3), "gated": True}, {"scores": "bilinear"}):
        layer = make(torch, "gru", dtype, **options)
        given = dense(arrays(layer)) | seeded(layer)
        calls = []

        class Record(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if function.namespace == "rnnkernels":
                    calls.append((function, args))  # noqa: B023
                return function(*args, **(kwargs or {}))

        with Record():
            call(layer, given)
        assert [str(f) for f, _ in calls] == ["rnnkernels.attend.default", "rnnkernels.attend_backward.default"]

        def alone(tensor: Any) -> Any:
            return tensor.detach().clone().requires_grad_(tensor.is_floating_point())

        for function, arguments in calls:
            given = torch.utils._pytree.tree_map_only(torch.Tensor, alone, arguments)
            torch.library.opcheck(function, given, test_utils=("test_schema", "test_faketensor"))


def test_second_derivatives(torch: Any) -> None:
    """Through the loop, of places that a GPU drew."""
    layer = make(torch, "gru", hard=True, location=(1, 3))
    given = arrays(layer, 2, 1, 2)
    state = given["state"].requires_grad_()

    def run(features: Any, state: Any) -> Any:
        return layer(given["x"], features, state, seed=3)[0]

    assert torch.autograd.gradgradcheck(run, (given["features"].requires_grad_(), state))


@pytest.mark.parametrize("name", ["attend", "attend_backward"])
def test_an_operator_is_registered_for_a_gpu(torch: Any, name: str) -> None:
    import rnnkernels.torch  # noqa: F401 - registers them

    for key in ("CPU", "CUDA", "Meta"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"rnnkernels::{name}", key)


# ---- what is elsewhere -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_everything_stays_on_the_gpu(tensors: Any, dtype: str) -> None:
    """On fake tensors of a GPU, which PyTorch makes without one: forward and backward, in the layer's dtype."""
    torch = tensors
    from rnnkernels.torch import attention, attention_operators
    from rnnkernels.torch.attention_call import Attending, Given, flatten

    layer, kind = make(torch, "lstm", dtype, location=(2, 3)), getattr(torch, dtype)
    with torch._subclasses.FakeTensorMode(), torch.no_grad():

        def empty(*shape: int) -> Any:
            return torch.empty(shape, device="cuda", dtype=kind)

        for name, weight in list(layer.named_parameters()):
            setattr(layer, name, torch.nn.Parameter(empty(*weight.shape), requires_grad=False))
        mask, state = empty(B, L).bool(), (empty(B, H), empty(B, H))
        lengths, resets = torch.tensor(RAGGED), torch.zeros(T, B, dtype=torch.bool)  # on the CPU
        x, features, keys = empty(T, B, I), empty(B, L, D), empty(B, L, H)
        results = list(layer(x, features, state, mask=mask))
        results += layer(x, features, state, mask=mask, lengths=lengths, resets=resets)
        assert not attention._widened(features)

        asked, weights = Attending("lstm"), {name: getattr(layer, name) for name in layer._names}
        for options in ({}, {"lengths": lengths, "resets": resets}):
            given = Given(x, features, keys, weights, state, mask=mask, **options)
            done, reserve = attention_operators.forward(asked, given, True)
            found = (done.output, done.weights, done.contexts, None)
            layout, flat = flatten(asked, given)
            nothing = (None, None)
            results += attention_operators.backward(layout, flat, found, reserve, None, nothing, nothing, True)
            results += [reserve.view(kind), *done]
    for tensor in torch.utils._pytree.tree_leaves(results):
        if isinstance(tensor, torch.Tensor):
            assert (tensor.device.type, tensor.dtype) == ("cuda", kind)
    assert attention._widened(torch.zeros(1, dtype=kind)) == (dtype == "bfloat16")


def test_the_loop_reads_lengths_and_resets_of_the_host(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta stands for a GPU: the other tensors are there."""
    from rnnkernels.torch import attention, attention_loop

    monkeypatch.setattr(attention, "attend", attention_loop.run)
    layer = make(torch, location=(2, 3)).to("meta")
    given = arrays(layer)
    there = {name: value for name, value in given.items() if name != "resets"}
    there = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.to("meta"), there)
    results = layer(**there, resets=given["resets"], lengths=RAGGED)
    leaves = torch.utils._pytree.tree_leaves(results)
    assert {t.device.type for t in leaves if isinstance(t, torch.Tensor)} == {"meta"}


def test_misfits(torch: Any) -> None:
    """Tensors that lie apart, and lengths and resets that a GPU has; meta stands for another device."""
    layer = make(torch)
    given = arrays(layer)
    meta = torch.utils._pytree.tree_map_only(torch.Tensor, lambda t: t.to("meta"), given)
    apart = "expected a tensor on cpu, where the parameters are, got meta"
    for name, named in {"x": "x", "features": "features", "state": "state h", "mask": "mask"}.items():
        with pytest.raises(ValueError, match=f"^{named}: {apart}"):
            layer(**dense(given) | {name: meta[name]})
    with pytest.raises(ValueError, match=f"^reset_state h: {apart}"):
        layer(**given | {"reset_state": meta["reset_state"]})
    step = layer.stepper(given["features"])
    with pytest.raises(ValueError, match=f"^x_t: {apart}"):
        step(meta["x"][0])
    host = "expected a tensor on the CPU, where the steps are planned, got one on meta"
    for name, value in {"resets": meta["resets"], "lengths": torch.tensor(RAGGED).to("meta")}.items():
        with pytest.raises(TypeError, match=f"^{name}: {host}"):
            layer(**dense(given) | {name: value})


def test_no_backend(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's tensors where none serves, in words that say why."""
    torch = tensors
    import rnnkernels.torch as rnn
    from rnnkernels.torch import kernels

    monkeypatch.setattr(kernels, "serves", lambda _: False)
    monkeypatch.setattr(rnn.recurrent, "serves", lambda _: False)
    layer = make(torch)
    given = arrays(layer)
    with pytest.raises(NotImplementedError, match="x: expected a tensor on the CPU, got cpu: there are no kernels"):
        layer(given["x"], given["features"])
    with pytest.raises(NotImplementedError, match="features: expected a tensor on the CPU, got cpu: there are no"):
        layer.stepper(given["features"])
