"""What a prepared layer may be on a GPU, and where it is made there."""

from __future__ import annotations

from typing import Any

from . import _serve
from ._arguments import PRODUCTS
from ._arrays import device_frame
from ._scalars import as_choice

__all__ = ["WEIGHTS", "check_on_gpu", "device_layers"]

WEIGHTS = ("full", "bfloat16", "int8")


def check_on_gpu(first: Any, weights: str, products: str, quantized: bool) -> None:
    """Raise where what is asked of a prepared layer is not there on a GPU."""
    if device_frame(first) is None:
        raise NotImplementedError(
            "Prepared: expected arrays on a GPU where set_backend says 'cuda', whose prepared layers keep their "
            f"weights there, got {type(first).__name__}"
        )
    as_choice("weights", weights, WEIGHTS)
    if weights != "full" or quantized:
        raise NotImplementedError(
            "weights: expected 'full' on a GPU, where the arrays themselves may be bfloat16, "
            f"got {'int8' if quantized else weights!r}"
        )
    as_choice("products", products, PRODUCTS)
    _serve.check_products_on_gpu(products)


def device_layers() -> Any:
    """Return the module of prepared layers on a GPU, which only these import."""
    from .cuda import prepared  # noqa: PLC0415

    return prepared
