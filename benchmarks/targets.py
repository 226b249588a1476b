"""What we set out to reach, as ratios over the best peer; from the measurements of a prototype (issue 3).

At no shape below 1. Where no shape has a target of its own, the geometric mean over the core shapes has one.
"""

from __future__ import annotations

from .shapes import CORE_SHAPES, FUSED_ELSEWHERE, Shape

FLOOR = 1.0

# (cell, mode, threads) → a ratio for each of CORE_SHAPES, in their order.
_SHAPES: dict[tuple[str, str, int], tuple[float, ...]] = {
    ("lstm", "inference", 1): (1.7, 1.3, 1.4, 1.13, 1.05, 1.08, 1.12, 1.06),
    ("lstm", "inference", 2): (1.7, 1.5, 1.5, 1.25, 1.05, 1.12, 1.15, 1.1),
    ("gru_reset_before", "inference", 1): (2.3, 1.45, 1.3, 1.25, 1.2, 1.15, 1.25, 1.08),
    ("gru_reset_before", "inference", 2): (2.3, 1.8, 1.5, 2.0, 1.7, 1.35, 2.2, 1.15),
    # Nobody set these of one thread: the prototype's times plus the measured time of packing the weights four times.
    ("lstm", "training", 1): (3.4, 1.79, 1.79, 1.13, 1.25, 1.2, 1.09, 1.08),
    ("lstm", "training", 2): (3.5, 2.5, 2.2, 1.4, 1.35, 1.27, 1.3, 1.15),
}
_MEANS = {"inference": 1.6, "training": 2.5}
# Where no peer has the cell fused.
_VARIANT_MEAN = 3.0
# Streaming, by H: against torch's cells and ONNX Runtime.
_STREAMING = {64: 5.0, 256: 3.0}
# Over our own float32.
_BFLOAT16 = 1.9


def shape_target(cell: str, mode: str, threads: int, shape: Shape) -> float:
    """Ratio wanted at one shape; FLOOR where nothing more was set."""
    if mode == "streaming":
        return _STREAMING.get(shape[3], FLOOR)
    if mode == "bfloat16":
        return _BFLOAT16
    ratios = _SHAPES.get((cell, mode, threads))
    if ratios is None or shape not in CORE_SHAPES:
        return FLOOR
    return ratios[CORE_SHAPES.index(shape)]


def mean_target(cell: str, mode: str) -> float | None:
    """Geometric mean wanted over the core shapes; None where the shapes have their own targets."""
    if (cell, mode) in {key[:2] for key in _SHAPES}:
        return None
    return _VARIANT_MEAN if mode in _MEANS and cell not in FUSED_ELSEWHERE else _MEANS.get(mode)
