"""A diagnosis as a table of text, or as a picture (matplotlib)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import shown

from .diagnosis import HIGH, LOW, Diagnosis, LayerDiagnosis, step_factor

__all__ = ["PICTURES", "draw", "table"]

Array = npt.NDArray[Any]

PICTURES = (".svg", ".png", ".pdf")

BACK = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # steps before the last that a table has


def table(diagnosis: Diagnosis) -> str:
    """Return a diagnosis as a table: norms of the gradient over the steps back, singular values, gates.

    Raises
    ------
    TypeError
        If it is no Diagnosis.
    """
    _check(diagnosis)
    count = len(diagnosis.layers)
    sizes = f"{count} x {diagnosis.hidden} units, {diagnosis.steps} steps, {diagnosis.batch} rows"
    lines = [f"{diagnosis.cell}, {sizes}; the loss is that of the last step"]
    for number, layer in enumerate(diagnosis.layers):
        lines += ["", *([f"layer {number}"] if count > 1 else []), *_norms(layer)]
        lines += ["", f"  {'singular values':20}{'largest':>10}{'median':>10}{'smallest':>10}"]
        for name, values in layer.singular_values.items():
            largest, median, smallest = values[0], np.median(values), values[-1]
            lines.append(f"  recurrent, {name:9}{largest:10.3f}{median:10.3f}{smallest:10.3f}")
        if layer.gates:
            lines += ["", f"  {'gates':20}{f'below {LOW}':>10}{f'above {HIGH}':>10}{'mean':>10}"]
        for name, gate in layer.gates.items():
            lines.append(f"  {name:20}{gate.low:10.1%}{gate.high:10.1%}{gate.mean:10.3f}")
    return "\n".join(lines)


def _norms(layer: LayerDiagnosis) -> list[str]:
    steps = len(next(iter(layer.norms.values())))
    backs = [back for back in BACK if back < steps - 1]
    backs += [steps - 1] * (steps > 1 or not backs)
    lines = [f"  {'steps back':20}" + "".join(f"{back:10}" for back in backs) + f"{'a step':>12}"]
    for name, norms in layer.norms.items():
        shown_norms = "".join(f"{norms[-1 - back]:10.2e}" for back in backs)
        lines.append(f"  {f'‖dL/d{name}‖':20}{shown_norms}{f'× {step_factor(norms):.4f}':>12}")
    return lines


def draw(diagnosis: Diagnosis, path: str | os.PathLike[str]) -> None:
    """Draw a diagnosis: for each layer its norms over time, its singular values and its gates.

    Parameters
    ----------
    diagnosis : Diagnosis
    path : path
        Of the picture; its name ends in one of `PICTURES`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    OSError
        If the file cannot be written.
    ModuleNotFoundError
        Without matplotlib.
    """
    _check(diagnosis)
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a path, got {shown(path)}")
    if Path(path).suffix.lower() not in PICTURES:
        raise ValueError(f"path: expected a name that ends in {', '.join(PICTURES)}, got {shown(os.fspath(path))}")
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need the package matplotlib: pip install matplotlib", name=error.name
        ) from None
    count = len(diagnosis.layers)
    figure = Figure(figsize=(12, 0.6 + 3.2 * count), layout="constrained")
    figure.suptitle(f"{diagnosis.cell}, {count} × {diagnosis.hidden} units: the gradient of the last step's loss")
    for number, (layer, row) in enumerate(zip(diagnosis.layers, figure.subplots(count, 3, squeeze=False), strict=True)):
        _draw_norms(row[0], layer, f"layer {number}: " if count > 1 else "")
        _draw_values(row[1], layer)
        _draw_gates(row[2], layer)
    figure.savefig(path)


def _draw_norms(axes: Any, layer: LayerDiagnosis, which: str) -> None:
    for name, norms in layer.norms.items():
        positive = np.where(norms > 0, norms, np.nan)  # a logarithm has no place for the others
        axes.plot(positive, label=f"$‖dL/d{name}_t‖$, × {step_factor(norms):.3f} a step back")
    axes.set(yscale="log", xlabel="step t", title=f"{which}norm of the gradient")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _draw_values(axes: Any, layer: LayerDiagnosis) -> None:
    for name, values in layer.singular_values.items():
        axes.plot(np.linspace(0, 1, len(values)), values, label=name)
    axes.axhline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="rank / number", title="singular values of the recurrent weights", ylim=(0, None))
    axes.legend(title="gate", fontsize="small")
    axes.grid(alpha=0.3)


def _draw_gates(axes: Any, layer: LayerDiagnosis) -> None:
    names = list(layer.gates)
    low = np.array([gate.low for gate in layer.gates.values()])
    high = np.array([gate.high for gate in layer.gates.values()])
    if not names:
        axes.set_axis_off()
        return
    axes.barh(names, low, color="#4c8ce6", label=f"below {LOW}")
    axes.barh(names, 1 - low - high, left=low, color="#d9dde2", label="between")
    axes.barh(names, high, left=1 - high, color="#f58228", label=f"above {HIGH}")
    axes.set(xlim=(0, 1), xlabel="share of the values", title="gates")
    axes.invert_yaxis()
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)


def _check(diagnosis: object) -> None:
    if not isinstance(diagnosis, Diagnosis):
        raise TypeError(f"diagnosis: expected a Diagnosis, got {shown(diagnosis)}")
