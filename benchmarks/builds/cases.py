"""The cases of `bits`: everything a caller can ask of a cell, at shapes that are odd for some part of an engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

import rnnkernels as rk
from benchmarks import options
from benchmarks.shapes import Shape

from .answers import Answer, named
from .problems import Problem, inference, of_gradients, training

Call = Callable[[], Answer]


@dataclass(frozen=True, eq=False)
class Case:
    """One call, or some that belong together, on a number of threads."""

    what: str
    shape: Shape
    threads: int
    call: Call

    def answer(self) -> Answer:
        """The arrays it gives; where it raises, the error's text as an array."""
        rk.set_num_threads(self.threads)
        try:
            return self.call()
        except Exception as error:  # noqa: BLE001 - that a build raises is its answer
            return {f"raised {type(error).__name__}": np.array(str(error))}

    def __str__(self) -> str:
        sizes = " ".join(f"{name}{size}" for name, size in zip("TBIH", self.shape, strict=True))
        return f"{self.what} | {sizes} | {self.threads} thr"


# An input size for each H: other than H, below and above a vector's width.
INPUTS = {1: 3, 5: 2, 17: 9, 33: 40, 64: 20, 100: 30}

# H below, at and off every vector width and panel; one row, a few, and more than a tile has.
SMALL: tuple[Shape, ...] = tuple((t, b, INPUTS[h], h) for t, b, h in product((1, 5), (1, 3, 29), INPUTS))
# Where every option is asked for.
OPTIONED: tuple[Shape, ...] = ((5, 1, 20, 64), (1, 3, 40, 33), (6, 29, 2, 5), (3, 3, 30, 100))
# Steps whose work is worth more threads: rows to divide in one, units in the other.
SHARED: tuple[Shape, ...] = ((4, 29, 40, 33), (3, 3, 30, 100))
# More steps than a chunk of the forward has (256 rows), and of the backward (4,096 rows).
LONG: tuple[Shape, ...] = ((300, 1, 2, 5), (20, 29, 9, 17), (150, 29, 3, 5))
# Weights that two threads divide, and products over many steps that they share.
WIDE: tuple[Shape, ...] = ((3, 2, 40, 330), (60, 1, 256, 256))
EMPTY: tuple[Shape, ...] = ((0, 2, 3, 5), (3, 0, 3, 5))
# Layers small enough, and sequences long enough, to run side by side.
STACKED: tuple[Shape, ...] = ((140, 1, 5, 64), (70, 3, 9, 50))
QUICK: tuple[Shape, ...] = ((5, 3, 9, 17),)


def of(cell: str, dtype: str, asked: str | None = None, *, quick: bool = False) -> Iterator[Case]:
    """A cell's cases; those whose text has `asked` in it, and with `quick` one shape's."""
    for shape, threads, make in _groups(quick=quick):
        problem = Problem(cell, dtype, shape)
        for what, call in make(problem).items():
            for count in threads:
                case = Case(what, shape, count, call)
                if asked is None or asked in str(case):
                    yield case


def _groups(*, quick: bool) -> Iterator[tuple[Shape, tuple[int, ...], Callable[[Problem], dict[str, Call]]]]:
    if quick:
        for shape in QUICK:
            yield shape, (1, 2), every_call
        return
    for shape in (*EMPTY, *SMALL):
        yield shape, (1,), plain_calls
    for shape in OPTIONED:
        yield shape, (1,), every_call
    for shape in SHARED:
        yield shape, (2, 3), shared_calls
    for shape in LONG:
        yield shape, (1, 2), long_calls
    for shape in WIDE:
        yield shape, (1, 2), plain_calls
    for shape in STACKED:
        yield shape, (1, 2, 3), stacks


def rows(p: Problem) -> dict[str, dict[str, Any]]:
    """Ways to run the rows of a batch; "": all steps of each."""
    cut = {"resets": p.resets, "reset_state": p.reset_state}
    return {
        "": {},
        "lengths": {"lengths": p.lengths},
        "resets": {"resets": p.resets},
        "reset state": cut,
        "reverse": {"reverse": True},
        "term": {"term": p.term},
        "all of rows": {**cut, "lengths": p.lengths, "reverse": True, "term": p.term},
    }


def asked(p: Problem) -> dict[str, dict[str, Any]]:
    """What options.py has for a cell, and all of its masks expected; with "norms" for the backward."""
    found: dict[str, dict[str, Any]] = {"": {}, **options.of(p.cell), **options.together(p.cell)}
    for name, option in list(found.items()):
        if "noise" in option:
            found[f"{name}, expected"] = {**option, "noise": dataclasses.replace(option["noise"], expected=True)}
    return found


def plain_calls(p: Problem) -> dict[str, Call]:
    return {
        "training": partial(training, p),
        "inference": partial(inference, p),
        "training tokens": partial(training, p, x=p.tokens),
    }


def long_calls(p: Problem) -> dict[str, Call]:
    """What depends on where a long sequence is cut: rows, readings and memory, with no masks."""
    found: dict[str, Call] = {f"training {row}": partial(training, p, **how) for row, how in rows(p).items()}
    for name, option in options.of(p.cell).items():
        if "noise" not in option:
            found[f"training {name}"] = _trained(p, option, {})
    return found | {"training tokens": partial(training, p, x=p.tokens), "inference": partial(inference, p)}


def shared_calls(p: Problem) -> dict[str, Call]:
    """Each option alone and with all that can be said of rows: what threads could do differently."""
    both = {"", "all of rows"}
    return optioned(p, both) | {
        "training tokens": partial(training, p, x=p.tokens),
        "prepared": partial(_prepared, p, {}, {}),
    }


def optioned(p: Problem, wanted: Container[str]) -> dict[str, Call]:
    """Each option with each of the wanted ways to run the rows, trained and, where that says more, inferred."""
    found: dict[str, Call] = {}
    for (name, option), (row, how) in product(asked(p).items(), rows(p).items()):
        if row not in wanted:
            continue
        what = " + ".join(text for text in (name, row) if text)
        found[f"training {what}".strip()] = _trained(p, option, how)
        if not {"norms", "memory"} & set(option):
            found[f"inference {what}".strip()] = partial(inference, p, **option, **how)
    return found


def every_call(p: Problem) -> dict[str, Call]:
    found = plain_calls(p) | optioned(p, rows(p))
    bare, none = p.params_without_biases, {"state": None}
    found |= {
        "training tokens, all of rows": partial(training, p, x=p.tokens, **rows(p)["all of rows"]),
        "training no bias": partial(training, p, params=bare),
        "training tokens, no bias": partial(training, p, params=bare, x=p.tokens),
        "training no state": partial(training, p, {"d_state": None}, **none),
        "training states alone": partial(training, p, {"d_output": None}),
        "training no need_x": partial(training, p, {"need_x": False}),
        "inference no state": partial(inference, p, **none),
        "inference no bias": partial(inference, p, params=bare),
    }
    return found | clipped(p) | prepared(p)


def clipped(p: Problem) -> dict[str, Call]:
    """The calls with each setting that the cell has, at a value that many units reach."""
    found: dict[str, Call] = {}
    for setting in rk.cell_info(p.cell).get("settings", ()):
        for (name, option), (row, how) in product(asked(p).items(), rows(p).items()):
            if name and row:
                continue
            what = " + ".join(text for text in (setting, name, row) if text)
            found[f"training {what}"] = _trained(p, {**option, setting: 0.3}, how)
        found[f"inference {setting}"] = partial(inference, p, **{setting: 0.3})
    return found


def prepared(p: Problem) -> dict[str, Call]:
    """Weights packed once: whole sequences, and steps."""
    noises = {name: {"noise": option["noise"]} for name, option in asked(p).items() if set(option) == {"noise"}}
    noises = {name: option for name, option in noises.items() if "expected" not in name}
    kinds: dict[str, dict[str, Any]] = {"prepared": {}}
    kinds |= {f"prepared {name}": option for name, option in noises.items()}
    kinds |= {f"prepared {setting}": {setting: 0.3} for setting in rk.cell_info(p.cell).get("settings", ())}
    if p.dtype == "float32":
        kinds["prepared bfloat16"] = {"weights": "bfloat16"}
    found: dict[str, Call] = {"step": partial(_steps, p, {})}
    for name, option in kinds.items():
        for tokens in (False, True):
            what = f"{name}, tokens" if tokens else name
            found[what] = partial(_prepared, p, {**option, "tokens": tokens}, {})
            found[f"{what}, stepper"] = partial(_stepper, p, {**option, "tokens": tokens})
    found |= {f"prepared {row}": partial(_prepared, p, {}, how) for row, how in rows(p).items() if row}
    return found | {f"step {name}": partial(_steps, p, option) for name, option in noises.items()}


def stacks(p: Problem) -> dict[str, Call]:
    """Layers on layers."""
    rate = {"dropout": 0.3}
    found: dict[str, Call] = {
        "stack of 2": partial(_stack, p, 2, {}),
        "stack of 3": partial(_stack, p, 3, {}),
        "stack of 3, inference": partial(_stack, p, 3, {}, train=False),
        "stack of 2, tokens": partial(_stack, p, 2, {}, x=p.tokens),
        "stack of 2, lengths": partial(_stack, p, 2, {}, lengths=p.lengths),
        "stack of 2, dropout": partial(_stack, p, 2, rate),
        "stack of 2, masks": partial(_stack, p, 2, options.of_stack(p.cell)),
    }
    if not rk.cell_info(p.cell)["direct"]:  # whose I is H, and a second layer's would be 2·H
        found["stack of 2, bidirectional"] = partial(_stack, p, 2, {**rate, "bidirectional": True})
    return found


def _trained(p: Problem, option: dict[str, Any], how: dict[str, Any]) -> Call:
    forward = {name: value for name, value in option.items() if name != "norms"}
    return partial(training, p, {"norms": True} if "norms" in option else {}, **forward, **how)


def _prepared(p: Problem, option: dict[str, Any], how: dict[str, Any]) -> Answer:
    layer = rk.Prepared(p.cell, p.params, **option)
    output, state = layer.forward(p.tokens if option.get("tokens") else p.x, p.state, **how)
    return {"output": output} | named("state", state)


def _stepper(p: Problem, option: dict[str, Any]) -> Answer:
    stepper = rk.Prepared(p.cell, p.params, **option).stepper(p.shape[1], p.state)
    output = np.stack([stepper(x).copy() for x in (p.tokens if option.get("tokens") else p.x)])
    return {"output": output} | named("state", stepper.state)


def _steps(p: Problem, option: dict[str, Any]) -> Answer:
    state: Any = p.state
    for x in p.x:
        state = rk.step(p.cell, x, p.params, state, **option)
    return named("state", state)


def _stack(p: Problem, layers: int, option: dict[str, Any], x: Any = None, *, train: bool = True, **how: Any) -> Answer:
    stack = rk.Stack(p.cell, *p.sizes[2:], layers, dtype=p.dtype, rng=1, proj_size=p.proj_size, **option)
    for name, value in stack.params.items():  # no build's own drawing
        stack.params[name] = p.uniform(name, -0.3, 0.3, *value.shape)
    run = stack.forward(p.x if x is None else x, training=train, rng=np.random.default_rng(1), **how)
    found = {"output": run.output} | named("state", run.state)
    if not train:
        return found
    d_output = p.normal("d_output of a stack", *run.output.shape)
    return found | of_gradients(stack.backward(run, d_output))
