"""Short texts of results: what there is and of which shape, no number of an array."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def described(record: Any) -> str:
    """Return a dataclass' `repr`: the fields that are not None, an array's dtype and shape, the number of others."""
    shown = {field.name: getattr(record, field.name) for field in fields(record) if field.repr}
    parts = [f"{name}={_part(value)}" for name, value in shown.items() if value is not None]
    return f"{type(record).__name__}({', '.join(parts)})"


def _part(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, (tuple, list, dict)):
        count = _arrays(value)
        return f"{count} array{'' if count == 1 else 's'}"
    return f"{value!r:.40}"


def _arrays(value: Any) -> int:
    """Count the arrays in tuples and dicts."""
    if isinstance(value, dict):
        value = tuple(value.values())
    return sum(map(_arrays, value)) if isinstance(value, (tuple, list)) else int(value is not None)
