"""Layers run side by side give the bits of layers run one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from problems import FORMS, Array, make

import rnnkernels as rk
from rnnkernels import functional


def layer_by_layer(
    p_list: list[tuple[dict[str, Array], tuple[Array, ...] | None]], cell: str, x: Array
) -> list[rk.Run]:
    runs: list[rk.Run] = []
    for params, state in p_list:
        runs.append(rk.forward(cell, runs[-1].output if runs else x, params, state))
    return runs


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", FORMS)
def test_gives_the_bits_of_layers_in_turn(cell: str, dtype: str, tokens: bool) -> None:
    hidden = 37
    for steps, batch, counts in [(401, 1, (2,)), (230, 2, (5,)), (15, 1, (2, 5)), (0, 1, (2,)), (20, 0, (2,))]:
        for count in counts:
            first = make(cell, (steps, batch, 5, hidden), dtype, tokens=tokens)
            layers: list[tuple[dict[str, Array], tuple[Array, ...] | None]] = [(first.params, first.state)]
            width = first.state[0].shape[1]
            for layer in range(1, count):
                p = make(cell, (steps, batch, width, hidden), dtype, seed=layer)
                layers.append((p.params, p.state if layer % 2 else None))
            rk.set_num_threads(1)
            expected = layer_by_layer(layers, cell, first.x)
            for threads in (2, 3):
                rk.set_num_threads(threads)
                for training in (True, False):
                    runs = functional.forward_layers(
                        cell, first.x, [p for p, _ in layers], [s for _, s in layers], training=training
                    )
                    for mine, theirs in zip(runs, expected, strict=True):
                        assert mine.output.tobytes() == theirs.output.tobytes()
                        assert [s.tobytes() for s in mine.state] == [s.tobytes() for s in theirs.state]
            grads, wanted = (
                rk.backward(r[-1], np.ones_like(r[-1].output))
                for r in (
                    functional.forward_layers(cell, first.x, [p for p, _ in layers], [s for _, s in layers]),
                    expected,
                )
            )
            assert all(grads.params[name].tobytes() == value.tobytes() for name, value in wanted.params.items())


def test_layers_of_another_size_or_dtype_are_named() -> None:
    a = make("gru", (20, 1, 5, 6), "float32")
    for shape, dtype, message in [
        ((20, 1, 6, 7), "float32", "layers: expected all of one dtype and one H"),
        ((20, 1, 5, 6), "float32", r"x: expected shape \(T, B, I\) = \(20, 1, 5\), got \(20, 1, 6\)"),
    ]:
        b = make("gru", shape, dtype)
        with pytest.raises(ValueError, match=message):
            functional.forward_layers("gru", a.x, [a.params, b.params], [None, None])
    b = make("gru", (20, 1, 6, 6), "float64")
    with pytest.raises(TypeError, match="x: expected dtype float64, got float32"):
        functional.forward_layers("gru", a.x, [a.params, b.params], [None, None])
