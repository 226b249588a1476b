"""Bits on a GPU, emulated: the same call again, a row among any others, memory modes, cuts of a sequence; by kernels.

What docs/cuda.md and docs/reproducibility.md say of GPUs, compared bit for bit. Emulated products are plain ones, each
element one sum: what cuBLAS makes of other numbers of rows only a GPU can say, so "products" is "reference" here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import make, on_device, random_states

import rnnkernels as rk
from rnnkernels import cuda

BATCH = 19  # off every group of rows; more than two of eight, more than one of sixteen
SHAPE = (5, BATCH, 4, 34)
ONE_KERNEL = [("resident", "bfloat16"), ("resident", "float16"), ("grid", "bfloat16"), ("grid", "float16")]
SERVED = {
    "resident": ["lstm", "gru", "slstm", "rnn_tanh", "gru_reset_before", "mut2", "mgu"],
    "grid": ["lstm", "gru", "slstm"],
}
CALLS = [(kernel, dtype, cell) for kernel, dtype in ONE_KERNEL for cell in SERVED[kernel]]
CALLS += [("reference", "bfloat16", "lstm"), ("reference", "float32", "gru")]
EACH_CALL = pytest.mark.parametrize(("kernel", "dtype", "cell"), CALLS)
OPTIONS = ["dense", "lengths", "resets", "reverse"]


class Rows:
    """A problem's rows as tensors: x, states, gradients, lengths, resets; some of them are a problem, too."""

    def __init__(self, torch: Any, cell: str, dtype: str, options: str, shape: Any = SHAPE) -> None:
        steps, batch, inputs, hidden = shape
        p = make(cell, (steps, batch, hidden if rk.cell_info(cell)["direct"] else inputs, hidden))
        kind = getattr(torch, dtype)
        rng = np.random.default_rng(batch)
        self.torch, self.cell = torch, cell
        self.x, self.params, self.state = on_device(torch, p, kind)
        self.d = torch.from_numpy(p.d_output).to(kind)
        self.d_state = tuple(torch.from_numpy(d).to(kind) for d in p.d_state)
        self.reset_state = tuple(
            torch.from_numpy(s).to(kind)
            for s in random_states(cell, rng, batch, hidden, "float64", p.state[0].shape[1])
        )
        lengths = rng.integers(0, steps + 1, batch)
        lengths[: min(batch, 3)] = [steps, 0, 1][:batch]
        self.lengths = lengths if options in {"lengths", "reverse"} else None
        self.resets = rng.random((steps, batch)) < 0.3 if options in {"resets", "reverse"} else None
        self.reverse = options == "reverse"

    def of(self, rows: Any) -> Rows:
        """The same of some rows, in an order."""
        some = object.__new__(Rows)
        some.torch, some.cell, some.params, some.reverse = self.torch, self.cell, self.params, self.reverse
        some.x, some.d = self.x[:, rows].contiguous(), self.d[:, rows].contiguous()
        for name in ("state", "d_state", "reset_state"):
            setattr(some, name, tuple(part[rows].contiguous() for part in getattr(self, name)))
        some.lengths = None if self.lengths is None else self.lengths[rows]
        some.resets = None if self.resets is None else self.resets[:, rows]
        return some

    def run(self, **options: Any) -> Any:
        if self.resets is not None:
            options |= {"resets": self.resets, "reset_state": self.reset_state}
        return rk.forward(
            self.cell, self.x, self.params, self.state, lengths=self.lengths, reverse=self.reverse, **options
        )

    def results(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What each row has of its own, the batch first; and what rows share.

        What is kept is float32: results that are halves would hide most of what another order of a sum changes.
        """
        run = self.run()
        grads: Any = rk.backward(run, self.d, self.d_state)
        own = {"output": run.output.transpose(0, 1), "dx": grads.x.transpose(0, 1)}
        own |= {f"state {k}": s for k, s in enumerate(run.state)}
        own |= {f"d state {k}": s for k, s in enumerate(grads.state)}
        if self.lengths is None and self.resets is None:  # what is kept has the rows of each step, in their order
            kept = run._kept.reserve.view.owner.view(self.torch.float32)
            own["kept"] = kept.reshape(*self.x.shape[:2], -1).transpose(0, 1)
        if self.resets is not None:
            own |= {f"d reset state {k}": s for k, s in enumerate(grads.reset_state)}
        return own, dict(grads.params)


def bits(value: Any) -> Any:
    """The numbers as integers, so that a NaN is itself."""
    array = value.float().contiguous().numpy()
    return array.view(np.int32)


def assert_same(found: dict[str, Any], wanted: dict[str, Any], of: Any = slice(None), to: Any = slice(None)) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(bits(found[name][of]), bits(value[to]), err_msg=name)


@EACH_CALL
@pytest.mark.parametrize("options", OPTIONS)
def test_a_row_is_the_same_among_any_others(tensors: Any, kernel: str, dtype: str, cell: str, options: str) -> None:
    """Again; alone; in another order; beside fewer; beside rows that are NaN."""
    cuda.set_kernel(kernel)
    rows = Rows(tensors, cell, dtype, options)
    own, shared = rows.results()
    assert not any(tensors.isnan(value).any() for name, value in (own | shared).items() if name != "kept")
    again = rows.results()
    assert_same(again[0], own)
    assert_same(again[1], shared)
    for some in ([0], [BATCH - 1], list(range(BATCH))[::-1], [5, 2, 11], [*range(3, 12)]):
        assert_same(rows.of(some).results()[0], own, to=some)
    keep = [row for row in range(BATCH) if row not in (4, 12)]
    for array in (rows.x, rows.d):
        array[:, [4, 12]] = float("nan")
    for states in (rows.state, rows.d_state, rows.reset_state):
        for part in states:
            part[[4, 12]] = float("nan")
    beside = rows.results()[0]
    assert tensors.isnan(beside["dx"][[4, 12]]).any()
    assert_same(beside, own, keep, keep)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("tf32", [False, True])
def test_a_row_of_float32(tensors: Any, options: str, tf32: bool) -> None:
    """As many as the emulated card has room for."""
    cuda.set_kernel("resident")
    cuda.allow_tf32(tf32)
    try:
        rows = Rows(tensors, "lstm", "float32", options, (5, 3 if options in {"resets", "reverse"} else 7, 4, 34))
        own = rows.results()[0]
        assert_same(rows.results()[0], own)
        for some in ([0], [2], [2, 0, 1]):
            assert_same(rows.of(some).results()[0], own, to=some)
    finally:
        cuda.allow_tf32(False)


@pytest.mark.parametrize("shape", [(3, 1, 2, 5), (2, 33, 3, 33), (40, 9, 2, 24), (1, 8, 1, 1)])
@pytest.mark.parametrize("kernel", ["resident", "grid", "reference"])
def test_odd_sizes(tensors: Any, kernel: str, shape: Any) -> None:
    cuda.set_kernel(kernel)
    rows = Rows(tensors, "lstm", "bfloat16", "lengths", shape)
    own, shared = rows.results()
    again = rows.results()
    assert_same(again[0], own)
    assert_same(again[1], shared)
    for row in {0, shape[1] // 2, shape[1] - 1}:
        assert_same(rows.of([row]).results()[0], own, to=[row])


@pytest.mark.parametrize("kernel", ["resident", "grid"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_options_that_they_serve(tensors: Any, kernel: str, cell: str) -> None:
    """A term, weight dropout, all states, tokens, graphs: against "reference", whose sums have another order."""
    torch = tensors
    rows = Rows(torch, cell, "bfloat16", "lengths")
    term = torch.from_numpy(np.random.default_rng(0).standard_normal((BATCH, len(rows.params["weight_ih"]))))
    tokens = torch.from_numpy(np.random.default_rng(1).integers(0, 4, (5, BATCH)))
    calls: list[dict[str, Any]] = [
        {"term": term.to(torch.bfloat16)},
        {"noise": rk.Noise(1, weight_dropout=0.3)},
        {"all_states": True},
        {},
    ]
    plain: list[Any] = []
    for k, options in enumerate(calls):
        if k == 3:
            rows.x = tokens
        results = []
        for name in ("reference", kernel):
            cuda.set_kernel(name)
            run = rows.run(**options)
            grads: Any = rk.backward(run, rows.d)
            results.append([run.output, *run.state, *(run.states or ()), *grads.params.values()])
        for a, b in zip(*results, strict=True):
            assert (a.float() - b.float()).abs().max() <= 2.0**-5 * b.float().abs().max()
        plain.append(results[1][0])
    assert not any(torch.equal(plain[2], other) for other in (plain[0], plain[1], plain[3]))


# ---- memory modes, and cuts ---------------------------------------------------------------------


CUT = [
    ("reference", "bfloat16"),
    ("products", "float16"),
    *ONE_KERNEL,
    ("reference", "float32"),
    ("products", "float64"),
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(("kernel", "dtype"), CUT)
@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm"])
def test_training_has_inferences_bits(tensors: Any, cell: str, kernel: str, dtype: str, options: str) -> None:
    """With "all" and "states" of any dtype; with "replay", which hands states from call to call, not of halves."""
    torch = tensors
    cuda.set_kernel(kernel)
    rows = Rows(torch, cell, dtype, options)
    wanted = rows.run(training=False)

    def same(run: Any) -> bool:
        return all(map(torch.equal, (run.output, *run.state), (wanted.output, *wanted.state)))

    assert same(rows.run(memory="all"))
    assert same(rows.run(memory="states"))
    assert same(rows.run(memory="replay")) == (dtype not in {"bfloat16", "float16"})


@pytest.mark.parametrize("options", ["dense", "lengths"])
@pytest.mark.parametrize(("kernel", "dtype"), CUT)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_replay_is_a_sequence_that_is_cut(tensors: Any, cell: str, kernel: str, dtype: str, options: str) -> None:
    """The bits of calls of its pieces, one behind the other: of halves the states between two of them are halves."""
    torch = tensors
    cuda.set_kernel(kernel)
    rows = Rows(torch, cell, dtype, options)
    found = rows.run(memory="replay")
    state = rows.state
    for piece in found._kept.pieces:
        lengths = None
        if rows.lengths is not None:
            lengths = np.clip(rows.lengths, piece.steps.start, piece.steps.stop) - piece.steps.start
        run: Any = rk.forward(cell, rows.x[piece.steps], rows.params, state, lengths=lengths)
        assert torch.equal(run.output, found.output[piece.steps])
        state = run.state
    assert all(map(torch.equal, state, found.state))
    assert len(found._kept.pieces) > 1


@pytest.mark.parametrize(("kernel", "dtype"), [*CUT, ("resident", "float32")])
@pytest.mark.parametrize("cell", ["lstm", "rnn_tanh"])
def test_a_halfs_steps_are_calls_of_one_step(tensors: Any, cell: str, kernel: str, dtype: str) -> None:
    """Of float32 and float64 they are the sequence; of halves where h is all of the state, and products round it."""
    torch = tensors
    cuda.set_kernel(kernel)
    rows = Rows(torch, cell, dtype, "dense", (5, 3, 4, 34))
    layer = rk.Prepared(cell, rows.params)
    whole, _ = layer.forward(rows.x, rows.state)
    stepper = layer.stepper(3, rows.state)
    before: Any = rows.state
    same = True
    for t, x_t in enumerate(rows.x):
        h = stepper(x_t)
        _, before = layer.forward(rows.x[t : t + 1], before)
        assert torch.equal(h, before[0])
        same = same and torch.equal(h, whole[t])
    assert same == (dtype not in {"bfloat16", "float16"} or cell == "rnn_tanh")
