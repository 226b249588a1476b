"""`AttentionRecurrent` against its definition, row by row and place by place; its derivatives, and its manners."""

from __future__ import annotations

import copy
import math
import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import rnnkernels.torch as rnn
from rnnkernels.torch import attention, attention_loop

if TYPE_CHECKING:
    from pathlib import Path

FORMS: dict[str, dict[str, Any]] = {
    "additive": {},
    "gated": {"gated": True, "attention_size": 7},
    "location": {"location": (1, 3), "attention_size": 2},
    "location-sums": {"location": (2, 5), "gated": True},
    "bilinear": {"scores": "bilinear"},
    "dot": {"scores": "dot", "attention_size": 6},
    "no-bias": {"bias": False, "gated": True},
}
CELLS = ("lstm", "gru", "rnn_tanh", "gru_reset_before", "mgu", "indrnn", "slstm", "lstm_layer_norm", "gru_layer_norm")
T, B, I, D, H, L = 5, 3, 2, 3, 5, 4  # noqa: E741


def make(cell: str = "lstm", size: tuple[int, int, int] = (I, D, H), **options: Any) -> rnn.AttentionRecurrent:
    torch.manual_seed(0)
    layer = rnn.AttentionRecurrent(cell, *size, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2)  # so that weights are not all alike
    return layer


def arrays(layer: rnn.AttentionRecurrent, steps: int = T, batch: int = B, places: int = L) -> tuple[Any, ...]:
    """x, features, mask: the first place of each row may be looked at."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mask = torch.rand(batch, places, generator=generator) < 0.7
    mask[:, 0] = True
    return normal(steps, batch, layer.input_size), normal(batch, places, layer.feature_size), mask


# ---- the definition ----------------------------------------------------------------------------------


def definition(
    layer: rnn.AttentionRecurrent,
    x: torch.Tensor,
    features: torch.Tensor,
    mask: torch.Tensor,
    places: Any = None,
    resets: Any = None,
) -> Any:
    """One row: x (T, I), features (L, D), mask (L,) → output, state, weights, contexts; the cell is a kernel's."""
    p = dict(layer.named_parameters())
    size = x.shape[1] + features.shape[1]
    cell = rnn.RecurrentCell(layer.cell, size, layer.hidden_size, layer.bias, dtype=torch.float64)
    cell.load_state_dict({name: p[name] for name in cell.state_dict()})
    zeros = tuple(x.new_zeros(width) for width in layer._widths)
    now = zeros
    seen = [x.new_zeros(len(features)) for _ in range(2)]
    outputs, weights, contexts = [], [], []
    for t, x_t in enumerate(x):
        if resets is not None and resets[t]:
            now, seen = zeros, [x.new_zeros(len(features)) for _ in range(2)]
        h = now[0]
        query = p["weight_query"] @ h + p.get("bias_query", 0)
        scores = []
        for i, a in enumerate(features):
            if layer.scores == "bilinear":
                scores.append(query @ a)
            elif layer.scores == "dot":
                scores.append(query @ (p["weight_key"] @ a) / math.sqrt(layer.attention_size))
            else:
                inner = p["weight_key"] @ a + query
                if layer.location is not None:
                    channels, width = layer.location
                    for c in range(channels):
                        for k in range(width):
                            at = i + k - width // 2
                            if 0 <= at < len(features):
                                inner = inner + p["weight_location"][:, c, k] * seen[c][at]
                scores.append(p["score"] @ torch.tanh(inner))
        powers = torch.where(mask, torch.stack(scores).exp(), 0.0)
        alpha = powers / powers.sum()
        context = (
            features[places[t]] if places is not None else sum(w * a for w, a in zip(alpha, features, strict=True))
        )
        if layer.gated:
            context = context * torch.sigmoid(p["weight_beta"][0] @ h + p.get("bias_beta", torch.zeros(1))[0])
        seen = [alpha, seen[1] + alpha]
        now = cell(torch.cat((x_t, context)), now[0] if len(now) == 1 else now)
        now = now if isinstance(now, tuple) else (now,)
        outputs.append(now[0])
        weights.append(alpha)
        contexts.append(context)
    return torch.stack(outputs), now, torch.stack(weights), torch.stack(contexts)


def check_rows(layer: rnn.AttentionRecurrent, lengths: Any = None, resets: Any = None) -> None:
    """Check a call, a row at a time."""
    x, features, mask = arrays(layer)
    output, state, attention = layer(x, features, mask=mask, lengths=lengths, resets=resets)
    states = state if isinstance(state, tuple) else (state,)
    for b in range(x.shape[1]):
        steps = len(x) if lengths is None else lengths[b]
        drawn = None if attention.places is None else attention.places[:steps, b]
        cut = None if resets is None else resets[:, b]
        expected, final, weights, contexts = definition(
            layer, x[:steps, b], features[b], mask[b], places=drawn, resets=cut
        )
        torch.testing.assert_close(output[:steps, b], expected)
        torch.testing.assert_close(attention.weights[:steps, b], weights)
        torch.testing.assert_close(attention.contexts[:steps, b], contexts)
        torch.testing.assert_close(tuple(s[b] for s in states), final)
        for beyond in (output, attention.weights, attention.contexts):
            assert (beyond[steps:, b] == 0).all()
        if drawn is not None:
            assert (attention.places[steps:, b] == -1).all()
            assert (attention.log_probs[steps:, b] == 0).all()
            chosen = weights.gather(1, drawn[:, None])[:, 0]
            torch.testing.assert_close(attention.log_probs[:steps, b], chosen.log())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("hard", [False, True])
def test_every_cell(cell: str, hard: bool) -> None:
    layer = make(cell, hard=hard)
    check_rows(layer)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_every_form(form: str, hard: bool) -> None:
    layer = make(hard=hard, **FORMS[form])
    resets = torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.4
    check_rows(layer)
    check_rows(layer, lengths=[3, T, 1], resets=resets)


# ---- the kernels and the loop ------------------------------------------------------------------------

# T, B, I, D, H, L: vectors of many widths, not all of them filled.
SHAPES = [
    (5, 3, 2, 3, 5, 4),
    (3, 2, 0, 7, 17, 1),
    (7, 5, 19, 33, 13, 21),
    (1, 1, 1, 1, 1, 1),
    (0, 2, 3, 4, 5, 6),
    (4, 0, 3, 4, 5, 6),
    (2, 4, 16, 16, 16, 16),
]


def found(layer: rnn.AttentionRecurrent, inputs: Any, **options: Any) -> tuple[list[Any], list[Any]]:
    """Results of a call, and the gradients of a random sum of them in inputs and parameters."""
    x, features, mask = inputs
    x, features = x.clone().requires_grad_(), features.clone().requires_grad_()
    batch = x.shape[1]
    generator = torch.Generator().manual_seed(4)
    state = [torch.randn(batch, width, generator=generator, dtype=x.dtype) for width in layer._widths]
    reset = [torch.randn(batch, width, generator=generator, dtype=x.dtype) for width in layer._widths]
    for s in (*state, *reset):
        s.requires_grad_()
    more = {"reset_state": tuple(reset) if len(reset) > 1 else reset[0]} if "resets" in options else {}
    given = tuple(state) if len(state) > 1 else state[0]
    output, final, attention = layer(x, features, given, mask=mask, **options, **more)
    finals = list(final) if isinstance(final, tuple) else [final]
    results = [output, *finals, attention.weights, attention.contexts]
    results += [] if attention.log_probs is None else [attention.log_probs]
    total = sum((r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results)
    wanted = [x, features, *state, *(reset if more else ()), *layer.parameters()]
    grads = torch.autograd.grad(total, wanted, allow_unused=True)
    zeros = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True)]
    return [*results, attention.places], zeros


def check_against_the_loop(
    layer: rnn.AttentionRecurrent, inputs: Any, patch: pytest.MonkeyPatch, **options: Any
) -> None:
    ours, gradients = found(layer, inputs, **options)
    with patch.context() as patched:
        patched.setattr(attention, "attend", attention_loop.run)
        expected, expected_gradients = found(layer, inputs, **options)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-8, atol=1e-10)


def seeded(layer: rnn.AttentionRecurrent) -> dict[str, Any]:
    return {"seed": 6} if layer.hard else {}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_the_loop_agrees(shape: tuple[int, ...], form: str, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, batch, *sizes, places = shape
    layer = make("gru", (sizes[0], sizes[1], sizes[2]), hard=hard, **FORMS[form])
    check_against_the_loop(layer, arrays(layer, steps, batch, places), monkeypatch, **seeded(layer))


@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_agrees_for_every_cell(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make(cell, (3, 9, 11))
    check_against_the_loop(layer, arrays(layer, places=10), monkeypatch)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_the_loop_agrees_on_ragged_batches(form: str, hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("lstm", (3, 9, 11), hard=hard, **FORMS[form])
    inputs = arrays(layer, 9, 5, 6)
    resets = torch.rand(9, 5, generator=torch.Generator().manual_seed(2)) < 0.3
    for options in ({"lengths": [4, 9, 0, 1, 6]}, {"resets": resets}, {"lengths": [4, 9, 0, 1, 6], "resets": resets}):
        check_against_the_loop(layer, inputs, monkeypatch, **options, **seeded(layer))


def test_the_clip_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("lstm", cell_clip=0.1)
    check_against_the_loop(layer, arrays(layer), monkeypatch)
    assert (layer(*arrays(layer)[:2])[1][1].abs() <= 0.1).all()


# ---- derivatives -------------------------------------------------------------------------------------


def function_of(
    layer: rnn.AttentionRecurrent, mask: Any = None, sizes: tuple[int, int, int] = (3, 2, 3), **options: Any
) -> tuple[Any, tuple[Any, ...]]:
    """The layer as a function of x, features, states and parameters, and what it is a function of."""
    x, features, _ = arrays(layer, *sizes)
    named = dict(layer.named_parameters())
    state = [torch.full((sizes[1], width), 0.1, dtype=x.dtype) for width in layer._widths]

    def run(x: Any, features: Any, *tensors: Any) -> Any:
        states, parameters = tensors[: len(state)], dict(zip(named, tensors[len(state) :], strict=True))
        given = states if len(state) > 1 else states[0]
        output, final, attention = torch.func.functional_call(
            layer, parameters, (x, features, given), {"mask": mask, **options}
        )
        log_probs = () if attention.log_probs is None else (attention.log_probs,)
        finals = final if isinstance(final, tuple) else (final,)
        return (output, *finals, attention.weights, attention.contexts, *log_probs)

    return run, tuple(t.detach().clone().requires_grad_() for t in (x, features, *state, *named.values()))


@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(form: str) -> None:
    layer = make(size=(2, 2, 3), **(FORMS[form] | {"attention_size": 2}))
    mask = torch.tensor([[True, False, True], [True, True, True]])
    assert torch.autograd.gradcheck(*function_of(layer, mask, lengths=[3, 2]))
    assert torch.autograd.gradcheck(*function_of(layer))


@pytest.mark.parametrize("hard", [False, True])
def test_second_derivatives(hard: bool) -> None:
    """Of hard attention with places that are drawn whatever moves a little."""
    layer = make("gru", (1, 2, 2), hard=hard, location=(2, 3), gated=True)
    run, inputs = function_of(layer, sizes=(2, 1, 2), **seeded(layer))
    assert torch.autograd.gradgradcheck(run, inputs)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_mode_and_transforms(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make("gru", location=(1, 3))
    run, inputs = function_of(layer)
    values = tuple(t.detach() for t in inputs)
    tangents = tuple(torch.randn_like(v) for v in values)
    results, ahead = torch.func.jvp(run, values, tangents)
    back = tuple(torch.randn_like(r) for r in results)
    with monkeypatch.context() as patched:
        patched.setattr(attention_loop, "run", None)  # first derivatives are the kernels'
        gradients = torch.func.vjp(run, *values)[1](back)
        numbers = tuple(range(len(values)))
        again = torch.func.grad(
            lambda *given: sum((r * b).sum() for r, b in zip(run(*given), back, strict=True)), numbers
        )(*values)
    eager = torch.autograd.grad(run(*inputs), inputs, back)
    torch.testing.assert_close(gradients, eager)
    torch.testing.assert_close(again, eager)
    left = sum((a * b).sum() for a, b in zip(ahead, back, strict=True))
    right = sum((a * b).sum() for a, b in zip(gradients, tangents, strict=True))
    torch.testing.assert_close(left, right)

    def loss(x: Any, features: Any) -> Any:
        return run(x[:, None], features[None], *(v[:1] if k < 1 else v for k, v in enumerate(values[2:])))[0].sum()

    each = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), (1, 0), (1, 0))(*values[:2])
    x, features = (t.detach().requires_grad_() for t in values[:2])
    expected = torch.autograd.grad(run(x, features, *values[2:])[0].sum(), (x, features))
    torch.testing.assert_close(each, expected)


def test_results_changed_in_place_are_noticed() -> None:
    layer = make()
    x, features, _ = arrays(layer)
    for k in range(2):
        output, _, attention = layer(x, features)
        (output if k == 0 else attention.weights).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            output.sum().backward()


def test_a_backward_frees_what_its_forward_kept() -> None:
    layer = make()
    x, features, _ = arrays(layer)
    output = layer(x, features)[0]
    output.sum().backward(retain_graph=True)
    assert output.grad_fn.kept is not None
    output.sum().backward()
    assert output.grad_fn.kept is None
    with pytest.raises(RuntimeError, match="a second time"):
        output.sum().backward()


def test_weights_may_leave_their_place_between_forward_and_backward() -> None:
    """As under FSDP, whose weights are gathered anew for the backward; the old place holds anything by then."""
    layer = make()
    x, features, mask = arrays(layer)
    layer(x, features, mask=mask)[0].square().sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        loss = layer(x, features, mask=mask)[0].square().sum()
    for tensor in (*layer.parameters(), x, features):
        tensor.data.fill_(float("nan"))
    loss.backward()
    assert all(torch.equal(p.grad, e) for p, e in zip(layer.parameters(), expected, strict=True))


class Model(torch.nn.Module):  # type: ignore[misc]
    """A model around a layer."""

    def __init__(self, layer: rnn.AttentionRecurrent) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any, features: Any, state: Any, mask: Any) -> Any:
        return self.layer(x, features, state, mask=mask)


# ---- what takes models -------------------------------------------------------------------------------


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("form", ["additive", "location-sums", "bilinear", "hard"])
def test_a_compiled_layer_is_the_eager_one(form: str, ragged: bool) -> None:
    layer = make(hard=form == "hard", **FORMS.get(form, {}))
    options: dict[str, Any] = seeded(layer)
    if ragged:
        options |= {"lengths": torch.tensor([2, T, 0]), "resets": torch.rand(T, B) < 0.3}
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x, features, mask = arrays(layer)

    def both(module: Any) -> list[Any]:
        layer.zero_grad()
        given = features.clone().requires_grad_()
        output, final, attention = module(x, given, mask=mask, **options)
        loss = output.square().sum() + final[1].sum() + attention.weights.square().sum() + attention.contexts.sum()
        (loss if attention.log_probs is None else loss + attention.log_probs.sum()).backward()
        return [output, *final, *attention, given.grad, *(p.grad for p in layer.parameters())]

    torch.testing.assert_close(both(compiled), both(layer), rtol=0, atol=0)


def test_the_operators_are_whole() -> None:
    """Schemas, fakes and derivatives, by PyTorch's own checks."""
    for options in ({}, {"hard": True}, {"location": (2, 3), "gated": True}, {"scores": "bilinear"}):
        layer = make("gru", **options)
        x, features, mask = arrays(layer)
        calls = []

        class Record(TorchDispatchMode):  # type: ignore[misc]
            def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if function.namespace == "rnnkernels":
                    calls.append((function, args))  # noqa: B023
                return function(*args, **(kwargs or {}))

        with Record():
            layer(x, features.requires_grad_(), mask=mask, **seeded(layer))[0].sum().backward()
        assert [str(function) for function, _ in calls] == [
            "rnnkernels.attend.default",
            "rnnkernels.attend_backward.default",
        ]
        tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")

        def alone(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.detach().clone().requires_grad_(tensor.is_floating_point())

        calls = [(function, torch.utils._pytree.tree_map_only(torch.Tensor, alone, args)) for function, args in calls]
        torch.library.opcheck(calls[0][0], calls[0][1], test_utils=(*tests, "test_autograd_registration"))
        torch.library.opcheck(calls[1][0], calls[1][1], test_utils=tests[:2])


def test_operations_are_counted() -> None:
    layer = make("lstm", (0, D, H), scores="bilinear", bias=False)
    x, features, _ = arrays(layer)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counted:
        output = layer(x, features)[0]
    products = 4 * H * (H + D) + D * H + L * D + L * D  # the cell's, the query's, scores, contexts
    assert counted.get_total_flops() == 2 * T * B * products
    with torch.utils.flop_counter.FlopCounterMode(display=False) as again:
        output.sum().backward()
    assert again.get_total_flops() == 2 * 2 * T * B * products


def test_an_exported_program_runs() -> None:
    layer = make(location=(1, 3)).eval()
    x, features, mask = arrays(layer)
    steps, batch, places = (torch.export.Dim(name, min=2) for name in ("T", "B", "L"))
    shapes = ({0: steps, 1: batch}, {0: batch, 1: places}, None, {0: batch, 1: places})

    program = torch.export.export(Model(layer), (x, features, None, mask), dynamic_shapes=shapes)
    other, wider, allowed = arrays(layer, 7, 4, 9)
    torch.testing.assert_close(program.module()(other, wider, None, allowed), layer(other, wider, mask=allowed))


def test_copies_and_pickles() -> None:
    layer = make(location=(1, 3), gated=True)
    x, features, mask = arrays(layer)
    expected = layer(x, features, mask=mask)[0]
    again = pickle.loads(pickle.dumps(layer))
    for copied in (copy.deepcopy(layer), again):
        assert torch.equal(copied(x, features, mask=mask)[0], expected)
    fresh = rnn.AttentionRecurrent("lstm", I, D, H, location=(1, 3), gated=True, dtype=torch.float64)
    fresh.load_state_dict(layer.state_dict())
    assert torch.equal(fresh(x, features, mask=mask)[0], expected)
    assert "location=(1, 3), gated=True" in repr(layer) or "gated=True, location=(1, 3)" in repr(layer)


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_a_model_in_one_process_of_several(tmp_path: Path) -> None:
    """DistributedDataParallel with one process: gradients are those of the layer alone."""
    layer = make(hard=True)
    x, features, mask = arrays(layer)

    def train(module: Any) -> list[Any]:
        layer.zero_grad()
        output, _, attention = module(x, features, mask=mask, seed=1)
        (output.square().sum() + attention.log_probs.sum()).backward()
        return [p.grad.clone() for p in layer.parameters()]

    expected = train(layer)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert all(map(torch.equal, train(torch.nn.parallel.DistributedDataParallel(layer)), expected))
    finally:
        torch.distributed.destroy_process_group()


# ---- manners -----------------------------------------------------------------------------------------


def test_batch_first_tokens_and_an_input_of_nothing() -> None:
    layer, first = make(size=(7, D, H)), make(size=(7, D, H), batch_first=True)
    _, features, mask = arrays(layer)
    tokens = torch.randint(0, 7, (T, B), generator=torch.Generator().manual_seed(3))
    resets = torch.rand(T, B, generator=torch.Generator().manual_seed(2)) < 0.4
    output, state, attention = layer(tokens, features, mask=mask, resets=resets)
    vectors = torch.nn.functional.one_hot(tokens, 7).double()
    torch.testing.assert_close(layer(vectors, features, mask=mask, resets=resets)[0], output)
    turned, same, looked = first(tokens.T, features, mask=mask, resets=resets.T)
    torch.testing.assert_close(turned.transpose(0, 1), output)
    torch.testing.assert_close(same, state)
    torch.testing.assert_close(looked.weights.transpose(0, 1), attention.weights)
    torch.testing.assert_close(looked.contexts.transpose(0, 1), attention.contexts)
    check_rows(make(size=(0, D, H)))


def test_states_are_handed_on() -> None:
    """Two calls are one, where scores do not see the steps before."""
    layer = make(gated=True)
    x, features, _ = arrays(layer)
    output, final, _ = layer(x, features)
    first, state, _ = layer(x[:2], features)
    second, again, _ = layer(x[2:], features, state)
    torch.testing.assert_close(torch.cat((first, second)), output)
    torch.testing.assert_close(again, final)


def test_rows_without_steps_keep_their_state() -> None:
    layer = make(location=(2, 3))
    x, features, _ = arrays(layer)
    state = tuple(torch.randn(2, B, H, dtype=torch.float64))
    resets = torch.ones(T, B, dtype=torch.bool)
    _, final, _ = layer(x, features, state, lengths=[0, 0, 0], resets=resets)
    torch.testing.assert_close(final, state)
    replaced, _, _ = layer(x, features, state, resets=resets, reset_state=state)
    torch.testing.assert_close(replaced[0], layer(x[:1], features, state)[0][0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hard", [False, True])
def test_a_stepper_takes_the_steps_of_a_call(form: str, hard: bool) -> None:
    layer = make(hard=hard, **FORMS[form])
    x, features, mask = arrays(layer)
    step = layer.stepper(features, mask=mask, seed=5) if hard else layer.stepper(features, mask=mask)
    assert step.weights is None
    for _ in range(2):
        state = None
        for t in range(T):
            h = step(x[t])
            assert not h.requires_grad
            assert step.weights is not None
            if not hard and layer.location is None:
                output, state, attention = layer(x[t : t + 1], features, state, mask=mask)
                torch.testing.assert_close(h, output[0].detach())
                torch.testing.assert_close(step.weights, attention.weights[0].detach())
                torch.testing.assert_close(step.context, attention.contexts[0].detach())
                torch.testing.assert_close(step.state, tuple(s.detach() for s in state))
        if not hard:
            torch.testing.assert_close(h, layer(x, features, mask=mask)[0][-1].detach())
        step.reset()
    if hard:
        assert step.place is None
        step(x[0])
        assert step.place is not None
        assert step.place.shape == (B,)
        expected = features[torch.arange(B), step.place]
        assert layer.gated or torch.equal(step.context, expected)


def test_a_stepper_draws_what_a_call_draws() -> None:
    layer = make(hard=True, location=(2, 3))
    x, features, mask = arrays(layer)
    output, _, attention = layer(x, features, mask=mask, seed=3)
    step = layer.stepper(features, mask=mask, seed=3)
    for t in range(T):
        torch.testing.assert_close(step(x[t]), output[t].detach())
        assert torch.equal(step.place, attention.places[t])
        torch.testing.assert_close(step.weights, attention.weights[t].detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_dtypes_and_autocast(dtype: torch.dtype) -> None:
    layer = make(hard=True, location=(1, 3))
    x, features, mask = arrays(layer)
    output, _, attention = layer(x, features, mask=mask, seed=1)
    narrow = layer.to(dtype)
    got, _, looked = narrow(x.to(dtype), features.to(dtype), mask=mask, seed=1)
    assert got.dtype == looked.weights.dtype == dtype
    torch.testing.assert_close(got.double(), output, rtol=0.03, atol=0.03)
    if dtype == torch.float32:
        assert torch.equal(looked.places, attention.places)
        with torch.autocast("cpu", torch.bfloat16):
            assert narrow(x.float(), features.bfloat16())[0].dtype == torch.bfloat16
    step = narrow.stepper(features.to(dtype), mask=mask, seed=1)
    assert torch.equal(step(x[0].to(dtype)), got[0])
    assert step.weights.dtype == dtype


def test_shapes_are_known_without_values() -> None:
    layer = rnn.AttentionRecurrent("lstm", I, D, H, device="meta", hard=True)
    x, features = torch.empty(T, B, I, device="meta"), torch.empty(B, L, D, device="meta")
    output, _, attention = layer(x, features)
    assert output.shape == (T, B, H)
    assert [part.shape for part in attention] == [(T, B, L), (T, B, D), (T, B), (T, B)]


def test_torch_fx_makes_a_leaf_of_it() -> None:
    layer = make()
    x, features, mask = arrays(layer)
    model = Model(layer)
    traced = torch.fx.symbolic_trace(model, concrete_args={"state": None})
    assert torch.equal(traced(x, features, None, mask)[0], model(x, features, None, mask)[0])


def test_masked_places_and_padding_hold_anything() -> None:
    """What may not be looked at is not, whatever it is; gradients there are zeros."""
    layer = make(location=(1, 3))
    x, features, mask = arrays(layer)
    output = layer(x, features, mask=mask, lengths=[2, T, 0])[0]
    features = features.masked_fill(~mask[:, :, None], 1e30).requires_grad_()
    other = layer(x, features, mask=mask, lengths=[2, T, 0])[0]
    assert torch.equal(output, other)
    other.square().sum().backward()
    assert (features.grad[~mask] == 0).all()
    assert (features.grad[2] == 0).all()


def test_what_cannot_be_is_refused_in_words() -> None:
    layer = make(size=(7, D, H))
    x, features, mask = arrays(layer)
    tokens = torch.full((T, B), 7)
    nowhere = mask.clone()
    nowhere[1] = False
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        (r"x: expected tokens in \[0, 7\), got 7", (tokens, features), {}),
        (r"x: expected 3 dimensions, the last of 7", (x[..., :3], features), {}),
        (r"features: expected shape \(B, L, D\) = \(3, 4, 3\), got \(2, 4, 3\)", (x, features[:2]), {}),
        (r"features: .* with at least one place, got \(3, 0, 3\)", (x, features[:, :0]), {}),
        (r"features: expected dtype torch.float64", (x, features.float()), {}),
        (r"mask: expected at least one place .* got none in row 1", (x, features), {"mask": nowhere}),
        (r"mask: expected shape \(B, L\) = \(3, 4\), got \(3, 3\)", (x, features), {"mask": mask[:, 1:]}),
        (r"lengths: expected 0 to T = 5, got 6 at \[1\]", (x, features), {"lengths": [1, 6, 2]}),
        (r"lengths: expected shape \(B,\) = \(3,\), got \(2,\)", (x, features), {"lengths": [1, 5]}),
        (r"resets: expected shape \(T, B\) = \(5, 3\)", (x, features), {"resets": mask}),
        (r"reset_state: expected resets with it", (x, features), {"reset_state": (x, x)}),
        (r"state c: expected shape \(B, H\) = \(3, 5\)", (x, features, (x.new_zeros(B, H), x[0])), {}),
        (r"seed: expected none without hard attention", (x, features), {"seed": 1}),
    ]
    for match, given, options in calls:
        with pytest.raises((TypeError, ValueError), match=match):
            layer(*given, **options)
    with pytest.raises(ValueError, match="x_t: expected tokens"):
        layer.stepper(features)(tokens[0])
    with pytest.raises(ValueError, match=r"x_t: expected shape \(B, I\)"):
        layer.stepper(features)(x[0, :2])
    with pytest.raises(ValueError, match="input_size is 0"):
        make(size=(0, D, H))(tokens, features)
    for cell in ("lstm_projected", "mut1"):
        with pytest.raises(ValueError, match=f"cell: expected one that can attend, got {cell}"):
            rnn.AttentionRecurrent(cell, 2, 3, 5)


# ---- hard attention ----------------------------------------------------------------------------------


def test_a_seed_draws_the_same_places() -> None:
    layer = make(hard=True)
    x, features, _ = arrays(layer, steps=40)

    def places(**options: Any) -> torch.Tensor:
        found: torch.Tensor = layer(x, features, **options)[2].places
        return found

    assert torch.equal(places(seed=3), places(seed=torch.tensor(3)))
    assert not torch.equal(places(seed=3), places(seed=4))
    assert not torch.equal(places(), places())
    torch.manual_seed(9)
    first = places()
    torch.manual_seed(9)
    assert torch.equal(first, places())
    alone = layer(x[:, :1], features[:1], seed=3)[2].places
    assert torch.equal(alone, places(seed=3)[:, :1])


def test_places_are_drawn_by_their_weights() -> None:
    layer = make("rnn_tanh", hard=True)
    x, features, mask = arrays(layer, steps=1, batch=4000)
    x, features, mask = x * 0, features[:1].expand(4000, L, D), mask.fill_(True).index_fill_(1, torch.tensor(1), False)
    attention = layer(x, features, mask=mask, seed=11)[2]
    shares = torch.bincount(attention.places[0], minlength=L) / 4000
    torch.testing.assert_close(shares.double(), attention.weights[0, 0].detach(), atol=0.03, rtol=0)
    assert shares[1] == 0


def test_the_gradient_of_hard_attention_is_reinforces() -> None:
    """Of the context it goes to the place drawn alone; of log p, and of the weights, through the scores."""
    layer = make(hard=True)
    x, features, mask = arrays(layer)
    features.requires_grad_()
    output, _, attention = layer(x, features, mask=mask, seed=2)
    output.sum().backward()
    drawn = torch.zeros(B, L).scatter_(1, attention.places.T, 1.0) > 0
    assert (features.grad[~drawn] == 0).all()
    assert layer.weight_query.grad is None or (layer.weight_query.grad == 0).all()
    layer.zero_grad()
    attention = layer(x, features, mask=mask, seed=2)[2]
    attention.log_probs.sum().backward()
    assert (layer.weight_query.grad != 0).any()
