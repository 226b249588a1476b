"""Exploding and vanishing gradients, and why an LSTM's cell keeps them.

A loss on the last state alone goes back through T steps; `rnnkernels.backward(..., norms=True)` reads the norms
‖dL/dh_t‖ and ‖dL/dc_t‖ on its way.

- In the linear case (tanh at zero, where its slope is 1) with a symmetric W_hh, each step back multiplies the gradient
  by W_hh: log ‖dL/dh_t‖ is a line over t, whose slope is log σ_max, the logarithm of the largest singular value.
- With tanh away from zero the slope is lower: it attenuates further (Pascanu, Mikolov and Bengio, ICML 2013).
- In an LSTM whose forget gates are open, f = 1, and whose gates do not look at h, dL/dc_{t-1} = dL/dc_t, exactly. With
  f = 1/2 it is halved at every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk

from .figures import Figure

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("exploding and vanishing gradients",)

STEPS, UNITS = 200, 32
SIGMAS = (0.8, 0.9, 1.0, 1.1, 1.25)
NEAR = 100  # steps at the end; farther back the largest singular value alone is left of W_hh


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Read the norms of a vanilla network at five sizes of its weights, and of an LSTM with its forget gates open."""
    del quick  # it takes less than a second
    linear = {sigma: vanilla(sigma, spread=0.0) for sigma in SIGMAS}  # ‖dL/dh_t‖, (T,)
    attenuated = {sigma: vanilla(sigma, spread=1.0) for sigma in SIGMAS}
    errors = [abs(slope(norms) - np.log(sigma)) for sigma, norms in linear.items()]
    lower = sum(slope(attenuated[sigma]) < slope(linear[sigma]) for sigma in SIGMAS)
    cells = {f"f = {name}": lstm(bias) for name, bias in (("1", np.inf), ("0.88", 2.0), ("1/2", 0.0))}
    kept = cells["f = 1"]
    constant = float(np.abs(kept[:-1] / kept[1:] - 1).max())
    for sigma in SIGMAS:
        print(
            f"σ_max {sigma:4.2f}: log σ_max {np.log(sigma):7.4f}, slope {slope(linear[sigma]):7.4f}, "
            f"with tanh's slopes {slope(attenuated[sigma]):7.4f}"
        )
    if pictures is not None:
        draw(linear, attenuated, cells, pictures / "gradients.png")
    return [
        Figure("linear case: slope of log ‖dL/dh_t‖ less log σ_max", max(errors), "< 0.001", max(errors) < 1e-3),
        Figure(
            f"of {len(SIGMAS)} networks, those that tanh attenuates", lower, f"= {len(SIGMAS)}", lower == len(SIGMAS)
        ),
        Figure("LSTM, f = 1: ratio of ‖dL/dc_t‖ from step to step less 1", constant, "= 0", constant == 0),
    ]


def vanilla(sigma: float, *, spread: float) -> Array:
    """Return ‖dL/dh_t‖ (T,) of a tanh network, float64, whose inputs have a standard deviation of `spread`."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(UNITS, UNITS))
    symmetric = drawn + drawn.T
    params = rk.init_params("rnn_tanh", 1, UNITS, rng=rng, dtype="float64", bias=False)
    params["weight_hh"] = sigma * symmetric / np.linalg.norm(symmetric, 2)
    x = spread * rng.normal(size=(STEPS, 1, 1))
    return norms_of("rnn_tanh", x, params, rng)[0]


def lstm(forget_bias: float) -> Array:
    """Return ‖dL/dc_t‖ (T,) of an LSTM whose gates do not see h; f = σ(forget_bias) in every unit."""
    rng = np.random.default_rng(0)
    params = rk.init_params("lstm", 1, UNITS, rng=rng, dtype="float64")
    for name in ("weight_ih", "weight_hh"):
        params[name][UNITS : 2 * UNITS] = 0  # of f
    params["weight_hh"][:] = 0
    params["bias_hh"][:] = 0
    params["bias_ih"][UNITS : 2 * UNITS] = min(forget_bias, 1000)  # σ(1000) is 1 in any precision
    return norms_of("lstm", rng.normal(size=(STEPS, 1, 1)), params, rng)[1]


def norms_of(cell: str, x: Array, params: dict[str, Array], rng: np.random.Generator) -> tuple[Array, ...]:
    """Return the norms of dL/d(each state), (T,), of a loss that is linear in the last state."""
    made = rk.forward(cell, x, params)
    d_state = [np.zeros_like(state) for state in made.state]
    d_state[-1] = rng.normal(size=d_state[-1].shape)  # of an LSTM c, of a vanilla network h
    norms = rk.backward(made, None, d_state, norms=True).norms
    if norms is None:
        raise RuntimeError("norms: expected readings, as they were asked for")
    return tuple(norm[:, 0] for norm in norms)


def slope(norms: Array) -> float:
    """Return the mean change of log ‖dL/dh_t‖ for each step back, without the steps near the end."""
    logs = np.log(norms[: len(norms) - NEAR])
    return float((logs[0] - logs[-1]) / (len(logs) - 1))


def draw(linear: dict[float, Array], attenuated: dict[float, Array], cells: dict[str, Array], file: Path) -> None:
    """Draw the norms over t, each divided by that of the last step."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - optional

    panels = {
        "vanilla, linear case, ‖dL/dh_t‖": {f"σ_max = {sigma}": norms for sigma, norms in linear.items()},
        "vanilla, with tanh's slopes, ‖dL/dh_t‖": {f"σ_max = {sigma}": norms for sigma, norms in attenuated.items()},
        "LSTM, gates that do not see h, ‖dL/dc_t‖": cells,
    }
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), sharey=True)
    for panel, (title, curves) in zip(axes, panels.items(), strict=True):
        for label, norms in curves.items():
            panel.semilogy(np.arange(1, STEPS + 1), norms / norms[-1], label=label)
        panel.set(title=title, xlabel="t")
        panel.legend()
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
