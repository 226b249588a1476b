"""products="bfloat16": the reference's numbers forward, float32's gradients nearly, the same bits wherever it is asked.

Where the processor has no instruction for it, what serves is float32, bit for bit.
"""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from problems import EMPTY_SHAPES, FORMS, SHAPES, Array, Problem, every_cell_and_every_set, make

import rnnkernels as rk
from rnnkernels import _cpu, bptt
from rnnkernels.reference import low_precision

LOW: Any = {"products": "bfloat16"}

# A state's last bit may move the rounding of the next step: about a weight times 2^-8 of the state.
ONE_STEP, SEVERAL = 4e-6, 4e-3


def served() -> bool:
    """Whether the set in use has kernels; else float32 serves."""
    return _cpu.low_kernels("bfloat16")[1] is not None


def assert_bits(found: Any, expected: Any) -> None:
    for one, two in zip(found, expected, strict=True):
        assert one.tobytes() == two.tobytes()


def flat(run: Any) -> list[Array]:
    output, state = (run.output, run.state) if isinstance(run, rk.Run) else run
    return [output, *state]


def inner_product(cell: str) -> bool:
    """Whether a product multiplies what the step itself makes, in float32: r h, or what is projected."""
    operands = {operand for _, _, operand in rk.cell_info(cell)["gates"]}
    return "gated" in operands or rk.cell_info(cell)["projected"]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("cell", "isa"), every_cell_and_every_set())
def test_agrees_with_the_reference(cell: str, isa: str, tokens: bool) -> None:
    rk.set_instruction_set(isa)
    for shape in [*SHAPES, (2, 5, 65, 33)]:
        p = make(cell, shape, "float32", tokens=tokens)
        run = p.forward(**LOW)
        if not served():
            assert_bits(flat(run), flat(p.forward()))
            continue
        state = p.state
        for t in range(len(p.x)):  # each step from the kernels' own states: the same numbers are rounded
            after = rk.step(cell, p.x[t], p.params, state, **LOW)
            _, expected = low_precision.forward(cell, p.x[t : t + 1], p.params, state, arithmetic="bfloat16")
            for mine, theirs in zip(after, expected, strict=True):
                limit = ONE_STEP * max(1.0, float(np.abs(theirs).max()))
                assert np.median(np.abs(mine - theirs)) <= limit
                assert np.abs(mine - theirs).max() <= (SEVERAL if inner_product(cell) else limit)
            state = after
        assert_bits(run.state, state)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_the_same_bits_wherever_it_is_asked(cell: str, tokens: bool) -> None:
    for shape in [*SHAPES, *EMPTY_SHAPES]:
        p = make(cell, shape, "float32", tokens=tokens)
        expected = flat(p.forward(**LOW))
        assert_bits(flat(p.forward(training=False, **LOW)), expected)
        layer = rk.Prepared(cell, p.params, tokens=tokens, **LOW)
        for threads in (1, 3):
            rk.set_num_threads(threads)
            assert_bits(flat(layer.forward(p.x, p.state)), expected)
            assert_bits(flat(p.forward(**LOW)), expected)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert other.products == "bfloat16"
            assert_bits(flat(other.forward(p.x, p.state)), expected)
        stepper = layer.stepper(p.x.shape[1], p.state)
        for x_t, output in zip(p.x, expected[0], strict=True):
            assert_bits([stepper(x_t)], [output])


@pytest.mark.parametrize("cell", ["lstm", "gru", "mut3"])
def test_a_token_is_a_vector_of_zeros_and_a_one(cell: str) -> None:
    p = make(cell, (4, 3, 9, 20), "float32", tokens=True)
    vectors = np.eye(9, dtype=np.float32)[p.x]
    assert_bits(flat(rk.forward(cell, vectors, p.params, p.state, **LOW)), flat(p.forward(**LOW)))


@pytest.mark.parametrize("cell", FORMS)
def test_half_the_memory_is_the_same_product(cell: str) -> None:
    p = make(cell, (3, 2, 33, 20), "float32")
    half = rk.Prepared(cell, p.params, weights="bfloat16", **LOW)
    if served():
        assert_bits(flat(half.forward(p.x, p.state)), flat(p.forward(**LOW)))
    else:
        assert_bits(
            flat(half.forward(p.x, p.state)),
            flat(rk.Prepared(cell, p.params, weights="bfloat16").forward(p.x, p.state)),
        )


@pytest.mark.parametrize("cell", FORMS)
def test_a_row_does_not_see_its_neighbours(cell: str) -> None:
    p = make(cell, (4, 13, 33, 20), "float32")
    output, *final = flat(p.forward(**LOW))
    for rows in (slice(0, 1), slice(5, 7), slice(1, 13)):
        assert_bits(flat(p.rows(rows).forward(**LOW)), [output[:, rows].copy(), *(s[rows].copy() for s in final)])
    loud = p.x.copy()
    loud[3:] = np.nan
    assert_bits([rk.forward(cell, loud, p.params, p.state, **LOW).output[:3].copy()], [output[:3].copy()])


def rms(array: Array) -> float:
    return float(np.sqrt(np.mean(array.astype(np.float64) ** 2)))


def kinked(cell: str) -> bool:
    """Whether rounding may move a unit from one side of a kink to the other, and its gradient with it."""
    return cell in ("rnn_relu", "ligru", "indrnn")


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("cell", "isa"), every_cell_and_every_set())
def test_gradients_are_near_those_of_full_products(cell: str, isa: str, tokens: bool) -> None:
    rk.set_instruction_set(isa)
    for shape in [(3, 7, 33, 20), (2, 3, 16, 40)]:
        p = make(cell, shape, "float32", tokens=tokens)
        found, exact = p.results(**LOW), p.results()
        assert found.keys() == exact.keys()
        for name, value in exact.items():
            if not served():
                assert found[name].tobytes() == value.tobytes()
            else:
                scale = max(1e-3, rms(value))
                assert rms(found[name] - value) <= (0.2 if kinked(cell) else 0.04) * scale, name
                assert np.median(np.abs(found[name] - value)) <= 0.01 * scale, name


@pytest.mark.parametrize("cell", ["lstm", "gru_reset_before", "lstm_projected"])
def test_gradients_have_the_same_bits_whatever_is_kept(cell: str) -> None:
    p = make(cell, (7, 5, 33, 20), "float32")
    whole = p.results(**LOW)
    for memory in ("states", "replay"):
        for name, value in p.results(memory=memory, **LOW).items():
            if name.startswith("d ") and name[2:] in p.params:
                np.testing.assert_allclose(value, whole[name], rtol=1e-4, atol=1e-4)
            else:
                assert value.tobytes() == whole[name].tobytes(), (memory, name)
    rk.set_num_threads(3)
    for name, value in p.results(**LOW).items():
        assert value.tobytes() == whole[name].tobytes(), name


def gradients(p: Problem, run: rk.Run, products: str) -> dict[str, Array]:
    """What the backward of a run gives with these products, by name."""
    kept: Any = run._kept
    grads = rk.backward(
        replace(run, _kept=kept._replace(call=kept.call._replace(products=products))), p.d_output, p.d_state
    )
    named = {**grads.params, **{f"state[{i}]": s for i, s in enumerate(grads.state)}}
    for name, value in (("x", grads.x), ("term", grads.term)):
        if value is not None:
            named[name] = value
    return named


def test_the_backward_has_them_too() -> None:
    """The forward's results alone would have other gradients."""
    p = make("lstm", (4, 7, 33, 40), "float32")
    run = p.forward(**LOW)
    found, other = gradients(p, run, "bfloat16"), gradients(p, run, "full")
    for name in ("x", "weight_ih", "weight_hh", "state[0]"):
        assert (found[name].tobytes() == other[name].tobytes()) != served(), name


# Steps, rows and units at and off the edges of pairs, vectors and panels; sums of several blocks and chunks.
ODD = [(1, 1, 5, 1), (2, 1, 4, 7), (3, 3, 33, 33), (1, 20, 9, 17), (2, 3, 65, 70)]
MANY_ROWS = [(43, 6, 9, 20), (19, 27, 70, 5), (601, 7, 3, 5)]


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize(("cell", "isa"), every_cell_and_every_set())
def test_the_backward_alone_rounds_each_product_once(cell: str, isa: str, tokens: bool) -> None:
    """Beside full products after the same forward: there are no kinks, and each step's gradient is near."""
    rk.set_instruction_set(isa)
    for shape in [*ODD, *EMPTY_SHAPES, *(MANY_ROWS if cell == "lstm" else [])]:
        p = make(cell, shape, "float32", tokens=tokens)
        run = p.forward(**LOW)
        found, exact = gradients(p, run, "bfloat16"), gradients(p, run, "full")
        assert found.keys() == exact.keys()
        for name, value in exact.items():
            if served() and value.size > 0:
                least = 0.1 if shape[3] == 1 else 1e-3  # a sum of one unit's gates may cancel
                assert rms(found[name] - value) <= 8e-3 * max(least, rms(value)), (shape, name)
            else:
                assert found[name].tobytes() == value.tobytes(), (shape, name)


@pytest.mark.parametrize("cell", ["lstm", "rnn_tanh"])
@pytest.mark.parametrize(("batch", "inputs", "hidden"), [(1, 5, 1), (1, 4, 7), (3, 65, 33), (20, 9, 33), (301, 5, 7)])
def test_the_gradients_of_a_step_are_products_of_rounded_operands(
    cell: str, batch: int, inputs: int, hidden: int
) -> None:
    p = make(cell, (1, batch, inputs, hidden), "float32")
    term = np.zeros((batch, len(p.params["bias_ih"])), np.float32)
    found = gradients(p, p.forward(term=term, **LOW), "bfloat16")

    def rounded(array: Array) -> Array:
        return (low_precision.round_to_bfloat16(array) if served() else array).astype(np.float64)

    dz, x, h = rounded(found["term"]), rounded(p.x[0]), rounded(p.state[0])  # dz: of the sums of each gate
    w_ih, w_hh = rounded(p.params["weight_ih"]), rounded(p.params["weight_hh"])
    expected: dict[str, Any] = {"x": [dz @ w_ih], "weight_ih": dz.T @ x, "weight_hh": dz.T @ h, "state[0]": dz @ w_hh}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=2e-6 * max(1.0, rms(np.asarray(value))))


@pytest.mark.parametrize("cell", FORMS)
def test_a_rows_gradients_do_not_see_its_neighbours_or_the_threads(cell: str) -> None:
    p = make(cell, (5, 13, 33, 40), "float32")
    whole = gradients(p, p.forward(**LOW), "bfloat16")
    rk.set_num_threads(3)
    threaded = gradients(p, p.forward(**LOW), "bfloat16")
    assert_bits(threaded.values(), whole.values())
    states = [name for name in whole if name.startswith("state")]
    for rows in (slice(0, 1), slice(5, 7), slice(1, 13)):
        part = p.rows(rows)
        found = gradients(part, part.forward(**LOW), "bfloat16")
        assert_bits([found["x"]], [whole["x"][:, rows].copy()])
        assert_bits([found[name] for name in states], [whole[name][rows].copy() for name in states])
    lengths = [5, 2, 4, 1, 5, 3, 5, 2, 4, 1, 5, 3, 5]
    ragged = gradients(p, p.forward(lengths=lengths, **LOW), "bfloat16")
    for threads in (1, 2):
        rk.set_num_threads(threads)
        assert_bits(gradients(p, p.forward(lengths=lengths, **LOW), "bfloat16").values(), ragged.values())
    for row in (1, 2, 6):
        alone = p.rows(slice(row, row + 1))
        alone.x, alone.d_output = alone.x[: lengths[row]].copy(), alone.d_output[: lengths[row]].copy()
        found = gradients(alone, alone.forward(**LOW), "bfloat16")
        assert_bits([found["x"]], [ragged["x"][: lengths[row], row : row + 1].copy()])
        assert_bits([found[name] for name in states], [ragged[name][row : row + 1].copy() for name in states])


def test_small_layers_on_layers_have_the_bits_of_each() -> None:
    stack = rk.Stack("lstm", 9, 20, 3, rng=0)
    x = np.random.default_rng(0).standard_normal((11, 4, 9)).astype(np.float32)
    run, h = stack.forward(x, **LOW), x
    for number in range(3):
        layer = {name[:-3]: value for name, value in stack.params.items() if name.endswith(f"_l{number}")}
        h = rk.forward("lstm", h, layer, **LOW).output
    assert_bits([run.output], [h])
    prepared = stack.prepare(**LOW)
    assert_bits([prepared.forward(x)[0]], [h])
    assert_bits([stack.step(x[0], **LOW)[-1][0]], [h[0].copy()])
    for options in ({"memory": "states"}, {"lengths": [11] * 4}):
        assert_bits([stack.forward(x, **LOW, **options).output], [h])
    back = stack.backward(run, np.ones_like(h))
    assert {name: grad.shape for name, grad in back.params.items()} == {n: w.shape for n, w in stack.params.items()}


def test_a_driver_hands_it_on() -> None:
    stack = rk.Stack("gru", 9, 20, 2, rng=0)
    x = np.random.default_rng(0).standard_normal((8, 4, 9)).astype(np.float32)

    def loss(output: Array, start: int) -> Any:
        return float((output**2).sum() / 2), output, {}

    run = stack.forward(x, **LOW)
    expected = stack.backward(run, run.output).params
    asked: Any = {"k1": 3, "k2": 20}
    for result in (bptt.full_bptt(stack, x, loss, **LOW), bptt.truncated_bptt(stack, x, loss, **asked, **LOW)):
        assert_bits([result.grads[name] for name in expected], list(expected.values()))
    parts = list(bptt.windows(stack, [x], loss, k1=4, k2=4, **LOW))
    np.testing.assert_allclose(sum(part.loss for part in parts), bptt.full_bptt(stack, x, loss, **LOW).loss, rtol=1e-5)
    if served():
        assert bptt.full_bptt(stack, x, loss).loss != bptt.full_bptt(stack, x, loss, **LOW).loss


def test_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    p = make("lstm", (3, 2, 5, 6), "float32")
    monkeypatch.setattr("rnnkernels._runtime.on_cuda", True)
    for call in (
        lambda: p.forward(**LOW),
        lambda: rk.step("lstm", p.x[0], p.params, **LOW),
        lambda: rk.Stack("lstm", 5, 6, 2).forward(p.x, **LOW),
    ):
        with pytest.raises(
            NotImplementedError, match=r"^products: expected 'full' on a GPU, where the arrays themselves"
        ):
            call()


def test_wrong_use_is_named() -> None:
    p = make("lstm", (3, 2, 5, 6), "float64")
    for call in (
        lambda: p.forward(**LOW),
        lambda: rk.step("lstm", p.x[0], p.params, **LOW),
        lambda: rk.Prepared("lstm", p.params, **LOW),
        lambda: rk.Stack("lstm", 5, 6, dtype="float64").forward(p.x, **LOW),
    ):
        with pytest.raises(TypeError, match=r"^products: bfloat16 needs float32 parameters, got float64"):
            call()
    with pytest.raises(ValueError, match=r"^products: expected one of full, bfloat16, got 'int8'"):
        make("lstm", (3, 2, 5, 6), "float32").forward(products="int8")
