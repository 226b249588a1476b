"""Random calls of the NumPy API in child processes, each answered value compared with the float64 reference's.

A case (cases.py) is one random problem, of which several calls are made: in training and in inference, with each way of
keeping memory, prepared, stepped, in float32 and float64, on every instruction set, with other numbers of threads, of
arrays arranged in every way. Gradients are compared along random directions, all elements of a kind at once.

The tolerance is the tests' table, for problems that are well conditioned. Where a value lies outside, the truth is
asked again with all arrays moved by the rounding of the dtype, and what those answers differ by is allowed, too: near
the edge of a Relu, for a row of a normalisation whose numbers are almost alike.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from tolerances import amplification, error, forward_length, gradient_length, tolerance, unit_roundoff

import rnnkernels as rk
from rnnkernels import _cpu

from . import children, truth
from .arrangements import arrange
from .cases import Case, Draw, draw
from .children import Tried

if TYPE_CHECKING:
    from .cases import Array, State

DTYPES = ("float32", "float64")
MOVED = 12  # times that the truth is asked again
SMALL = 50  # T·H: of problems whose norms are compared
MARGIN = 4.0  # of roundings that arrays are moved by, and of what comes of it that is allowed


def run(seconds: float, seed: int, calls: int | None = None) -> list[str]:
    """Try the cases from `seed` on, until the time or the calls are over."""
    return children.failures(__name__, seconds, seed, calls)


def case(seed: int) -> Tried:
    """Make the calls of one case."""
    _cpu.set_poison(True)  # results and memory start as NaN
    _cpu.set_oversubscribed(True)  # as many threads as are drawn, on few processors too
    book = Book(draw(seed), np.random.default_rng([seed, 1]))
    d = Draw(2**40 + seed)
    plays = [_train, _train, _train, _train, _infer, _infer, _prepared]
    if not book.case.ragged and book.case.term is None and book.case.sizes[0]:
        plays += [_step, _stepper]
    for play in plays:
        book.settings(d)
        play(d, book)
    return book.tried


# ---- what is known of a case ---------------------------------------------------------------------


class Book:
    """A case, the truth about it, and what came of its calls."""

    def __init__(self, of: Case, rng: np.random.Generator) -> None:
        self.case = of
        self.tried = Tried(Counter(), [], 1)
        self.arrays = truth.arrays_of(of)
        self.groups = self._groups()
        # (P, *shape) for P groups: each group's direction at its own place.
        self.directions: dict[str, Array] = {}
        for place, names in enumerate(self.groups.values()):
            for name in names:
                value = self.arrays[name]
                self.directions[name] = np.zeros((len(self.groups), *value.shape))
                self.directions[name][place] = rng.standard_normal(value.shape)
        self.rng = rng
        self.about = ""
        self._cast: dict[tuple[str, str], Any] = {}
        self._allowed: dict[tuple[str, str], float] = {}
        self._moved: dict[tuple[str, bool], tuple[truth.Truth, Array]] = {}

    def _groups(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self.arrays:
            group = name.rstrip("0123456789") if name not in self.case.params else "params"
            found.setdefault(group, []).append(name)
        return found

    @cached_property
    def _drawn(self) -> tuple[truth.Truth, Array]:
        return self._ask(False)

    @cached_property
    def _expected(self) -> tuple[truth.Truth, Array]:
        return self._drawn if self.case.noise is None else self._ask(True)

    def _ask(self, expected: bool) -> tuple[truth.Truth, Array]:
        found, slopes = truth.slopes(self.case, self.arrays, self.directions, expected)
        found = truth.Truth(tuple(map(_first, found.sequences)), tuple(map(_first, found.final)))
        return found, np.broadcast_to(slopes, len(self.groups))

    def known(self, training: bool) -> truth.Truth:
        return (self._drawn if training else self._expected)[0]

    def moved(self, dtype: str, training: bool) -> tuple[truth.Truth, Array]:
        """The truth of arrays that are moved by roundings of a dtype: of each `MOVED` times."""
        key = dtype, training or self.case.noise is None
        if key not in self._moved:
            size = MARGIN * unit_roundoff(dtype)
            arrays = {
                name: value * (1 + size * self.rng.standard_normal((MOVED, 1, *value.shape)))
                for name, value in self.arrays.items()
            }
            found, slopes = truth.slopes(self.case, arrays, self.directions, not key[1])
            self._moved[key] = found, np.broadcast_to(slopes, (MOVED, len(self.groups)))
        return self._moved[key]

    # ---- arrays for calls

    def settings(self, d: Draw) -> None:
        """Draw what belongs to the process."""
        rk.set_instruction_set(d.one(rk.instruction_sets()))
        if d.often(0.2):
            rk.set_num_threads(d.one((1, 1, 2, 3)))

    def take(self, d: Draw, dtype: str, name: str, value: Any, *, lists: bool = True) -> Any:
        """Return an array of a dtype, arranged in some way; None of None, a tuple of a tuple."""
        if value is None:
            return None
        if isinstance(value, tuple):
            return tuple(self.take(d, dtype, f"{name}{k}", part, lists=lists) for k, part in enumerate(value))
        if (name, dtype) not in self._cast:
            whole = value.dtype.kind in "iub"
            self._cast[name, dtype] = value if whole else value.astype(dtype)
        return arrange(d, self._cast[name, dtype], lists=lists)

    def params(self, d: Draw, dtype: str) -> dict[str, Any]:
        return {
            name: self.take(d, dtype, name, value, lists=name != "weight_ih")  # whose dtype is that of all
            for name, value in self.case.params.items()
        }

    def rows(self, d: Draw, dtype: str) -> dict[str, Any]:
        """Return what of the options says how rows are run."""
        c = self.case
        lengths = None if c.lengths is None else arrange(d, c.lengths.astype(d.one(("int64", "int32", "uint8"))))
        resets = None if c.resets is None else arrange(d, c.resets, lists=False)
        given = {"lengths": lengths, "resets": resets, "reset_state": self.take(d, dtype, "reset", c.reset_state)}
        given |= {"term": self.take(d, dtype, "term", c.term), "reverse": c.reverse or None}
        return {name: value for name, value in given.items() if value is not None}

    def options(self, d: Draw, dtype: str) -> dict[str, Any]:
        given = {"noise": self.case.noise, "cell_clip": self.case.cell_clip}
        return self.rows(d, dtype) | {name: value for name, value in given.items() if value is not None}

    def x(self, d: Draw, dtype: str) -> Any:
        c = self.case
        return arrange(d, c.x.astype(d.one(("int64", "int32", "uint8")))) if c.tokens else self.take(d, dtype, "x", c.x)

    # ---- comparisons

    @cached_property
    def largest(self) -> float:
        """The largest number of x that is read, at least 1."""
        return 1.0 if self.case.tokens else max(1.0, float(np.abs(self.arrays["x"]).max(initial=0.0)))

    def called(self, kind: str, about: str) -> None:
        self.tried.calls[kind] += 1
        self.about = f"{kind} ({about}, {rk.instruction_set()}, {rk.num_threads()} threads) of {self.case.describe()}"

    def fail(self, what: str) -> None:
        self.tried.failures.append(f"{self.about}: {what}")

    def allowed(self, dtype: str, quantity: str) -> float:
        """Return what the tests' table allows."""
        if (dtype, quantity) not in self._allowed:
            steps, _, inputs, hidden = self.case.sizes
            gradient = quantity == "gradient"
            length = gradient_length(*self.case.sizes) if gradient else forward_length(steps, inputs, hidden)
            length *= 1 if self.case.noise is None else 4  # what a mask keeps is scaled up, by 2 at most
            amplified = amplification(self.case.cell, *self.case.sizes)
            self._allowed[dtype, quantity] = tolerance(dtype, quantity, length, amplified)
        return self._allowed[dtype, quantity]

    def check(self, what: str, got: Any, wanted: Array, dtype: str, moved: Any) -> None:
        """Compare an output or states; `moved`: of the truth asked again."""
        if not isinstance(got, np.ndarray) or got.dtype != dtype or got.shape != wanted.shape:
            kind = (got.dtype, got.shape) if isinstance(got, np.ndarray) else type(got).__name__
            self.fail(f"{what}: expected {dtype} of {wanted.shape}, got {kind}")
            return
        allowed = self.allowed(dtype, "output")
        found = error(got, wanted)
        if found > allowed:
            allowed += MARGIN * error(moved(), np.broadcast_to(wanted, moved().shape))
            if not found <= allowed:
                self.fail(f"{what}: error {found:.3g}, allowed {allowed:.3g}")

    def check_run(self, output: Any, state: Any, dtype: str, training: bool) -> None:
        known = self.known(training)
        self.check(
            "output", output, known.sequences[0], dtype, lambda: self.moved(dtype, training)[0].sequences[0][:, 0]
        )
        self.check_states(state, known.final, dtype, training)

    def check_states(self, state: Any, wanted: State, dtype: str, training: bool) -> None:
        if len(state) != len(wanted):
            self.fail(f"state: expected {len(wanted)} arrays, got {len(state)}")
            return
        for k, (got, expected) in enumerate(zip(state, wanted, strict=True)):
            self.check(f"state[{k}]", got, expected, dtype, lambda k=k: self.moved(dtype, training)[0].final[k][:, 0])

    def check_gradients(self, grads: rk.Gradients, dtype: str, need_x: bool) -> None:
        """Compare slopes along a direction of each group."""
        found: dict[str, Array] = dict(grads.params)
        found |= {f"state{k}": g for k, g in enumerate(grads.state)}
        if grads.x is not None:
            found["x"] = grads.x
        if grads.term is not None:
            found["term"] = grads.term
        found |= {f"reset{k}": g for k, g in enumerate(grads.reset_state or ())}
        slopes = self._drawn[1]
        allowed = self.allowed(dtype, "gradient")
        for place, (group, names) in enumerate(self.groups.items()):
            if group == "x" and not need_x:
                if grads.x is not None:
                    self.fail("d x: expected None, got an array")
                continue
            if group == "reset" and grads.reset_state is None and abs(float(slopes[place])) == 0:
                continue
            missing = [name for name in names if name not in found]
            if missing:
                self.fail(f"d {missing[0]}: expected an array, got none")
                continue
            wrong = [n for n in names if found[n].dtype != dtype or found[n].shape != self.arrays[n].shape]
            if wrong:
                self.fail(f"d {wrong[0]}: got {found[wrong[0]].dtype} of {found[wrong[0]].shape}")
                continue
            slope, size = 0.0, 0.0
            least = self.largest if group == "params" else 1.0  # slopes of gates err absolutely, and multiply x
            for name in names:
                g, direction = found[name].astype(np.float64), self.directions[name][place]
                slope += float((g * direction).sum())
                size += max(least, float(np.abs(g).max(initial=0.0))) * float(np.abs(direction).sum())
            off, bound = abs(slope - float(slopes[place])), allowed * size
            if off > bound or not math.isfinite(slope):
                bound += MARGIN * float(np.abs(self.moved(dtype, True)[1][:, place] - slopes[place]).max())
                if not off <= bound:
                    self.fail(f"d {group}: slope {slope:.9g}, expected {slopes[place]:.9g} to {bound:.3g}")

    def check_norms(self, norms: Any, dtype: str) -> None:
        """Compare the readings, of a problem that is small and holds no c: one that stays at its bound, f c with f near
        1, has a slope of 0 or 1 as f is rounded.
        """
        wanted = self._norms
        if len(norms) != len(self.case.widths):
            self.fail(f"norms: expected {len(self.case.widths)} arrays, got {len(norms)}")
        for k, (got, expected) in enumerate(zip(norms, wanted, strict=False)):
            # A norm of H numbers, each of which may be wrong by so much.
            allowed = self.allowed(dtype, "gradient") * math.sqrt(self.case.sizes[3])
            found = error(got, expected)
            if found > allowed and self.smooth:
                self.fail(f"norms[{k}]: error {found:.3g}, allowed {allowed:.3g}")

    @cached_property
    def _norms(self) -> State:
        steps, _, _, hidden = self.case.sizes
        return truth.norms(self.case, self.arrays) if steps * hidden <= SMALL and self.case.cell_clip is None else ()

    @cached_property
    def smooth(self) -> bool:
        """Whether no rounding of float32 changes the slopes by more than the table allows."""
        moved = np.abs(self.moved("float32", True)[1] - self._drawn[1]).max(initial=0.0)
        return bool(moved < 1e-3 * max(1.0, float(np.abs(self._drawn[1]).max(initial=0.0))))


def _first(array: Array) -> Array:
    """One of the directions: their real parts are alike."""
    found: Array = array[0]
    return found


# ---- calls ---------------------------------------------------------------------------------------


def _train(d: Draw, b: Book) -> None:
    dtype, memory, all_states = d.one(DTYPES), d.one(("all", "all", "states", "replay")), d.often(0.2)
    c = b.case
    b.called("forward", f"{dtype}, memory {memory}, all_states {all_states}")
    options = {**b.options(d, dtype), "memory": memory, "all_states": all_states}
    run_of_it = rk.forward(c.cell, b.x(d, dtype), b.params(d, dtype), b.take(d, dtype, "state", c.state), **options)
    b.check_run(run_of_it.output, run_of_it.state, dtype, True)
    if all_states:
        known = b.known(True).sequences
        for k, (got, wanted) in enumerate(zip(run_of_it.states or (), known, strict=True)):
            b.check(f"states[{k}]", got, wanted, dtype, lambda k=k: b.moved(dtype, True)[0].sequences[k][:, 0])
    for _ in range(d.one((1, 1, 1, 2))):
        need_x, norms = d.often(0.8), d.often(0.1)
        b.settings(d)
        b.called("backward", f"{dtype}, memory {memory}, need_x {need_x}, norms {norms}")
        grads = rk.backward(
            run_of_it,
            b.take(d, dtype, "d_output", c.d_output),
            b.take(d, dtype, "d_state", c.d_state),
            d_states=b.take(d, dtype, "d_states", c.d_states),
            need_x=need_x,
            norms=norms,
        )
        b.check_gradients(grads, dtype, need_x)
        if norms:
            b.check_norms(grads.norms, dtype)


def _infer(d: Draw, b: Book) -> None:
    dtype, all_states = d.one(DTYPES), d.often(0.2)
    b.called("inference", f"{dtype}, all_states {all_states}")
    options = {**b.options(d, dtype), "training": False, "all_states": all_states}
    state = b.take(d, dtype, "state", b.case.state)
    run_of_it = rk.forward(b.case.cell, b.x(d, dtype), b.params(d, dtype), state, **options)
    b.check_run(run_of_it.output, run_of_it.state, dtype, False)


def _layer(d: Draw, b: Book, dtype: str) -> rk.Prepared:
    c = b.case
    weights = "bfloat16" if c.rounded and dtype == "float32" and d.often(0.7) else "full"
    return rk.Prepared(
        c.cell, b.params(d, dtype), weights=weights, tokens=c.tokens, noise=c.noise, cell_clip=c.cell_clip
    )


def _prepared(d: Draw, b: Book) -> None:
    dtype = d.one(DTYPES)
    layer = _layer(d, b, dtype)
    for _ in range(2):
        b.called("prepared", f"{dtype}, {layer.weights}")
        state = b.take(d, dtype, "state", b.case.state)
        output, ended = layer.forward(b.x(d, dtype), state, **b.rows(d, dtype))
        b.check_run(output, ended, dtype, False)


def _step(d: Draw, b: Book) -> None:
    dtype, c = d.one(DTYPES), b.case
    b.called("step", dtype)
    given: dict[str, Any] = {"noise": c.noise, "cell_clip": c.cell_clip}
    x = c.x[0] if c.tokens else b.take(d, dtype, "x first", c.x[0])
    params, state = b.params(d, dtype), b.take(d, dtype, "state", c.state)
    ended = rk.step(c.cell, x, params, state, **given) if d.often(0.5) else _layer(d, b, dtype).step(x, state)
    for k, got in enumerate(ended):
        wanted = b.known(False).sequences[k][0]
        b.check(f"state[{k}]", got, wanted, dtype, lambda k=k: b.moved(dtype, False)[0].sequences[k][:, 0, 0])


def _stepper(d: Draw, b: Book) -> None:
    dtype, c = d.one(DTYPES), b.case
    stepper = _layer(d, b, dtype).stepper(c.sizes[1], b.take(d, dtype, "state", c.state))
    known = b.known(False)
    for t in range(c.sizes[0]):
        b.called("stepper", dtype)
        h = stepper(c.x[t] if c.tokens else b.take(d, dtype, f"x at {t}", c.x[t], lists=False))
        wanted = known.sequences[0][t]
        b.check("h", h, wanted, dtype, lambda t=t: b.moved(dtype, False)[0].sequences[0][:, 0, t])
    b.check_states(stepper.state, known.final, dtype, False)
