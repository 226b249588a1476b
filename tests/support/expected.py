"""What the NumPy reference gives for a problem, in float64: computed once, then read from a file.

Runs of the tests (the plain one, the emulated CUDA backend's, the sanitizers') ask for the same values. Each is kept in
build/reference/ under a hash of all that it follows from: the reference's source, NumPy's version, the problem's arrays
and the options. A file that is not what was written is not trusted, and written again.

`check_slope` is for sizes that whole gradients of the reference would take too long for.

Not here: tolerances (tolerances.py), and what single calls must give together (separate_calls.py).
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import Array, Problem
from tolerances import amplification, assert_close, forward_length

import rnnkernels as rk
from rnnkernels import Noise, reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FOLDER = Path(__file__).resolve().parents[2] / "build" / "reference"


def expected(p: Problem, noise: Noise | None = None, **settings: float) -> dict[str, Array]:
    """What `p.results(noise=noise, **settings)` should give. A problem's values serve every dtype that holds them."""
    p = p.astype("float64")
    return kept(_name(p, noise, settings), lambda: _compute(p, noise, settings))


def kept(name: str, compute: Callable[[], dict[str, Array]]) -> dict[str, Array]:
    """What was computed once, under a hash of all that it follows from: see `digest`."""
    file = FOLDER / f"{name}.npz"
    found = _read(file)
    if found is None:
        found = compute()
        _write(file, found)
    return found


def _compute(p: Problem, noise: Noise | None, settings: dict[str, float]) -> dict[str, Array]:
    options: dict[str, Any] = {"noise": noise, **settings}
    output, final = reference.forward(p.cell, p.x, p.params, p.state, **options)
    dx, d_params, d_initial = reference.gradients(p.cell, p.x, p.params, p.state, p.d_output, p.d_state, **options)
    named = {"output": output} | {f"state[{i}]": s for i, s in enumerate(final)}
    named |= {f"d {name}": g for name, g in d_params.items()} | {f"d state[{i}]": s for i, s in enumerate(d_initial)}
    return named if dx is None else named | {"d x": dx}


def check_slope(p: Problem, noise: Noise | None = None, seed: int = 1) -> None:
    """Compare all gradients at once, along one random direction: one complex step, for any size."""
    run = p.forward(noise=noise)
    output, _ = reference.forward(p.cell, p.x, p.params, p.state, noise=noise)
    steps, batch, inputs = p.x.shape
    hidden = p.state[-1].shape[1]
    amplified = amplification(p.cell, steps, batch, inputs, hidden)
    # what a mask keeps is scaled up, by less than 2 here
    length = forward_length(steps, inputs, hidden) * (1 if noise is None else 4)
    assert_close(run.output, output, "output", length, amplified=amplified)
    grads = rk.backward(run, p.d_output, p.d_state)
    assert grads.x is not None
    found = grads.params | {"x": grads.x} | {f"state{k}": s for k, s in enumerate(grads.state)}
    rng = np.random.default_rng(seed)
    direction = {name: rng.standard_normal(value.shape) for name, value in found.items()}
    slope = reference.directional_derivative(
        p.cell, p.x, p.params, p.state, p.d_output, p.d_state, direction, noise=noise
    )
    ours = sum(float((found[name] * value).sum()) for name, value in direction.items())
    assert ours == pytest.approx(slope, rel=1e-11 if noise is None else 1e-10)


# ---- the files -----------------------------------------------------------------------------------


@cache
def _source() -> str:
    """The reference's source and NumPy's version."""
    folder = Path(reference.__file__).parent
    text = b"".join(file.read_bytes() for file in sorted(folder.rglob("*.py")))
    return hashlib.sha256(text + np.__version__.encode()).hexdigest()


def _name(p: Problem, noise: Noise | None, settings: dict[str, float]) -> str:
    params = [part for name, value in p.params.items() for part in (np.array(name), value)]
    arrays = (p.x, *params, *p.state, p.d_output, *p.d_state)
    return digest((p.cell, noise, sorted(settings.items())), arrays)


def digest(what: tuple[object, ...], arrays: Iterable[Array]) -> str:
    """A hash of the reference's source, of what has a repr, and of arrays."""
    found = hashlib.sha256(repr((_source(), *what)).encode())
    for array in arrays:
        found.update(repr((array.dtype.str, array.shape)).encode() + array.tobytes())
    return found.hexdigest()


def _read(file: Path) -> dict[str, Array] | None:
    """The arrays of a file, if it is as it was written: the hash of the rest, the rest."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    with np.load(io.BytesIO(data[32:])) as arrays:
        return dict(arrays)


def _write(file: Path, arrays: dict[str, Array]) -> None:
    """Write a file at once: another process that reads or writes it meanwhile finds a whole one."""
    memory = io.BytesIO()
    np.savez(memory, **arrays)  # type: ignore[arg-type]  # some stubs of NumPy take the names for savez's own
    data = memory.getvalue()
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=FOLDER)
        with os.fdopen(descriptor, "wb") as out:
            out.write(hashlib.sha256(data).digest() + data)
        Path(name).replace(file)
    except OSError:  # nowhere to keep it
        return
