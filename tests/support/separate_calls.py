"""What a ragged call must give: the separate plain calls that it stands for, one row and one sequence at a time.

Not here: which calls are tried (test_ragged.py, test_properties.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from problems import Array, Problem, random_states
from tolerances import assert_close, gradient_length

import rnnkernels as rk


def reset_state(p: Problem, seed: int = 7) -> tuple[Array, ...]:
    batch, width = p.state[0].shape
    return random_states(p.cell, np.random.default_rng(seed), batch, p.state[-1].shape[1], p.state[0].dtype, width)


def term_of(p: Problem) -> Array:
    rows = len(p.params["weight_ih"])
    return np.random.default_rng(5).standard_normal((p.x.shape[1], rows)).astype(p.state[0].dtype)


def by_hand(p: Problem, lengths: Array, resets: Array | None, reset: Any, reverse: bool) -> dict[str, Array]:
    """The same from plain calls on one row and one sequence at a time, and their sums in float64."""
    steps, batch = p.x.shape[:2]
    hidden = p.state[0].shape[1]
    output = np.zeros((steps, batch, hidden), p.state[0].dtype)
    final = [s.copy() for s in p.state]
    dx = np.zeros(p.x.shape, output.dtype)
    d_params = {name: np.zeros(value.shape) for name, value in p.params.items()}
    d_state = [np.zeros_like(s) for s in p.state]
    d_reset = [np.zeros(s.shape) for s in p.state]
    for b in range(batch):
        row = slice(b, b + 1)
        if lengths[b] == 0:
            for k, d in enumerate(p.d_state):
                d_state[k][row] = d[row]
            continue
        times = np.arange(lengths[b])[:: -1 if reverse else 1]
        cuts = [i for i, t in enumerate(times) if i > 0 and resets is not None and resets[t, b]]
        pieces = np.split(times, cuts)
        state = tuple(s[row] for s in p.state)
        for i, piece in enumerate(pieces):
            replaced = resets is not None and bool(resets[piece[0], b])
            if replaced:
                state = tuple(np.zeros_like(s[row]) for s in p.state) if reset is None else tuple(s[row] for s in reset)
            run = rk.forward(p.cell, np.ascontiguousarray(p.x[piece, row]), p.params, state)
            output[piece, row] = run.output
            ends = i == len(pieces) - 1
            d_final = tuple(d[row] if ends else np.zeros_like(d[row]) for d in p.d_state)
            grads = rk.backward(run, np.ascontiguousarray(p.d_output[piece, row]), d_final)
            if grads.x is not None:
                dx[piece, row] = grads.x
            for name, value in grads.params.items():
                d_params[name] += value
            for k, d in enumerate(grads.state):
                (d_reset if replaced else d_state)[k][row] += d
            if ends:
                for k, s in enumerate(run.state):
                    final[k][row] = s
    named = {"output": output, "d x": dx} | {f"d {name}": value for name, value in d_params.items()}
    for k in range(len(final)):
        named |= {f"state[{k}]": final[k], f"d state[{k}]": d_state[k], f"d reset[{k}]": d_reset[k]}
    return named


def check(p: Problem, **options: Any) -> None:
    steps, batch = p.x.shape[:2]
    lengths = np.asarray(options.get("lengths", np.full(batch, steps)))
    wanted = by_hand(p, lengths, options.get("resets"), options.get("reset_state"), options.get("reverse", False))
    run = p.forward(**options)
    grads = rk.backward(run, p.d_output, p.d_state)
    d_reset = grads.reset_state or tuple(np.zeros_like(s) for s in p.state)
    found = {"output": run.output} | {f"d {name}": value for name, value in grads.params.items()}
    if grads.x is not None:
        found["d x"] = grads.x
    for k in range(len(run.state)):
        found |= {f"state[{k}]": run.state[k], f"d state[{k}]": grads.state[k], f"d reset[{k}]": d_reset[k]}
    length = gradient_length(steps, batch, p.x.shape[-1], p.state[0].shape[1])
    for name, value in found.items():
        summed = name.startswith("d reset") or name.removeprefix("d ") in p.params
        if summed:
            assert_close(value, wanted[name], "gradient", 2 * length, name)
        else:
            assert value.tobytes() == wanted[name].tobytes(), name
    inference = p.forward(training=False, **options)
    assert inference.output.tobytes() == run.output.tobytes()
    if rk.backend() != "cpu":  # prepared layers are the CPU's
        return
    layer = rk.Prepared(p.cell, p.params, tokens=p.x.ndim == 2)
    output, state = layer.forward(p.x, p.state, **options)
    assert output.tobytes() == run.output.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(state, run.state, strict=True))
