"""How telling a unit is: the area under the ROC curve of its values as a score for a property.

AUC is the probability that a character with the property has a higher value than one without it (ties count one half):
0.5 says nothing, 1 tells the two apart, and 0 does so with the sign turned. It is the Mann-Whitney statistic, made of
the ranks of the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_text, check_mapping, shown
from rnnkernels.charlm.checks import check_kind

from .reading import Activations

__all__ = ["as_truths", "auc", "probes", "telling"]

Array = npt.NDArray[Any]


def auc(values: npt.ArrayLike, labels: npt.ArrayLike) -> Array:
    """Return the area under the ROC curve of each column of values, for each of some properties.

    Parameters
    ----------
    values : array_like of real numbers, (T,) or (T, N)
        Finite.
    labels : array_like of bool, (T,) or (P, T)

    Returns
    -------
    ndarray of float64
        (P, N), without the axis that an argument has not. NaN for a property that all characters have, or none.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    """
    scores = _as_scores(values)
    truths = _as_array(labels)
    if truths.dtype != np.bool_ or truths.ndim not in (1, 2):
        raise TypeError(f"labels: expected an array of bool, (T,) or (P, T), got {_shown(labels, truths)}")
    if truths.shape[-1] != len(scores):
        raise ValueError(f"labels: expected {len(scores)} labels, one for each of the values, got {truths.shape[-1]}")
    columns = scores[:, None] if scores.ndim == 1 else scores
    rows = np.atleast_2d(truths).astype(np.float64)  # (P, T)
    having = rows.sum(axis=1)
    pairs = having * (len(scores) - having)
    found = np.empty((len(rows), columns.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is the NaN that is said above
        for k in range(columns.shape[1]):
            sums = rows @ _ranks(columns[:, k])
            found[:, k] = (sums - having * (having + 1) / 2) / pairs
    return found.reshape(truths.shape[:-1] + scores.shape[1:])


def telling(areas: npt.ArrayLike) -> Array:
    """Return how far areas are from saying nothing, whichever the sign: in [0.5, 1], and 0 for a NaN.

    Parameters
    ----------
    areas : array_like of float
        In [0, 1] or NaN, as `auc` gives them.

    Raises
    ------
    TypeError, ValueError
        If they are no numbers, or out of range.
    """
    found = _as_array(areas)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"areas: expected numbers from 0 to 1, got {_shown(areas, found)}")
    if not ((found >= 0) & (found <= 1) | np.isnan(found)).all():
        raise ValueError(f"areas: expected numbers from 0 to 1, got {np.nanmin(found)} to {np.nanmax(found)}")
    return np.asarray(np.nan_to_num(np.maximum(found, 1 - found), nan=0.0))


def probes(found: Activations, known: Mapping[str, npt.ArrayLike]) -> dict[str, Array]:
    """Return the AUC of every unit for every property.

    Parameters
    ----------
    found : Activations
        N units' values after T characters.
    known : mapping of str to array_like of bool, (T,)
        The properties: what `labels` gives, or others.

    Returns
    -------
    dict of str to ndarray of float64, (N,)
        As `auc` gives them; NaN for a property that all characters have, or none.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    """
    check_kind("found", found, Activations, "Activations")
    truths = as_truths(known, len(found.values))
    areas = auc(found.values, np.stack(list(truths.values()))) if truths else ()
    return dict(zip(truths, areas, strict=True))


def as_truths(known: Mapping[str, npt.ArrayLike], count: int) -> dict[str, Array]:
    """Return properties as arrays of bool, (T,) with T `count`; raise where one is none."""
    check_mapping("known", known, "properties to arrays of bool")
    truths = {as_text("known", name): np.asarray(known[name]) for name in known}
    for name, truth in truths.items():
        if truth.dtype != np.bool_ or truth.shape != (count,):
            raise ValueError(f"known[{name!r}]: expected bool {(count,)}, got {truth.dtype} {truth.shape}")
    return truths


def _as_array(value: npt.ArrayLike) -> Array:
    try:
        return np.asarray(value)
    except ValueError:  # ragged
        return np.empty(0, object)


def _as_scores(values: npt.ArrayLike) -> Array:
    scores = _as_array(values)
    if scores.dtype.kind not in "fiu" or scores.ndim not in (1, 2):
        raise TypeError(f"values: expected an array of numbers, (T,) or (T, N), got {_shown(values, scores)}")
    if not np.isfinite(scores).all():
        raise ValueError("values: expected finite numbers, got some that are not")
    return scores


def _shown(value: object, array: Array) -> str:
    return f"{array.dtype} {array.shape}" if array.ndim and array.dtype != object else shown(value)


def _ranks(values: Array) -> Array:
    """Return the rank of each of (T,), from 1; equal values share the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(values) else order
    counts = np.diff(np.append(first, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + (counts + 1) / 2, counts)
    return ranks
