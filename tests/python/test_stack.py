"""The stack of layers: against the reference layer by layer, PyTorch's stacked layers, its own promises.

Not here: the kernels of one layer, which have the parity tests.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import FORMS, assert_equal_states, random_states
from tolerances import amplification, assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import reference
from rnnkernels.reference import masks
from rnnkernels.stack import Stack, StackGradients, StackRun

T, B, I, H, P = 5, 3, 4, 6, 5  # noqa: E741 - the sizes' names everywhere in this package


def inputs(cell: str) -> int:
    return H if rk.cell_info(cell)["direct"] else I


def proj_size(cell: str) -> int | None:
    return P if rk.cell_info(cell)["projected"] else None


def values(stack: Stack, *, tokens: bool = False, seed: int = 1) -> dict[str, Any]:
    """An input, an initial state and gradients for the stack's dtype."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(stack.dtype)

    def nested() -> tuple[tuple[np.ndarray, ...], ...]:
        sizes = (B, stack.hidden_size, stack.dtype, stack.proj_size)
        return tuple(random_states(stack.cell, rng, *sizes) for _ in range(stack.num_layers))

    return {
        "x": rng.integers(0, stack.input_size, (T, B)) if tokens else normal(T, B, stack.input_size),
        "state": nested(),
        "d_output": normal(T, B, stack.output_size),
        "d_state": nested(),
    }


def layer_params(params: Any, layer: int) -> dict[str, np.ndarray]:
    end = f"_l{layer}"
    return {name.removesuffix(end): value for name, value in params.items() if name.endswith(end)}


def masks_of(stack: Stack, run: StackRun) -> list[np.ndarray | None]:
    """What each layer's input was multiplied by, from the reference's generator."""
    if run._seed is None:
        return [None] * stack.num_layers
    shape = run.outputs[0].shape
    return [None] + [
        masks.elements(shape, stack.dropout, run._seed, layer << 8 | masks.ELEMENTS)
        for layer in range(1, stack.num_layers)
    ]


def by_reference(stack: Stack, x: Any, params: Any, state: Any, masks: Any = None) -> tuple[Any, Any]:
    """`Stack.forward` by the reference; works on complex numbers."""
    final = []
    for layer in range(stack.num_layers):
        if masks and masks[layer] is not None:
            x = x * masks[layer]
        x, after = reference.forward(stack.cell, x, layer_params(params, layer), state[layer])
        final.append(after)
    return x, tuple(final)


def flat(x: Any, params: Any, state: Any) -> dict[str, Any]:
    """Everything that has a gradient, by name."""
    named = {f"state{i}{k}": s for i, layer in enumerate(state) for k, s in enumerate(layer)}
    return {**({} if x is None else {"x": x}), **params, **named}


def check_gradients(stack: Stack, v: dict[str, Any], run: StackRun, grads: StackGradients) -> None:
    """Slopes along a few random directions, by complex steps through the whole stack of references."""
    tokens = v["x"].dtype.kind in "iu"
    found = flat(grads.x, grads.params, grads.state)
    places = flat(None if tokens else v["x"], stack.params, v["state"])
    assert found.keys() == places.keys()
    assert all(found[name].shape == places[name].shape for name in found)
    assert all(found[name].dtype == stack.dtype for name in found)
    rng = np.random.default_rng(2)
    for attempt in range(6):
        names = list(places) if attempt < 3 else [rng.choice(list(places))]
        step = {name: 1e-30j * rng.normal(size=places[name].shape) for name in names}
        moved = {name: value + step.get(name, 0) for name, value in places.items()}
        state = [[moved[f"state{i}{k}"] for k in range(len(layer))] for i, layer in enumerate(v["state"])]
        params = {name: moved[name] for name in stack.params}
        output, final = by_reference(stack, moved.get("x", v["x"]), params, state, masks_of(stack, run))
        slope = (v["d_output"] * output).sum()
        for weights, layer in zip(v["d_state"], final, strict=True):
            slope += sum((d * s).sum() for d, s in zip(weights, layer, strict=True))
        expected = slope.imag / 1e-30
        terms = np.concatenate([(found[name] * step[name].imag / 1e-30).ravel() for name in names])
        length = stack.num_layers * gradient_length(T, B, I, H)
        amplified = amplification(stack.cell, T, B, I, H) ** stack.num_layers
        scale = max(1.0, float(np.sqrt((terms**2).sum())))
        ours = np.array(terms.sum() / scale, stack.dtype)
        assert_close(ours, expected / scale, "gradient", length, f"{names}", amplified)


# --- results --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", FORMS)
def test_against_the_reference(cell: str, layers: int, bias: bool, tokens: bool, dtype: str) -> None:
    stack = Stack(cell, inputs(cell), H, layers, bias=bias, dtype=dtype, rng=0, proj_size=proj_size(cell))
    v = values(stack, tokens=tokens)
    run = stack.forward(v["x"], v["state"])
    output, final = by_reference(stack, v["x"], stack.params, v["state"])
    length = layers * forward_length(T, H, H)
    amplified = amplification(cell, T, B, I, H) ** layers  # a layer multiplies what came from the one below
    assert_close(run.output, output, "output", length, amplified=amplified)
    for layer, expected in zip(run.state, final, strict=True):
        for ours, theirs in zip(layer, expected, strict=True):
            assert_close(ours, theirs, "state", length, amplified=amplified)
    grads = stack.backward(run, v["d_output"], v["d_state"])
    assert (grads.x is None) == tokens
    assert list(grads.params) == list(stack.params)
    check_gradients(stack, v, run, grads)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_against_pytorchs_stacked_layers(cell: str) -> None:
    torch = pytest.importorskip("torch")
    stack = Stack(cell, inputs(cell), H, 3, dtype="float64", rng=0)
    v = values(stack)
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(cell, torch.nn.RNN)
    options = {"nonlinearity": cell.removeprefix("rnn_")} if kind is torch.nn.RNN else {}
    layer = kind(I, H, 3, dtype=torch.float64, **options)
    tensors = {name: torch.from_numpy(p.copy()) for name, p in stack.params.items()}
    layer.load_state_dict(tensors, strict=True)  # the same names and shapes
    assert [name for name, _ in layer.named_parameters()] == list(stack.params)

    x = torch.from_numpy(v["x"]).requires_grad_()
    state = [torch.from_numpy(np.stack(s)).requires_grad_() for s in zip(*v["state"], strict=True)]
    output, final = layer(x, tuple(state) if cell == "lstm" else state[0])
    final = final if cell == "lstm" else (final,)
    value = (output * torch.from_numpy(v["d_output"])).sum()
    for d, s in zip(zip(*v["d_state"], strict=True), final, strict=True):
        value = value + (torch.from_numpy(np.stack(d)) * s).sum()
    value.backward()

    run = stack.forward(v["x"], v["state"])
    grads = stack.backward(run, v["d_output"], v["d_state"])
    np.testing.assert_allclose(run.output, output.detach(), rtol=1e-11, atol=1e-12)
    assert grads.x is not None
    np.testing.assert_allclose(grads.x, x.grad, rtol=1e-11, atol=1e-12)
    for k, s in enumerate(state):
        np.testing.assert_allclose([after[k] for after in run.state], final[k].detach(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose([d[k] for d in grads.state], s.grad, rtol=1e-11, atol=1e-12)
    for name, p in layer.named_parameters():
        np.testing.assert_allclose(grads.params[name], p.grad, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("cell", FORMS)
def test_it_is_a_chain_of_layers_bit_for_bit(cell: str) -> None:
    stack = Stack(cell, inputs(cell), H, 2, rng=0, proj_size=proj_size(cell))
    v = values(stack)
    run = stack.forward(v["x"], v["state"])
    low = rk.forward(cell, v["x"], layer_params(stack.params, 0), v["state"][0])
    top = rk.forward(cell, low.output, layer_params(stack.params, 1), v["state"][1])
    np.testing.assert_array_equal(run.output, top.output)
    d_top = rk.backward(top, v["d_output"], v["d_state"][1])
    d_low = rk.backward(low, d_top.x, v["d_state"][0])
    grads = stack.backward(run, v["d_output"], v["d_state"])
    np.testing.assert_array_equal(grads.x, d_low.x)
    for layer, expected in enumerate((d_low, d_top)):
        for name, value in expected.params.items():
            np.testing.assert_array_equal(grads.params[f"{name}_l{layer}"], value)
        assert_equal_states(grads.state[layer], expected.state)


@pytest.mark.parametrize("cell", FORMS)
@pytest.mark.parametrize("tokens", [False, True])
def test_stepping_and_pieces_give_the_bits_of_the_whole(cell: str, tokens: bool) -> None:
    stack = Stack(cell, inputs(cell), H, 3, rng=0, proj_size=proj_size(cell))
    v = values(stack, tokens=tokens)
    whole = stack.forward(v["x"], training=False)
    state: Any = None
    for t in range(T):
        state = stack.step(v["x"][t], state)
        np.testing.assert_array_equal(state[-1][0], whole.output[t])
    head = stack.forward(v["x"][:2], training=False)
    tail = stack.forward(v["x"][2:], head.state, training=True)
    np.testing.assert_array_equal(tail.output, whole.output[2:])
    for one, two, three in zip(state, tail.state, whole.state, strict=True):
        assert_equal_states(one, three)
        assert_equal_states(two, three)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_missing_state_is_zeros(cell: str) -> None:
    stack = Stack(cell, inputs(cell), H, 2, rng=0)
    v = values(stack)
    zeros = tuple(np.zeros((B, H), np.float32) for _ in rk.cell_info(cell)["states"])
    states = [None, (zeros, zeros), [None, list(zeros)], (zeros, None)]
    runs = [stack.forward(v["x"], state) for state in states]
    grads = [stack.backward(runs[0], v["d_output"], state) for state in states]
    for run, grad, state in zip(runs, grads, states, strict=True):
        np.testing.assert_array_equal(run.output, runs[0].output)
        np.testing.assert_array_equal(grad.params["weight_hh_l0"], grads[0].params["weight_hh_l0"])
        np.testing.assert_array_equal(stack.step(v["x"][0], state)[-1][0], runs[0].output[0])


def test_what_the_backward_may_leave_out() -> None:
    stack = Stack("gru", I, H, 2, rng=0)
    v = values(stack)
    run = stack.forward(v["x"])
    full = stack.backward(run, v["d_output"], v["d_state"])
    spared = stack.backward(run, v["d_output"], v["d_state"], need_x=False)
    assert spared.x is None
    states_only = stack.backward(run, None, v["d_state"])
    zeros = stack.backward(run, np.zeros_like(v["d_output"]), v["d_state"])
    for name, value in full.params.items():
        np.testing.assert_array_equal(spared.params[name], value)
        np.testing.assert_array_equal(states_only.params[name], zeros.params[name])


@pytest.mark.parametrize(("steps", "batch"), [(0, 3), (4, 0), (0, 0)])
def test_no_steps_and_no_rows(steps: int, batch: int) -> None:
    stack = Stack("lstm", I, H, 2, dropout=0.5, rng=0)
    run = stack.forward(np.zeros((steps, batch, I), np.float32), rng=np.random.default_rng(0))
    assert run.output.shape == (steps, batch, H)
    assert [s.shape for layer in run.state for s in layer] == [(batch, H)] * 4
    grads = stack.backward(run, np.zeros((steps, batch, H), np.float32))
    assert grads.x is not None
    assert grads.x.shape == (steps, batch, I)
    assert not any(g.any() for g in grads.params.values())


def test_nothing_that_comes_in_is_changed() -> None:
    stack = Stack("lstm", I, H, 2, dropout=0.5, rng=0)
    v = values(stack)
    arrays = [v["x"], v["d_output"], *sum(v["state"] + v["d_state"], ()), *stack.params.values()]
    copies = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    run = stack.forward(v["x"], v["state"], rng=np.random.default_rng(0))
    before = run.output.copy()
    first = stack.backward(run, v["d_output"], v["d_state"])
    again = stack.backward(run, v["d_output"], v["d_state"])  # a run may be used twice
    stack.step(v["x"][0], v["state"])
    for a, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(a, copy)
    np.testing.assert_array_equal(run.output, before)
    for name, value in first.params.items():
        np.testing.assert_array_equal(again.params[name], value)


# --- parameters -----------------------------------------------------------------------------------


def test_names_shapes_and_order_of_the_parameters() -> None:
    stack = Stack("gru", I, H, 2, dtype="float64", rng=0)
    assert {name: p.shape for name, p in stack.params.items()} == {
        "weight_ih_l0": (3 * H, I),
        "weight_hh_l0": (3 * H, H),
        "bias_ih_l0": (3 * H,),
        "bias_hh_l0": (3 * H,),
        "weight_ih_l1": (3 * H, H),
        "weight_hh_l1": (3 * H, H),
        "bias_ih_l1": (3 * H,),
        "bias_hh_l1": (3 * H,),
    }
    assert all(p.dtype == np.float64 for p in stack.params.values())
    assert not any("bias" in name for name in Stack("gru", I, H, 2, bias=False).params)


def test_initial_parameters_are_init_params_drawn_layer_by_layer() -> None:
    rng = np.random.default_rng(7)
    low = rk.init_params("lstm", I, H, rng=rng)
    top = rk.init_params("lstm", H, H, rng=rng)
    one, two = Stack("lstm", I, H, 2, rng=7), Stack("lstm", I, H, 2, rng=np.random.default_rng(7))
    for layer, expected in enumerate((low, top)):
        for name, value in expected.items():
            np.testing.assert_array_equal(one.params[f"{name}_l{layer}"], value)
            np.testing.assert_array_equal(two.params[f"{name}_l{layer}"], value)
    assert (one.params["weight_hh_l0"] != one.params["weight_hh_l1"]).any()
    assert (Stack("lstm", I, H, rng=8).params["weight_hh_l0"] != low["weight_hh"]).any()


def test_updated_and_replaced_parameters_are_used() -> None:
    stack = Stack("gru", I, H, 2, rng=0)
    other = Stack("gru", I, H, 2, rng=1)
    x = values(stack)["x"]
    for k, (name, value) in enumerate(other.params.items()):
        if k % 2:
            stack.params[name] = value.copy()
        else:
            stack.params[name][...] = value
    np.testing.assert_array_equal(stack.forward(x).output, other.forward(x).output)
    np.testing.assert_array_equal(stack.step(x[0])[1][0], other.step(x[0])[1][0])


# --- dropout --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before"])
@pytest.mark.parametrize("tokens", [False, True])
def test_gradients_pass_through_the_masks(cell: str, tokens: bool) -> None:
    stack = Stack(cell, inputs(cell), H, 3, dropout=0.4, dtype="float64", rng=0)
    v = values(stack, tokens=tokens)
    run = stack.forward(v["x"], v["state"], rng=np.random.default_rng(5))
    output, _ = by_reference(stack, v["x"], stack.params, v["state"], masks_of(stack, run))
    assert_close(run.output, output, "output", 3 * forward_length(T, H, H))
    plain, _ = by_reference(stack, v["x"], stack.params, v["state"])
    assert np.abs(run.output - plain).max() > 1e-3  # it does something
    check_gradients(stack, v, run, stack.backward(run, v["d_output"], v["d_state"]))


def test_dropout_lies_between_layers_and_nowhere_else() -> None:
    """The layer above copies its input: what is dropped and scaled is then seen as it is."""
    stack = Stack("rnn_relu", 64, 64, 2, dropout=0.25, bias=False, dtype="float64", rng=0)
    for layer in (0, 1):
        stack.params[f"weight_ih_l{layer}"][...] = np.eye(64)
        stack.params[f"weight_hh_l{layer}"][...] = 0
    x = np.ones((50, 20, 64))
    output = stack.forward(x, rng=np.random.default_rng(3)).output
    assert set(np.unique(output)) == {0.0, 1 / 0.75}
    count = output.size
    assert abs((output == 0).sum() - count / 4) < 5 * np.sqrt(count * 3 / 16)  # five sigma
    for axis in ((1, 2), (0, 2), (0, 1)):  # every step, row and unit has draws of its own
        assert (np.unique((output == 0).sum(axis)).size) > 1
    single = Stack("rnn_relu", 64, 64, 1, dropout=0.25, rng=0)
    one = single.forward(x.astype(np.float32))  # no layer above: nothing to draw, no rng needed
    np.testing.assert_array_equal(one.output, single.forward(x.astype(np.float32), training=False).output)


def test_masks_come_from_the_generator_alone() -> None:
    x = values(Stack("gru", I, H, rng=0))["x"]
    runs = []
    for dtype in ("float32", "float32", "float64"):
        stack = Stack("gru", I, H, 3, dropout=0.5, dtype=dtype, rng=0)
        runs.append(stack.forward(x.astype(dtype), rng=np.random.default_rng(9)))
    np.testing.assert_array_equal(runs[0].output, runs[1].output)
    assert runs[0]._seed == runs[2]._seed  # the same elements in either dtype
    np.testing.assert_allclose(runs[0].output, runs[2].output, rtol=1e-5, atol=1e-6)
    rng = np.random.default_rng(9)
    stack = Stack("gru", I, H, 3, dropout=0.5, rng=0)
    first, second = stack.forward(x, rng=rng).output, stack.forward(x, rng=rng).output
    np.testing.assert_array_equal(first, runs[0].output)
    assert (first != second).any()


def test_no_dropout_in_inference() -> None:
    with_dropout = Stack("lstm", I, H, 2, dropout=0.5, rng=0)
    without = Stack("lstm", I, H, 2, rng=0)
    x = values(without)["x"]
    rng = np.random.default_rng(9)
    expected = without.forward(x, training=False)
    np.testing.assert_array_equal(with_dropout.forward(x, training=False, rng=rng).output, expected.output)
    np.testing.assert_array_equal(with_dropout.step(x[0])[-1][0], expected.output[0])
    without.forward(x, rng=rng)
    assert rng.bit_generator.state == np.random.default_rng(9).bit_generator.state  # left untouched


# --- masks inside the layers, all layers' outputs, readings ----------------------------------------


def test_masks_of_every_layer_are_drawn_from_one_seed() -> None:
    """A stack with noise is its layers, each with its own masks; inference takes the expectation, as steps do."""
    stack = Stack("lstm", I, H, 3, zoneout=(0.1, 0.3), recurrent_dropout=0.2, weight_dropout=0.1, rng=0)
    v = values(stack)
    run = stack.forward(v["x"], v["state"], rng=np.random.default_rng(4))
    seed = int(np.random.default_rng(4).integers(2**64, dtype=np.uint64))
    x = v["x"]
    for layer, output in enumerate(run.outputs):
        noise = rk.Noise(seed, (0.1, 0.3), 0.2, False, 0.1, layer=layer)
        one = rk.forward("lstm", x, layer_params(stack.params, layer), v["state"][layer], noise=noise)
        np.testing.assert_array_equal(one.output, output)
        x = one.output
    np.testing.assert_array_equal(x, run.output)
    with_states = stack.forward(v["x"], v["state"], rng=np.random.default_rng(4), all_states=True)
    np.testing.assert_array_equal(with_states.output, run.output)
    assert run.states is None
    assert with_states.states is not None
    np.testing.assert_array_equal(with_states.states[2][1][-1], run.state[2][1])
    check_gradients_match(stack, v, run)
    inference = stack.forward(v["x"], v["state"], training=False)
    np.testing.assert_array_equal(stack.step(v["x"][0], v["state"])[-1][0], inference.output[0])
    assert (inference.output != run.output).any()
    with pytest.raises(TypeError, match=r"rng: expected a numpy.random.Generator, as there are masks to draw"):
        stack.forward(v["x"])


def check_gradients_match(stack: Stack, v: dict[str, Any], run: StackRun) -> None:
    """The same gradients in every choice of memory."""
    wanted = stack.backward(run, v["d_output"], v["d_state"])
    for memory in ("states", "replay"):
        again = stack.forward(v["x"], v["state"], rng=np.random.default_rng(4), memory=memory)
        found = stack.backward(again, v["d_output"], v["d_state"])
        np.testing.assert_array_equal(found.x, wanted.x)
        for name, value in found.params.items():
            np.testing.assert_allclose(value, wanted.params[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_losses_on_every_layer(bidirectional: bool) -> None:
    """A loss on a lower layer's output adds the gradients of the stack that ends there."""
    stack = Stack("gru", I, H, 3, dtype="float64", bidirectional=bidirectional, rng=0)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((T, B, I))
    run = stack.forward(x)
    assert [output.shape for output in run.outputs] == [(T, B, H * stack.num_directions)] * 3
    assert run.outputs[-1].tobytes() == run.output.tobytes()
    d = [rng.standard_normal(run.output.shape) for _ in range(3)]
    found = stack.backward(run, d[2], d_outputs=(d[0], d[1], None), norms=True)
    also = stack.backward(run, None, d_outputs=d)
    apart = [stack.backward(run, d[2])]
    for layer in (0, 1):
        low = Stack("gru", I, H, layer + 1, dtype="float64", bidirectional=bidirectional, rng=0)
        apart.append(low.backward(low.forward(x), d[layer]))
    for name, value in found.params.items():
        total = sum(part.params[name] for part in apart if name in part.params)
        np.testing.assert_allclose(value, total, rtol=1e-9, atol=1e-11)
        np.testing.assert_array_equal(also.params[name], value)
    assert found.norms is not None
    assert [n.shape for layer in found.norms for n in layer] == [(T, B)] * 3 * stack.num_directions
    with pytest.raises(ValueError, match="d_outputs: expected 3 arrays or None, got 2"):
        stack.backward(run, None, d_outputs=d[:2])


def test_pytorch_agrees_on_a_projected_stack() -> None:
    torch = pytest.importorskip("torch")
    stack = Stack("lstm_projected", I, H, 2, dtype="float64", proj_size=P, bidirectional=True, rng=0)
    layer = torch.nn.LSTM(I, H, 2, dtype=torch.float64, proj_size=P, bidirectional=True)
    layer.load_state_dict({name: torch.from_numpy(p.copy()) for name, p in stack.params.items()}, strict=True)
    assert [name for name, _ in layer.named_parameters()] == list(stack.params)
    x = np.random.default_rng(0).standard_normal((T, B, I))
    given = torch.from_numpy(x).requires_grad_()
    output, (h, c) = layer(given)
    (output.sum() + h.pow(2).sum() + c.sum()).backward()
    run = stack.forward(x)
    np.testing.assert_allclose(run.output, output.detach(), rtol=1e-11, atol=1e-12)
    d_state = [(2 * h, np.ones_like(c)) for h, c in run.state]
    grads = stack.backward(run, np.ones_like(run.output), d_state)
    assert grads.x is not None
    np.testing.assert_allclose(grads.x, given.grad, rtol=1e-10, atol=1e-11)
    for name, p in layer.named_parameters():
        np.testing.assert_allclose(grads.params[name], p.grad, rtol=1e-10, atol=1e-11)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"cell": "ltsm"}, ValueError, "cell: expected"),
        ({"num_layers": 0}, ValueError, "num_layers: expected at least 1, got 0"),
        ({"num_layers": 1.5}, TypeError, "num_layers: expected an integer, got 1.5"),
        ({"num_layers": True}, TypeError, "num_layers: expected an integer"),
        ({"dropout": 1.0}, ValueError, r"dropout: expected a number in \[0, 1\), got 1.0"),
        ({"dropout": -0.1}, ValueError, "dropout: expected"),
        ({"dropout": float("nan")}, ValueError, "dropout: expected"),
        ({"dropout": "0.5"}, TypeError, "dropout: expected a number, got '0.5'"),
        ({"hidden_size": 0}, ValueError, "hidden_size: expected"),
        ({"input_size": -1}, ValueError, "input_size: expected"),
        ({"dtype": "float16"}, ValueError, "dtype: expected"),
        ({"rng": "seed"}, TypeError, "rng: expected"),
    ],
)
def test_bad_arguments_of_the_constructor(change: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"cell": "lstm", "input_size": I, "hidden_size": H, **change}
    with pytest.raises(error, match=message):
        Stack(**arguments)


def test_bad_arguments_of_the_methods() -> None:
    stack = Stack("lstm", I, H, 2, rng=0)
    v = values(stack)
    x, state = v["x"], v["state"]
    bad_states: list[tuple[Any, type[Exception], str]] = [
        (state[:1], ValueError, "expected 2 layers, got 1"),
        (np.zeros((2, 2, B, H), np.float32), TypeError, "expected a tuple over layers, got ndarray"),
        (3, TypeError, "expected a tuple over layers, got int"),
        ((state[0], state[1][0]), TypeError, r"\[1\]: expected a tuple of arrays, got ndarray"),
        ((state[0], state[1][:1]), ValueError, "expected 2 arrays"),
    ]
    run = stack.forward(x)
    for bad, error, message in bad_states:
        with pytest.raises(error, match=rf"^state.*{message}"):
            stack.forward(x, bad)
        with pytest.raises(error, match=rf"^state.*{message}"):
            stack.step(x[0], bad)
        with pytest.raises(error, match=rf"^d_state.*{message}"):
            stack.backward(run, v["d_output"], bad)
    with pytest.raises(TypeError, match="x: expected dtype float32"):
        stack.forward(x.astype(np.float64))
    with pytest.raises(ValueError, match=r"^x"):
        stack.forward(x[..., 1:])
    with pytest.raises(ValueError, match=r"^d_output"):
        stack.backward(run, v["d_output"][1:])
    not_a_stacks: Any = rk.forward("lstm", x, layer_params(stack.params, 0))
    with pytest.raises(TypeError, match="run: expected a StackRun, got Run"):
        stack.backward(not_a_stacks, v["d_output"])
    with pytest.raises(ValueError, match="run: expected one of 2 layers, got 3"):
        stack.backward(Stack("lstm", I, H, 3).forward(x), v["d_output"])
    with pytest.raises(ValueError, match="run: expected one made with training=True"):
        stack.backward(stack.forward(x, training=False), v["d_output"])
    no_generators: list[Any] = [None, 3]
    for rng in no_generators:
        with pytest.raises(TypeError, match=r"rng: expected a numpy.*Generator, as dropout is 0.5"):
            Stack("lstm", I, H, 2, dropout=0.5).forward(x, rng=rng)
