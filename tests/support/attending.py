"""Problems of the attending recurrence: a cell, what its scores are like, and how its rows run; and their answers.

Not here: problems of plain layers (problems.py), tolerances (tolerances.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from expected import digest, kept
from problems import random_states, sets, widths_of
from tolerances import amplification, assert_close, forward_length, gradient_length

import rnnkernels as rk
from rnnkernels import attention
from rnnkernels.reference import attention as reference

Array = npt.NDArray[Any]
SCORES = ("additive", "bilinear", "dot")


@dataclass(frozen=True)
class Form:
    """What the attention of a problem is like."""

    scores: str = "additive"
    attention_size: int = 3
    gated: bool = False
    location: tuple[int, int] | None = None  # C, K
    bias: bool = True

    def shapes(self, features: int, hidden: int) -> dict[str, tuple[int, ...]]:
        """The shapes of its parameters; written out here, so that those of the package can be compared."""
        size = features if self.scores == "bilinear" else self.attention_size
        found: dict[str, tuple[int, ...]] = {"weight_query": (size, hidden)}
        if self.bias:
            found["bias_query"] = (size,)
        if self.scores != "bilinear":
            found["weight_key"] = (size, features)
        if self.scores == "additive":
            found["score"] = (size,)
        if self.gated:
            found["weight_beta"] = (1, hidden)
            if self.bias:
                found["bias_beta"] = (1,)
        if self.location is not None:
            found["weight_location"] = (size, *self.location)
        return found

    def __str__(self) -> str:
        extras = ["gated"] * self.gated + [f"location{self.location}"] * (self.location is not None)
        return " ".join([self.scores, *extras, *([] if self.bias else ["no bias"])])


KINDS = [
    Form(),
    Form("bilinear", gated=True),
    Form("dot", gated=True, bias=False),
    Form(location=(1, 3)),
    Form(gated=True, location=(2, 5), attention_size=18),
]
TWO = ("lstm", "gru_reset_before")  # one product with h, two


@dataclass(frozen=True)
class Sizes:
    """T, B, I, H, L, D."""

    steps: int = 3
    batch: int = 3
    inputs: int = 2
    hidden: int = 5
    places: int = 4
    features: int = 3


@dataclass
class Problem:
    """The arguments of one call, and the gradients to go back with."""

    cell: str
    x: Array
    features: Array
    params: dict[str, Array]
    state: tuple[Array, ...]
    ahead: dict[str, Any]  # d_output, d_state, d_weights, d_contexts
    options: dict[str, Any] = field(default_factory=dict)  # mask, lengths, resets, reset_state, reverse, noise, ...

    @property
    def call(self) -> tuple[Any, ...]:
        """What a forward is given by place."""
        return self.cell, self.x, self.features, self.params, self.state

    def forward(self, **more: Any) -> attention.AttendingRun:
        """Run it; `places` are the reference's alone."""
        given = {name: value for name, value in self.options.items() if name != "places"}
        return attention.forward(*self.call, **given | more)

    def results(self, **more: Any) -> dict[str, Array]:
        """Every array that a forward and a backward make, by name."""
        run = self.forward(**more)
        return named(run) | named_gradients(attention.backward(run, **self.ahead))

    def row(self, b: int) -> Problem:
        """Row b alone, without options."""
        row = slice(b, b + 1)

        def of_row(d: Any) -> Any:
            return tuple(map(np.ascontiguousarray, (s[row] for s in d))) if isinstance(d, tuple) else d[:, row].copy()

        ahead = {name: of_row(d) for name, d in self.ahead.items()}
        state = tuple(s[row].copy() for s in self.state)
        return Problem(self.cell, self.x[:, row].copy(), self.features[row].copy(), self.params, state, ahead)

    def times(self, count: int) -> Problem:
        """The same rows, all of them `count` times; without options."""

        def all_of(d: Any) -> Any:
            return tuple(np.concatenate([s] * count) for s in d) if isinstance(d, tuple) else np.tile(d, (1, count, 1))

        ahead = {name: all_of(d) for name, d in self.ahead.items()}
        features = np.concatenate([self.features] * count)
        return Problem(self.cell, all_of(self.x), features, self.params, all_of(self.state), ahead)

    def astype(self, dtype: npt.DTypeLike) -> Problem:
        """The same values in another dtype."""

        def cast(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(cast, value))
            if isinstance(value, dict):
                return {name: cast(v) for name, v in value.items()}
            return value.astype(dtype) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value

        arrays = {name: cast(value) for name, value in vars(self).items() if name != "cell"}
        return replace(self, **arrays)


def make(
    cell: str,
    form: Form,
    sizes: Sizes | None = None,
    dtype: npt.DTypeLike = "float64",
    *,
    tokens: bool = False,
    seed: int = 0,
) -> Problem:
    """A random problem without options."""
    n = sizes or Sizes()
    info = rk.cell_info(cell)
    rng = np.random.default_rng([seed, n.steps, n.batch, n.hidden, n.places])
    inputs, features, hidden = n.inputs, n.features, n.hidden
    if info["direct"]:  # x and context together are what a gate adds
        inputs, features = hidden - hidden // 2, hidden // 2
    proj_size = max(1, hidden * 2 // 3) if info["projected"] else None
    width = widths_of(cell, hidden, proj_size)
    shapes = rk.parameter_shapes(cell, inputs + features, hidden, bias=form.bias, proj_size=proj_size)
    shapes |= form.shapes(features, width[0])

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    params = {name: rng.uniform(-1, 1, shape) / np.sqrt(hidden) for name, shape in shapes.items()}
    for name, shape in form.shapes(features, width[0]).items():
        summed = np.prod(shape[1:]) if len(shape) > 1 else shape[0]
        params[name] = rng.uniform(-2, 2, shape) / np.sqrt(summed)  # weights of places that are far from all alike
    if form.scores == "bilinear":
        params["weight_query"] /= np.sqrt(features)
    params = {name: value.astype(dtype) for name, value in params.items()}
    if info["normalisation"] != "none":
        params["weight_diagonal"][...] = rng.uniform(0.25, 0.75, params["weight_diagonal"].shape)
    ahead = {
        "d_output": normal(n.steps, n.batch, width[0]),
        "d_state": tuple(normal(n.batch, w) for w in width),
        "d_weights": normal(n.steps, n.batch, n.places),
        "d_contexts": normal(n.steps, n.batch, features),
    }
    x = rng.integers(0, inputs, (n.steps, n.batch)) if tokens else normal(n.steps, n.batch, inputs)
    state = random_states(cell, rng, n.batch, hidden, dtype, proj_size)
    return Problem(cell, x, normal(n.batch, n.places, features), params, state, ahead)


def random_options(p: Problem, *names: str, seed: int = 0, rate: float = 0.3) -> dict[str, Any]:
    """Values of some of the options: mask, lengths, resets, reset_state, reverse, places."""
    (steps, batch), count = p.x.shape[:2], p.features.shape[1]
    rng = np.random.default_rng([seed, steps, batch])
    mask = rng.random((batch, count)) < 0.6
    mask[:, -1] |= ~mask.any(-1)
    hidden = p.state[-1].shape[1]
    every: dict[str, Any] = {
        "mask": mask,
        "lengths": rng.permutation(np.arange(batch) % (steps + 1)),
        "resets": rng.random((steps, batch)) < rate,
        "reset_state": random_states(p.cell, rng, batch, hidden, p.state[0].dtype, p.state[0].shape[1]),
        "reverse": True,
    }
    chosen = {name: every[name] for name in names if name != "places"}
    if "places" in names:  # among those that the mask allows
        allowed = chosen.get("mask", np.ones_like(mask))
        chosen["places"] = np.array([[rng.choice(np.flatnonzero(row)) for row in allowed] for _ in range(steps)])
        chosen["places"] = chosen["places"].reshape(steps, batch)
    return chosen


# ---- answers -------------------------------------------------------------------------------------


def named(run: Any) -> dict[str, Array]:
    """The results of a forward, the kernels' or the reference's."""
    found = {"output": run.output, "weights": run.weights, "contexts": run.contexts}
    return found | {f"state[{k}]": s for k, s in enumerate(run.state)}


def named_gradients(grads: Any) -> dict[str, Array]:
    """The gradients."""
    found = {f"d {name}": g for name, g in grads.params.items()} | {"d features": grads.features}
    found |= {f"d state[{k}]": s for k, s in enumerate(grads.state)}
    found |= {f"d reset[{k}]": s for k, s in enumerate(grads.reset_state or ())}
    return found if grads.x is None else found | {"d x": grads.x}


def wanted(p: Problem) -> dict[str, Array]:
    """What `p.results()` should give, of the reference: computed once, then read from a file."""
    p = p.astype("float64")
    names = sorted(p.options)
    arrays = [np.asarray(value) for part in (p.params, p.ahead, p.options) for value in _leaves(part)]
    name = digest(
        ("attention", p.cell, list(p.params), names, p.options.get("noise")), [p.x, p.features, *p.state, *arrays]
    )

    def compute() -> dict[str, Array]:
        options = {name: value for name, value in p.options.items() if name != "hard"}
        given = {**p.ahead, **options}
        return named(reference.forward(*p.call, **options)) | named_gradients(reference.gradients(*p.call, **given))

    return kept(name, compute)


def _leaves(part: dict[str, Any]) -> list[Any]:
    flat = [leaf for value in part.values() for leaf in (value if isinstance(value, tuple) else (value,))]
    return [leaf for leaf in flat if isinstance(leaf, (np.ndarray, float, bool))]


def check(p: Problem, found: dict[str, Array], expected: dict[str, Array], form: Form) -> None:
    """Compare results with the reference's, by the one table of tolerances."""
    steps, batch = p.x.shape[:2]
    hidden, places = p.state[-1].shape[1], p.features.shape[1]
    inputs = p.params["weight_ih"].shape[1] + places + len(p.params["weight_query"])  # sums that are one after another
    gates = len(rk.cell_info(p.cell)["gates"])
    amplified = amplification(p.cell, steps, batch, p.params["weight_ih"].shape[1], hidden)
    scaled_up = 4 if "noise" in p.options else 1
    for name, value in found.items():
        assert value.dtype == p.features.dtype, name
        gradient = name.startswith("d ")
        length = (
            gradient_length(steps, batch, inputs, hidden, gates) if gradient else forward_length(steps, inputs, hidden)
        )
        quantity = "gradient" if gradient else "output"
        assert_close(value, expected[name], quantity, scaled_up * length, f"{name} of {form}", amplified)
    missing = set(expected) - set(found)
    assert all(name.startswith("d reset") for name in missing), missing


def check_slope(p: Problem, seed: int = 1) -> None:
    """Compare all results, and all gradients at once along one random direction: one complex step, for any size.

    On every instruction set.
    """
    exact = reference.forward(*p.call, **p.options)
    rng, h = np.random.default_rng(seed), 1e-100
    arrays = {"features": p.features, **p.params, **{f"state[{k}]": s for k, s in enumerate(p.state)}}
    move = {f"d {name}": rng.standard_normal(value.shape) for name, value in arrays.items()}
    moved = {name: value + 1j * h * move[f"d {name}"] for name, value in arrays.items()}
    x = p.x
    if x.dtype.kind == "f":
        move["d x"] = rng.standard_normal(x.shape)
        x = x + 1j * h * move["d x"]
    features, state = moved["features"], tuple(moved[f"state[{k}]"] for k in range(len(p.state)))
    there = reference.forward(p.cell, x, features, {name: moved[name] for name in p.params}, state, **p.options)
    sums = [(p.ahead[f"d_{name}"] * getattr(there, name)).sum() for name in ("output", "weights", "contexts")]
    sums += [(d * s).sum() for d, s in zip(p.ahead["d_state"], there.state, strict=True)]
    for isa in sets():
        rk.set_instruction_set(isa)
        run = p.forward()
        check(p, named(run), named(exact), Form())
        grads = named_gradients(attention.backward(run, **p.ahead))
        terms = [float((grads[name] * value).sum()) for name, value in move.items()]
        allowed = 1e-11 * np.abs(terms).max(initial=1.0)
        np.testing.assert_allclose(sum(terms), sum(sums).imag / h, rtol=1e-10, atol=allowed)
