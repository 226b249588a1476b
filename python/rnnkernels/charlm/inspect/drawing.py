"""One self-contained HTML page that colours a text by a unit's activation.

The data is compact: a byte for each character and unit that is shown, a bit for each character and property, in
base64. Layout and behaviour are in page.html, page.css and page.js beside this file.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_integer, as_text, check_mapping, shown
from rnnkernels.charlm.checks import check_kind

from .labelling import PROPERTIES
from .probing import as_truths, probes, telling
from .reading import Activations

__all__ = ["page"]

Array = npt.NDArray[Any]


def page(
    text: str,
    found: Activations,
    known: Mapping[str, npt.ArrayLike],
    areas: Mapping[str, npt.ArrayLike] | None = None,
    *,
    best: int = 20,
    title: str = "Activations",
    note: str = "",
) -> str:
    """Return a page in HTML that colours a text by the activation of one unit after the other.

    It is one file that loads nothing: units are sorted by how telling they are of a property, which a reader chooses.

    Parameters
    ----------
    text : str
        T characters, at least one.
    found : Activations
        What `activations` gave for them.
    known : mapping of str to array_like of bool, (T,)
        At least one property: what `labels` gave for the text, or others.
    areas : mapping of str to array_like of float, (N,), optional
        What `probes` gave for both; made here by default.
    best : int
        How many units of each property the page has. A unit takes T bytes, and a third more in base64.
    title, note : str
        The heading, and a line below it.

    Returns
    -------
    str
        The page; to be written as UTF-8.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    """
    check_kind("text", text, str, "a str")
    check_kind("found", found, Activations, "Activations")
    if len(found.values) != len(text) or not text:
        raise ValueError(
            f"text: expected {len(found.values)} characters, as `found` has, and one at least, got {len(text)}"
        )
    truths = as_truths(known, len(text))
    if not truths:
        raise ValueError("known: expected at least one property, got none")
    tables = _as_areas(probes(found, truths) if areas is None else areas, truths, len(found.units))
    best = as_integer("best", best, 1)
    heading = html.escape(as_text("title", title))
    order = np.argsort(-telling(tables), axis=1, kind="stable")  # (P, N)
    chosen = sorted(set(order[:, :best].ravel().tolist()))
    data = {
        "text": text.encode("utf-8", "replace").decode("utf-8"),  # a lone surrogate would join its neighbour
        "properties": [_property(name, truth) for name, truth in truths.items()],
        "units": [_unit(found, k, tables[:, k]) for k in chosen],
        "values": _base64(_as_bytes(found.values[:, chosen])),
    }
    return _fill(
        {
            "title": heading,
            "note": html.escape(as_text("note", note)),
            "style": _resource("page.css"),
            "script": _resource("page.js"),
            "data": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),  # no tag ends inside the data
        }
    )


def _as_areas(areas: Mapping[str, npt.ArrayLike], truths: Mapping[str, Array], count: int) -> Array:
    """Return the areas as (P, N)."""
    check_mapping("areas", areas, "properties to arrays of AUC")
    if set(areas) != set(truths):
        raise ValueError(f"areas: expected those of {', '.join(truths)}, got {', '.join(map(shown, areas))}")
    rows = [np.asarray(areas[name]) for name in truths]
    if any(row.shape != (count,) for row in rows):
        raise ValueError(f"areas: expected an AUC for each of {count} units, got {[row.shape for row in rows]}")
    return np.stack(rows)


def _property(name: str, truth: Array) -> dict[str, Any]:
    mask = _base64(np.packbits(truth))
    return {"name": name, "says": PROPERTIES.get(name, name), "share": round(float(truth.mean()), 4), "mask": mask}


def _unit(found: Activations, k: int, areas: Array) -> dict[str, Any]:
    scale = float(np.abs(found.values[:, k]).max())
    rounded = [None if np.isnan(area) else round(float(area), 4) for area in areas]
    return {"name": str(found.units[k]), "auc": rounded, "scale": float(f"{scale or 1.0:.4g}")}


def _as_bytes(values: Array) -> Array:
    """Return values (T, N) as bytes (N, T): 128 is zero, 1 and 255 the largest magnitude of a unit."""
    scale = np.abs(values).max(axis=0)
    scaled = values / np.where(scale > 0, scale, 1)
    return np.ascontiguousarray((np.rint(scaled * 127) + 128).astype(np.uint8).T)


def _base64(array: Array) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8").rstrip("\n")


def _fill(parts: Mapping[str, str]) -> str:
    """Return the page with its parts in their places; what a part says is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _resource("page.html") + "\n")
