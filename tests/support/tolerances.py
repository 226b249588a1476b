"""The one table of tolerances: how far a kernel may lie from the float64 reference.

Results are compared with the reference run in float64 *on the same values*, so what is left is
the rounding of the kernel. Its model (Higham & Mary, SIAM J. Sci. Comput. 41(5), 2019: rounding
errors that look random add up with the square root of their number):

    error <= SAFETY * u * (FUNCTIONS + sqrt(length)) * scale

u           unit roundoff of the dtype, eps / 2
length      how many roundings the longest chain behind one number has: see `forward_length`
            and `gradient_length`
FUNCTIONS   what sigmoid and tanh add: two of them in a row, 2.5 ULP = 5 u each
scale       the largest magnitude in the expected array, or 1 when that is smaller: the errors
            of gates are absolute
SAFETY      one number per quantity. PyTorch's kernels, whose functions err by about 1 ULP, come
            to a sixth of the tolerance at most (test_reference.py holds them to a third)

The model holds for a recurrence that does not amplify, such as weights of init_params,
U(+-1/sqrt(H)), and a little more (that of a normalised LSTM with gains of 1 amplifies: problems.py has smaller ones); a
chaotic one (W_hh with a spectral radius of 2.5, say)
multiplies rounding with every step.

A normalisation divides by the standard deviation of a row, and rounding with it: `amplification` says by how much.

An index that is off by one, a missing bias or a wrong gate shows as an error of 0.01 to 1; in
float32 a tolerance is between 1e-6 and 2e-5 for the sizes the tests use.

Half precision, which only PyTorch's layers have, has rows of its own for the unit roundoff: NumPy has no bfloat16.
There both results are rounded, the peer's at every step.

Not here: bitwise promises, which are compared with `numpy.array_equal`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk

FUNCTIONS = 10.0

SAFETY = {
    "output": 1.0,
    "state": 1.0,
    "gradient": 2.0,  # the slopes of the gates, s (1 - s) and 1 - t t, double a relative error
}

HALF = {"bfloat16": 2.0**-8, "float16": 2.0**-11}  # unit roundoff, by the name PyTorch has for it


def unit_roundoff(dtype: npt.DTypeLike) -> float:
    """Return eps / 2 of a dtype, of one of `HALF` by its name."""
    return HALF[dtype] if isinstance(dtype, str) and dtype in HALF else float(np.finfo(dtype).eps) / 2


def amplification(cell: str, steps: int, batch: int, input_size: int, hidden_size: int) -> float:
    """Return what a cell that normalises multiplies rounding by; 1 for the others.

    It divides by the standard deviation of W_ih x, of W_hh h and, some cells, of c': small where all of x is, all of h,
    or all of c' alike, while the errors of h, c and the gradients are absolute. Of n independent numbers the
    probability that they lie within s is near s**n: so of T*B rows one lies within (100*T*B)**(-1/n) in one test of a
    hundred. The epsilon of the normalisation, 1e-5, bounds it.
    """
    normalisation = rk.cell_info(cell)["normalisation"]
    if normalisation == "none" or steps * batch == 0:
        return 1.0
    least = min(input_size, hidden_size - 1 if normalisation == "products_and_inner" else hidden_size)
    return float(min((100 * steps * batch) ** (1 / max(1, least)), 1e-5**-0.5))


def forward_length(steps: int, input_size: int, hidden_size: int) -> int:
    """Roundings behind an output or a state: per step, a product over I and H and 8 of the cell."""
    return max(steps, 1) * (input_size + hidden_size + 8)


def gradient_length(steps: int, batch: int, input_size: int, hidden_size: int, gates: int = 4) -> int:
    """Roundings behind a gradient: forward's, per step back a product over G*H, T*B rows summed."""
    forward = forward_length(steps, input_size, hidden_size)
    return forward + max(steps, 1) * (gates * hidden_size + 8) + steps * batch


def tolerance(dtype: npt.DTypeLike, quantity: str, length: int, amplified: float = 1.0) -> float:
    """Largest error allowed, relative to the scale of the expected array.

    Parameters
    ----------
    dtype : float32, float64, or a name of `HALF`
        Of the kernel that is tested.
    quantity : {"output", "state", "gradient"}
    length : int
        From `forward_length` or `gradient_length`.
    amplified : float
        From `amplification`.
    """
    return SAFETY[quantity] * unit_roundoff(dtype) * (FUNCTIONS + math.sqrt(length)) * amplified


def error(actual: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """Largest difference over the scale of `expected`; infinite when one is NaN or infinite."""
    a, e = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if a.shape != e.shape:
        raise AssertionError(f"shape {a.shape}, expected {e.shape}")
    if not e.size:
        return 0.0
    worst = float(np.max(np.abs(a - e)))
    return worst / max(1.0, float(np.max(np.abs(e)))) if math.isfinite(worst) else math.inf


def assert_close(
    actual: npt.NDArray[Any],
    expected: npt.ArrayLike,
    quantity: str,
    length: int,
    what: str = "",
    amplified: float = 1.0,
) -> None:
    """Compare a kernel's array, whose dtype sets the tolerance, with the reference's."""
    allowed, found = tolerance(actual.dtype, quantity, length, amplified), error(actual, expected)
    assert found <= allowed, (
        f"{what or quantity} ({actual.dtype}, shape {actual.shape}): error {found:.3g}, allowed {allowed:.3g}"
    )
