"""What several threads use at once: layers and registries they may share, steppers that refuse a second one.

Under a GIL a thread seldom loses it between two lines: here it is offered every ten microseconds. In free-threaded
Python the same tests run side by side in earnest. Threads of one call are tests/cpu/test_threads.py's.
"""

from __future__ import annotations

import copy
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from at_once import at_once, offered_often  # noqa: F401 - a fixture
from problems import FORMS, make

import rnnkernels as rk
from rnnkernels import _serve, attention

if TYPE_CHECKING:
    pass

pytestmark = pytest.mark.usefixtures("offered_often")

SECOND = "stepper: expected one call at a time, got a second one"


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

    stepper._step = between
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


def test_cells_made_by_several_threads() -> None:
    tests = Path(__file__).with_name("cells_by_threads.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    found = subprocess.run(command, cwd=tests.parents[2], capture_output=True, text=True, timeout=600, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
