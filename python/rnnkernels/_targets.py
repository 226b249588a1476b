"""What a loss is told beside outputs: targets that are classes, and which rows count, by a mask and by lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._call import present
from ._scalars import shown
from .schedule import check_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from .parameters import Array


def integers(targets: npt.ArrayLike, lead: tuple[int, ...]) -> Array:
    """Return targets as integers of a shape; which they are is checked where they count."""
    try:
        array = np.asarray(targets)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"targets: expected integers, got {shown(targets)}: {error}") from None
    if array.dtype.kind not in "iu":
        raise TypeError(f"targets: expected integers, got {array.dtype}")
    if array.shape != lead:
        raise ValueError(f"targets: expected the shape of the outputs without H, {lead}, got {array.shape}")
    return array


def with_steps(targets: npt.ArrayLike) -> Array:
    """Return the targets of a sequence, (T, B) or (T, B, K), as an array; of what, the caller checks."""
    try:
        array = np.asarray(targets)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"targets: expected an array, got {shown(targets)}: {error}") from None
    if array.ndim < 2:
        raise ValueError(f"targets: expected those of a sequence, (T, B) or (T, B, K), got shape {array.shape}")
    return array


def rows_that_count(
    lead: tuple[int, ...], mask: npt.ArrayLike | None, lengths: npt.ArrayLike | None
) -> npt.NDArray[np.bool_] | None:
    """Return which rows count, with the outputs' leading axes; None where all do."""
    counts = None
    if lengths is not None:
        if len(lead) != 2:
            raise ValueError(f"lengths: expected outputs (T, B, H) with them, got {len(lead) + 1} dimensions")
        length, _ = check_rows(*lead, lengths, None)
        counts = np.less.outer(np.arange(lead[0]), present(length, "lengths"))
    if mask is not None:
        try:
            allowed = np.asarray(mask)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"mask: expected booleans, got {shown(mask)}: {error}") from None
        if allowed.dtype != np.bool_:
            raise TypeError(f"mask: expected booleans, got {allowed.dtype}")
        if allowed.shape != lead:
            raise ValueError(f"mask: expected the shape of the outputs without H, {lead}, got {allowed.shape}")
        counts = allowed if counts is None else counts & allowed
    return counts
