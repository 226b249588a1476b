"""What several threads use at once: layers and registries they may share, steppers that refuse a second one.

Under a GIL a thread seldom loses it between two lines: here it is offered every ten microseconds. In free-threaded
Python the same tests run side by side in earnest. Threads of one call are tests/cpu/test_threads.py's.
"""

from __future__ import annotations

import copy
import sys
import sysconfig
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import FORMS, make

import rnnkernels as rk
from rnnkernels import _serve, attention, parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECOND = "stepper: expected one call at a time, got a second one"


@pytest.fixture(autouse=True)
def _often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Run each on a thread of its own, begun together; return what they returned, an exception where one was raised."""
    found: list[Any] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def run(number: int) -> None:
        gate.wait()
        try:
            found[number] = works[number]()
        except Exception as error:  # noqa: BLE001 - handed to the test
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python always has a GIL")
def test_the_module_leaves_the_gil_off() -> None:
    assert not sys._is_gil_enabled()  # type: ignore[attr-defined]  # from Python 3.13 on


# ---- layers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", FORMS)
def test_threads_make_all_calls_at_once(cell: str) -> None:
    """Every thread gets the bits it gets alone, whoever sets the number of threads meanwhile."""
    p = make(cell, (7, 3, 5, 20), "float32")
    layer = rk.Prepared(cell, p.params)

    def bits() -> list[bytes]:
        run = p.forward()
        grads = rk.backward(run, p.d_output, p.d_state)
        stepper = layer.stepper(3, p.state)
        steps = [stepper(x_t).tobytes() for x_t in p.x]
        arrays = (run.output, grads.x, *grads.params.values(), *grads.state, layer.forward(p.x, p.state)[0])
        return [*(np.asarray(array).tobytes() for array in arrays), *steps]

    def change_threads() -> None:
        for count in (1, 2, 3) * 10:
            rk.set_num_threads(count)

    expected = bits()
    found = at_once(*[lambda: [bits() for _ in range(5)]] * 3, change_threads)
    assert found == [[expected] * 5] * 3 + [None]


# ---- steppers ----------------------------------------------------------------------------------


def test_a_second_step_of_a_stepper_is_refused() -> None:
    p = make("gru", (2, 1, 6, 6), "float32")  # I = H: a result may be the next x
    layer = rk.Prepared("gru", p.params)
    stepper, alone = layer.stepper(), layer.stepper()
    seen: list[Any] = []

    class Slow(np.ndarray[Any, Any]):
        """Memory that the step overwrites: the step copies it first."""

        def copy(self, *args: Any, **options: Any) -> Any:
            seen.extend(at_once(lambda: stepper(p.x[0]), lambda: stepper.state, stepper.reset))
            return super().copy(*args, **options)

    h = alone(p.x[0]).copy()
    alone(p.x[1])
    overwritten = stepper(p.x[0])
    stepper(p.x[1])
    assert stepper(overwritten.view(Slow)).tobytes() == alone(h).tobytes()
    assert [str(error) for error in seen] == [SECOND] * 3


def test_a_second_step_of_a_stack_is_refused() -> None:
    stack = rk.Stack("gru", 4, 5, num_layers=2, rng=0)
    x = np.ones((3, 1, 4), np.float32)
    stepper = rk.PreparedStack("gru", stack.params).stepper()
    alone = [h.tobytes() for h in map(copy.deepcopy(stepper), x)]
    seen: list[Any] = []
    begun, step = copy.copy(stepper), stepper._step

    def between(x_t: Any) -> Any:
        if threading.current_thread() is threading.main_thread():
            seen.extend(at_once(lambda: stepper(x[0]), lambda: stepper.state, stepper.reset))
            seen.append(copy.copy(begun)(x[0]).tobytes())
        return step(x_t)

    stepper._step = between  # type: ignore[assignment]
    assert stepper(x[0]).tobytes() == alone[0]
    assert [str(error) for error in seen[:3]] == [SECOND] * 3
    assert seen[3] == alone[0]
    stepper._step = step
    assert [stepper(x_t).tobytes() for x_t in x[1:]] == alone[1:]  # a call that has ended lets others in


def test_a_second_step_of_attention_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 3, 4)).astype(np.float32)
    params = attention.init_params("gru", 5, 4, 6, rng=0)
    x = rng.standard_normal((2, 5)).astype(np.float32)
    stepper = attention.Stepper("gru", features, params)
    expected = copy.copy(stepper)(x).tobytes()
    seen: list[Any] = []
    attend = _serve.attend

    def slow(*args: Any, **options: Any) -> Any:
        if threading.current_thread() is threading.main_thread() and not seen:
            seen.extend(at_once(lambda: stepper(x), stepper.reset))
            seen.append(copy.deepcopy(stepper)(x).tobytes())
        return attend(*args, **options)

    monkeypatch.setattr(_serve, "attend", slow)
    assert stepper(x).tobytes() == expected
    assert [str(error) for error in seen[:2]] == [SECOND] * 2
    assert seen[2] == expected


# ---- registries --------------------------------------------------------------------------------


def test_cells_are_listed_while_one_is_added() -> None:
    """A list that another thread walks through stays as it is."""

    def listed_meanwhile(x: Any, h: Any) -> Any:
        return rk.tanh(x.a + rk.product(h).a)

    walk = iter(parameters._read_tables())
    first = next(walk)
    rk.cell(listed_meanwhile)
    assert "listed_meanwhile" in rk.cells()
    assert {first, *walk} | {"listed_meanwhile"} <= set(rk.cells())


def test_threads_make_cells_at_once() -> None:
    """The same equations become one cell, others one each; every thread finds its own at once."""

    def same(x: Any, h: Any, *, cell_clip: float = 3.0) -> Any:
        u = rk.product(h)
        return rk.minimum(rk.maximum(x.a + u.a, -cell_clip), cell_clip)

    def make_cells(number: int) -> list[Any]:
        def own(x: Any, h: Any) -> Any:
            return rk.tanh(x.a + rk.product(h).a) * (1.0 + number)

        found = [rk.cell(own, name=f"made_at_once_{number}"), rk.cell(same, name="made_by_all")]
        params = rk.init_params(found[0], 2, 3, rng=0)
        assert set(found) <= set(rk.cells())
        clipped = rk.Stack(found[1], 2, 3, cell_clip=0.5, rng=0).cell
        return [*found, clipped, rk.forward(found[0], np.ones((1, 1, 2), np.float32), params).output.tobytes()]

    works: list[Callable[[], Any]] = [lambda number=number: make_cells(number) for number in range(4)]  # type: ignore[misc]
    made = at_once(*works, *[lambda: [rk.cells() for _ in range(50)]])[:4]
    assert len({each[0] for each in made}) == 4
    assert len({id(each[1]) for each in made}) == len({id(each[2]) for each in made}) == 1
    assert len({each[3] for each in made}) == 4
