"""What `print` shows of a cell."""

from __future__ import annotations

from typing import Any

import rnnkernels as rk
from rnnkernels.equations.showing import description
from rnnkernels.equations.tracing import trace
from rnnkernels.equations.values import PerStep


def shown(function: Any, **options: Any) -> str:
    return description(trace(function, function.__name__, **options))


def lstm_p(x: Any, h: Any, c: Any, w: Any) -> Any:
    """LSTM with peepholes.

    The rest is for readers of the source.
    """
    u = rk.product(h)
    i = rk.sigmoid(x.i + u.i + w.i * c)
    f = rk.sigmoid(x.f + u.f + w.f * c)
    g = rk.tanh(x.g + u.g)
    d = f * c + i * g
    o = rk.sigmoid(x.o + u.o + w.o * d)
    return o * rk.tanh(d), d


LSTM_P = """\
cell lstm_p: LSTM with peepholes.

states    h (the output), c
gates     i f g o
weights   w.i, w.f (at first 0), w.o
shapes    weight_ih (4·H, I), weight_hh (4·H, H), bias_ih (4·H,), bias_hh (4·H,), weight_diagonal (3·H,)
keeps     i, f, g, o

step
    u = product(h)
    i = sigmoid(w.i * c + (x.i + u.i))
    f = sigmoid(w.f * c + (x.f + u.f))
    g = tanh(x.g + u.g)
    d = f * c + i * g
    o = sigmoid(w.o * d + (x.o + u.o))
    h' = o * tanh(d)
    c' = d

backward, of dh' and dc'
    dx.o = du.o = dh' * tanh(d) * (o * (1 - o))
    dw.o = dx.o * d
    t1 = dx.o * w.o + (dh' * o * (1 - tanh(d) * tanh(d)) + dc')
    dx.g = du.g = t1 * i * (1 - g * g)
    dx.f = du.f = t1 * c * (f * (1 - f))
    dw.f = dx.f * c
    dx.i = du.i = t1 * g * (i * (1 - i))
    dw.i = dx.i * c
    dc = dx.i * w.i + (dx.f * w.f + t1 * f)
    dh += weight_hh[i f g o]ᵀ du"""


def test_a_cell_of_one_product() -> None:
    assert shown(lstm_p, initial={"f": 0.0}) == LSTM_P


def gru_d(x: Any, h: Any, gamma: PerStep, *, low: float = -1.0) -> Any:
    k = gamma * h
    u = rk.product(k)
    r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(x.z + u.z)
    v = rk.product(r * k)
    n = rk.tanh(x.n + v.n)
    return n + z * (k - n)


GRU_D = """\
cell gru_d

states    h (the output)
gates     r z n
per step  gamma (T, B, H)
settings  low = -1.0
shapes    weight_ih (3·H, I), weight_hh (3·H, H), bias_ih (3·H,), bias_hh (3·H,)
keeps     r, z, n

step
    k = gamma * h
    u = product(k)
    r = sigmoid(x.r + u.r)
    z = sigmoid(x.z + u.z)
    v = product(r * k)
    n = tanh(x.n + v.n)
    h' = z * (k - n) + n

backward, of dh'
"""


def test_a_cell_of_two_products_and_an_input_of_every_step() -> None:
    text = shown(gru_d)
    assert text.startswith(GRU_D)
    made, through, read = (
        text.index(" = dv.n = "),
        text.index("    d(r * k) = weight_hh[n]ᵀ dv\n"),
        text.index("= d(r * k) *"),
    )
    assert made < through < read
    assert text.endswith("    d(k) = weight_hh[r z]ᵀ du\n    dh += d(k) * gamma\n    dgamma += d(k) * h")
    assert "\n    dgamma = " in text
    assert "\n    dx.z = du.z = dh' * (k - n) * (z * (1 - z))\n" in text


def test_several_vectors_and_a_state_that_is_handed_on() -> None:
    def cell(x: Any, h: Any, a: Any, b: Any) -> Any:
        v = rk.product(a, b * 2.0)
        return rk.tanh(rk.direct(x) + x.n + v.m), h, a - b

    text = shown(cell)
    assert "weight_ih (H, H), bias_ih (H,), weight_gg (H, 2·H)" in text
    assert "weight_hh (" not in text
    assert "    b' = a - b\n    a' = h\n" in text
    assert text.endswith("    d(a), d(b * 2) = weight_gg[m]ᵀ du\n    da += d(a)\n    db += d(b * 2) * 2")


def test_wide_expressions_are_taken_apart() -> None:
    def cell(x: Any, h: Any) -> Any:
        return sum(rk.tanh(getattr(x, f"a_long_name_{k}") * h) for k in range(12))

    assert max(map(len, shown(cell).split("\nstep\n")[1].splitlines())) < 100


def test_numbers_and_signs() -> None:
    def cell(x: Any, h: Any) -> Any:
        return h * -2.5 + (1.0 / 3.0) * x.n - (x.m - h)

    assert "    h' = " in shown(cell)
    step = shown(cell).split("\nstep\n")[1].split("\n\n")[0]
    assert "0.333333" in step
    assert "- (x.m - h)" in step
