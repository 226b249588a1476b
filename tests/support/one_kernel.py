"""What tests of the kernels that run all steps of a forward share: each against "products".

Not here: which cells such a kernel serves, and what it refuses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from problems import Problem, make, on_device

import rnnkernels as rk
from rnnkernels import cuda

# T, B, D, H: off every tile, one of each, more rows than a group.
SHAPES = [(4, 3, 5, 18), (3, 9, 4, 40), (1, 1, 1, 1), (2, 40, 3, 33)]
OPTIONS = ["lengths", "resets", "reverse"]
UNITS = {"bfloat16": 2.0**-8, "float16": 2.0**-11}


def problem(cell: str, shape: tuple[int, int, int, int]) -> Problem:
    """Return one of a shape, whose D is H where the cell takes x itself."""
    steps, batch, inputs, hidden = shape
    return make(cell, (steps, batch, hidden if rk.cell_info(cell)["direct"] else inputs, hidden))


def given(p: Problem, options: str) -> dict[str, Any]:
    """Return one of OPTIONS as arguments, for a problem of 5 steps and 6 rows."""
    rng = np.random.default_rng(0)
    if options == "lengths":
        return {"lengths": [5, 0, 3, 1, 5, 2]}
    if options == "resets":
        resets = rng.random((5, 6)) < 0.3
        return {"resets": resets, "reset_state": tuple(rng.standard_normal(s.shape) for s in p.state)}
    return {"reverse": True}


def results(
    torch: Any, p: Problem, kernel: str, dtype: Any, backward: str | None = None, **options: Any
) -> dict[str, Any]:
    """Every result of a forward by a kernel, and of the backward behind it, by the same or by another one."""
    cuda.set_kernel(kernel)
    x, params, state = on_device(torch, p, dtype)
    if "reset_state" in options:
        options["reset_state"] = tuple(torch.from_numpy(s).to(dtype) for s in options["reset_state"])
    run = rk.forward(p.cell, x, params, state, **options)
    cuda.set_kernel(backward or kernel)
    found = rk.backward(
        run, torch.from_numpy(p.d_output).to(dtype), tuple(torch.from_numpy(s).to(dtype) for s in p.d_state)
    )
    cuda.set_kernel(kernel)
    evaluated = {}
    if options.get("memory", "all") == "all":
        inferred: Any = rk.forward(p.cell, x, params, state, **{**options, "training": False})
        if "noise" in options:  # the masks' expectations
            evaluated = {"output, evaluated": inferred.output}
        else:
            assert torch.equal(inferred.output, run.output)
    named = evaluated | {"output": run.output, "dx": found.x} | {f"d {name}": g for name, g in found.params.items()}
    named |= {f"state {k}": s for k, s in enumerate(run.state)} | {f"d state {k}": s for k, s in enumerate(found.state)}
    return named


def differentiate(
    torch: Any, p: Problem, kind: Any, kernel: str, *, d_states: bool = False, norms: bool = False, **options: Any
) -> Any:
    """Gradients by a kernel, which is the one that has run forwards."""
    x, params, state = on_device(torch, p, kind)
    cuda.set_kernel(kernel)
    run = rk.forward(p.cell, x, params, state, **options)
    d = torch.from_numpy(p.d_output).to(kind)
    ahead = [None, *(torch.ones_like(d) for _ in state[1:])] if d_states else None
    return rk.backward(run, d, d_states=ahead, norms=norms)


def compare(torch: Any, p: Problem, kernel: str, dtype: str, **options: Any) -> None:
    """Hold a kernel's results to those of "products".

    An h that is rounded the other way is all the difference that sums in another order make. In TF32 emulated products
    round nothing, and only terms here are rounded: gradients are held to those of "products" behind the same forward,
    since a maximum may be another one's.
    """
    kind = getattr(torch, dtype)
    wanted = results(torch, p, "products", kind, **options)
    found = results(torch, p, kernel, kind, **options)
    rounds_alone = dtype == "float32" and cuda.tf32_allowed()
    if rounds_alone:
        gradients = results(torch, p, kernel, kind, "products", **options)
        wanted |= {name: value for name, value in gradients.items() if not name.startswith(("output", "state"))}
    unit = UNITS.get(dtype, 2.0**-11 if rounds_alone else 2.0**-20)
    for name, value in wanted.items():
        if value.numel() == 0:
            continue
        a, b = found[name].float(), value.float()
        assert torch.isfinite(a).all(), name
        error = (a - b).abs().max() / b.abs().max().clamp(min=1.0 if rounds_alone else 1e-3)
        assert error < 8 * unit, (name, float(error))


def check_rows(torch: Any, kernel: str, cell: str = "lstm") -> None:
    """A row's bits do not depend on what its neighbours are, nor how many, and a NaN among them stays its row's."""
    x, params, state = on_device(torch, make(cell, (6, 19, 5, 34)), torch.bfloat16)
    cuda.set_kernel(kernel)
    whole = rk.forward(cell, x, params, state).output
    assert torch.equal(whole, rk.forward(cell, x, params, state).output)
    alone = rk.forward(cell, x[:, 3:4].contiguous(), params, tuple(s[3:4].contiguous() for s in state)).output
    assert torch.equal(whole[:, 3:4], alone)
    x[:, 4] = float("nan")
    beside = rk.forward(cell, x, params, state).output
    assert torch.isnan(beside[:, 4]).all()
    keep = [row for row in range(19) if row != 4]
    assert torch.equal(whole[:, keep], beside[:, keep])
