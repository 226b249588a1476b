"""What a forward keeps: no more than the built-in cells do."""

from __future__ import annotations

import pytest
from hand_traced import Hand, gru, lstm, mut1, mut2, mut3

from rnnkernels.equations.graph import Equations, Node
from rnnkernels.equations.lowering import lower


def names(nodes: tuple[Node, ...]) -> list[str]:
    return [node.operation for node in nodes]


@pytest.mark.parametrize(
    ("equations", "count"),
    [(lstm(), 4), (lstm(peepholes=True), 4), (lstm(clip=3.0), 4), (gru(), 4), (mut1(), 4), (mut2(), 3), (mut3(), 3)],
    ids=lambda value: value.name if isinstance(value, Equations) else "",
)
def test_as_many_as_the_built_in_cell(equations: Equations, count: int) -> None:
    assert lower(equations).saved == count


def test_what_is_dear_is_kept_and_what_is_cheap_is_made_again() -> None:
    e = Hand()
    a, b = e.x("a") + e.u("a"), e.x("b") + e.u("b")
    new = e.tanh(a) * (e.number(1.0) - e.sigmoid(b))
    kept = lower(e.equations("cell", ("h",), "ab", {"hidden": ((e.state(0),), "ab")}, (new,))).kept
    assert names(kept.nodes) == ["tanh", "sigmoid"]


def test_a_new_state_is_at_hand() -> None:
    e = Hand()
    new = e.tanh(e.x("a") + e.u("a"))
    assert lower(e.equations("rnn", ("h",), "a", {"hidden": ((e.state(0),), "a")}, (new,))).saved == 0


def test_a_dear_function_of_a_state_is_made_again_and_not_one_of_a_sum() -> None:
    for of_state, count in ((True, 0), (False, 1)):
        e = Hand()
        h, c = e.state(0), e.state(1)
        total = e.x("a") + e.u("a")
        new_c = c + total
        new = e.tanh(new_c if of_state else total)
        equations = e.equations("cell", ("h", "c"), "a", {"hidden": ((h,), "a")}, (new * new, new_c))
        assert lower(equations).saved == count


def test_what_takes_more_than_two_operations_is_kept_itself() -> None:
    for more in (False, True):
        e = Hand()
        h, w = e.state(0), e.w("p")
        value = (h + w) * h  # makes the gradient of x.a
        value = value * w if more else value
        new = e.x("a") * value + e.u("b")
        products = {"hidden": ((h,), "b")}
        kept = lower(e.equations("cell", ("h",), "a", products, (new,), gates="ab", weights=("p",))).kept
        assert sorted(names(kept.nodes)) == (["input", "mul"] if more else ["input"])


def test_halves_keep_what_the_second_lacks() -> None:
    kept = lower(mut1()).kept
    first = [node for node in kept.nodes if node in kept.first_half]
    assert names(tuple(first)) == ["sigmoid", "sigmoid", "tanh"]  # z and r and tanh(x)
    assert names(kept.nodes) == ["sigmoid", "sigmoid", "tanh", "tanh"]
