"""Which arrays are read where they lie, which are copied and which are refused: the same rule for every library.

Forms of the same numbers go into every entry, and the results have the bits of plain arrays'. What is wrong in its
shape is refused before a byte of it is copied.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from array_forms import misaligned, read_only, spelled
from problems import make

import rnnkernels as rk
from rnnkernels import convert, optim
from rnnkernels._arguments import as_floats, as_input
from rnnkernels._arrays import in_place

if TYPE_CHECKING:
    from collections.abc import Callable

P = make("lstm", (4, 3, 5, 6), "float32")
RUN = rk.forward("lstm", P.x, P.params, P.state)
GRADS = rk.backward(RUN, P.d_output, P.d_state)
STACK = rk.Stack("lstm", 5, 6, rng=0)


class Derived(np.ndarray):
    """A subclass, whose own words are not heard."""


# form → the array, and whether it is read where it lies
FORMS: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "plain": (np.copy, True),
    "byte order spelled out": (spelled, True),
    "read-only": (read_only, True),
    "of a subclass": (lambda a: a.copy().view(Derived), True),
    "misaligned": (misaligned, False),
    "misaligned by half": (lambda a: misaligned(a, a.itemsize // 2), False),
    "in Fortran's order": (np.asfortranarray, False),
    "every other one": (lambda a: np.repeat(a, 2, axis=-1)[..., ::2], False),
    "backwards": (lambda a: a[::-1].copy()[::-1], False),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_array_is_read_right(form: str) -> None:
    of, there = FORMS[form]
    params, state = {name: of(value) for name, value in P.params.items()}, tuple(map(of, P.state))
    run = rk.forward("lstm", of(P.x), params, state, term=of(np.zeros((3, 24), np.float32)))
    np.testing.assert_array_equal(run.output, RUN.output)
    grads = rk.backward(run, of(P.d_output), tuple(map(of, P.d_state)), d_states=(None, of(np.zeros_like(P.d_output))))
    for name, value in GRADS.params.items():
        np.testing.assert_array_equal(grads.params[name], value)
    stepper = rk.Prepared("lstm", params).stepper(3, state)
    np.testing.assert_array_equal(np.stack([stepper(of(x)).copy() for x in P.x]), RUN.output)
    np.testing.assert_array_equal(rk.step("lstm", of(P.x[0]), params, state)[0], RUN.output[0])
    for array in (run.output, grads.params["weight_hh"]):
        assert in_place(array, np.dtype(np.float32))
    moved = of(P.x)
    assert np.shares_memory(as_floats("x", moved, np.dtype(np.float32)), moved) == there
    assert in_place(as_floats("x", moved, np.dtype(np.float32)), np.dtype(np.float32))


def test_elements_that_share_memory_are_read_right() -> None:
    """A stride of 0: one vector for every step and row."""
    x = np.broadcast_to(P.x[0, 0], P.x.shape)
    d = np.broadcast_to(np.float32(1), P.d_output.shape)
    state = tuple(np.broadcast_to(s[0], s.shape) for s in P.state)
    run, plain = (
        rk.forward("lstm", x, P.params, state),
        rk.forward("lstm", x.copy(), P.params, [s.copy() for s in state]),
    )
    np.testing.assert_array_equal(run.output, plain.output)
    np.testing.assert_array_equal(rk.backward(run, d).x, rk.backward(plain, d.copy()).x)


@pytest.mark.parametrize("form", [name for name in FORMS if name != "of a subclass"])
def test_every_form_of_tokens_lengths_and_resets_is_read_right(form: str) -> None:
    of, _ = FORMS[form]
    p = make("gru", (4, 3, 5, 6), "float32", tokens=True)
    lengths, resets = np.array([4, 2, 3]), np.arange(12).reshape(4, 3) % 3 == 1
    want = rk.forward("gru", p.x, p.params, lengths=lengths, resets=resets).output
    for kind in (np.int64, np.int32, np.uint8):
        given = of(p.x.astype(kind))
        found = rk.forward("gru", given, p.params, lengths=of(lengths.astype(kind)), resets=of(resets))
        np.testing.assert_array_equal(found.output, want)


def test_the_other_byte_order_is_refused_and_named() -> None:
    other = ">f4" if sys.byteorder == "little" else "<f4"
    swapped = {name: value.astype(other) for name, value in P.params.items()}
    wrong: dict[str, Any] = {
        "x": lambda: rk.forward("lstm", P.x.astype(other), P.params),
        r"state\[0\]": lambda: rk.forward("lstm", P.x, P.params, [s.astype(other) for s in P.state]),
        r"params\['weight_ih'\]": lambda: rk.Prepared("lstm", swapped),
        "d_output": lambda: rk.backward(RUN, P.d_output.astype(other)),
        r"params\['weight_hh'\]": lambda: convert.to_keras("lstm", P.params | {"weight_hh": swapped["weight_hh"]}),
        "x_t": lambda: rk.Prepared("lstm", P.params).stepper(3)(P.x[0].astype(other)),
    }
    for name, call in wrong.items():
        with pytest.raises(TypeError, match=rf"^{name}: expected .*float32.*{other}"):
            call()


# ---- shapes before copies ------------------------------------------------------------------------


def huge(*shape: int) -> Any:
    """Return a view of one number that would be too large for any machine."""
    return np.broadcast_to(np.float32(0), shape)


MANY = 2**24
WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "x": (lambda: rk.forward("lstm", huge(MANY, MANY, 4), P.params), "x"),
    "x without time": (lambda: rk.forward("lstm", huge(MANY, MANY), P.params), "x"),
    "tokens": (lambda: rk.forward("lstm", huge(MANY, MANY, 5).view("i4"), P.params), "x"),
    "x_t": (lambda: rk.step("lstm", huge(MANY, MANY), P.params), "x_t"),
    "a parameter": (lambda: rk.forward("lstm", P.x, P.params | {"bias_ih": huge(MANY, MANY)}), r"params\['bias_ih'\]"),
    "a weight": (lambda: rk.forward("lstm", P.x, P.params | {"weight_hh": huge(MANY, MANY)}), r"params\['weight_.h'\]"),
    "the first weight": (
        lambda: rk.forward("lstm", P.x, P.params | {"weight_ih": huge(MANY, MANY)}),
        r"params\['weight_ih'\]",
    ),
    "a weight of a prepared layer": (
        lambda: rk.Prepared("lstm", P.params | {"weight_ih": huge(MANY, MANY)}),
        r"params\['weight_ih'\]",
    ),
    "state": (lambda: rk.forward("lstm", P.x, P.params, (P.state[0], huge(MANY, MANY))), r"state\[1\]"),
    "reset state": (
        lambda: rk.forward(
            "lstm", P.x, P.params, resets=np.zeros((4, 3), bool), reset_state=(huge(MANY, MANY), P.state[1])
        ),
        r"reset_state\[0\]",
    ),
    "term": (lambda: rk.forward("lstm", P.x, P.params, term=huge(MANY, MANY)), "term"),
    "lengths": (lambda: rk.forward("lstm", P.x, P.params, lengths=huge(MANY, MANY).view("i4")), "lengths"),
    "resets": (
        lambda: rk.forward("lstm", P.x, P.params, resets=np.broadcast_to(np.True_, (MANY, MANY))),
        "resets",
    ),
    "d_output": (lambda: rk.backward(RUN, huge(MANY, MANY, 6)), "d_output"),
    "d_state": (lambda: rk.backward(RUN, None, (huge(MANY, MANY), P.state[1])), r"d_state\[0\]"),
    "d_states": (lambda: rk.backward(RUN, None, d_states=(None, huge(MANY, MANY, 6))), r"d_states\[1\]"),
    "x of a prepared layer": (lambda: rk.Prepared("lstm", P.params).forward(huge(MANY, MANY, 4)), "x"),
    "state of a stepper": (
        lambda: rk.Prepared("lstm", P.params).stepper(3, (huge(MANY, MANY), P.state[1])),
        r"state\[0\]",
    ),
    "x_t of a stepper": (lambda: rk.Prepared("lstm", P.params).stepper(3)(huge(MANY, MANY)), "x_t"),
    "a stack's x": (lambda: rk.Stack("lstm", 5, 6).forward(huge(MANY, MANY, 4)), "x"),
    "a stack's gradient": (
        lambda: STACK.backward(STACK.forward(P.x), huge(MANY, MANY, 6)),
        "d_output",
    ),
    "converted": (
        lambda: convert.from_torch("lstm", rk.Stack("lstm", 5, 6).params | {"bias_ih_l0": huge(MANY, MANY)}),
        r"params\['bias_ih(_l0)?'\]",
    ),
    "converted to Keras'": (
        lambda: convert.to_keras("lstm", P.params | {"bias_ih": huge(MANY, MANY)}),
        r"params\['bias_ih'\]",
    ),
    "converted from Keras'": (
        lambda: convert.from_keras("lstm", [*convert.to_keras("lstm", P.params)[:2], huge(MANY, MANY)]),
        r"weights\[2\]",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_shape_is_refused_before_anything_is_copied(what: str) -> None:
    call, name = WRONG[what]
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        call()


def test_a_right_shape_is_copied_whole_or_is_an_error_of_memory() -> None:
    with pytest.raises(MemoryError):
        rk.forward("lstm", huge(MANY, MANY, 5), P.params)


def test_parameters_whose_elements_share_memory_are_not_updated() -> None:
    shared = np.lib.stride_tricks.as_strided(np.zeros(1), (3, 3), (0, 0))
    for call in (lambda: optim.SGD({"w": shared}), lambda: optim.clip_by_value({"w": shared}, 1.0)):
        with pytest.raises(ValueError, match=r"^(params|grads)\['w'\]: expected elements with memory of their own"):
            call()


# ---- without asserts -----------------------------------------------------------------------------

WITHOUT_ASSERTS = """
import sys
import numpy as np, rnnkernels as rk
assert False  # is not looked at here
layer = rk.Prepared("lstm", rk.init_params("lstm", 3, 4, rng=0))
stepper, x = layer.stepper(1), np.ones((1, 3), np.float32)
spelled = x.view(x.dtype.newbyteorder("<" if sys.byteorder == "little" else ">"))
assert_equal = np.testing.assert_array_equal
assert_equal(stepper(spelled), layer.step(x)[0])
for wrong in (None, "text", x.astype("f8"), [[1, 2], [3]]):
    try:
        print("gave", stepper(wrong))
    except TypeError as error:
        print(str(error).partition(":")[0])
"""


def test_checks_are_made_without_asserts_too() -> None:
    """Python's -O leaves asserts out; a step of what cannot be read is an error all the same, and never None."""
    found = subprocess.run(
        [sys.executable, "-O", "-c", WITHOUT_ASSERTS],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert found.stdout.split() == ["x_t"] * 4


def test_integers_are_read_where_they_lie_where_they_can_be() -> None:
    tokens = np.arange(6).reshape(2, 3)
    assert as_input("x", tokens, np.dtype(np.float32)) is tokens
    other = spelled(tokens)
    assert other.dtype.byteorder in "<>"
    np.testing.assert_array_equal(as_input("x", other, np.dtype(np.float32)), tokens)


@pytest.mark.parametrize("form", FORMS)
def test_converted_arrays_are_plain_ones(form: str) -> None:
    of, _ = FORMS[form]
    given = [of(array) for array in convert.to_keras("lstm", P.params)]
    plain = convert.from_keras("lstm", convert.to_keras("lstm", P.params))
    state_dict = {name: of(array) for name, array in P.params.items()}
    for found, want in ((convert.from_keras("lstm", given), plain), (convert.from_torch("lstm", state_dict), P.params)):
        for name, array in found.items():
            np.testing.assert_array_equal(array, want[name])
            assert type(array) is np.ndarray
            assert in_place(array, np.dtype(np.float32))
            assert not any(np.shares_memory(array, one) for one in (*given, *state_dict.values()))
