"""`torch.ao.quantization`: `quantize_dynamic` finds these layers beside torch.nn's; what else it is asked for is said.

It writes a `qconfig` into every module of a model, by a dict from classes that knows torch.nn's, and then replaces
those that have one and stand in its table of classes. Our classes are added to the table, and a layer without a qconfig
of its own answers with that of the torch.nn class in whose place it is.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

import torch

try:
    from torch.ao.quantization.quantization_mappings import DEFAULT_DYNAMIC_QUANT_MODULE_MAPPINGS as _TABLE
except ImportError:  # PyTorch says that all of this will go: then nothing looks at the table
    _TABLE: dict[Any, Any] = {}  # type: ignore[no-redef]

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType


class Quantizable:
    """A mixin before PyTorch's class: a layer that `torch.ao.quantization` may find."""

    # The classes of torch.nn whose qconfig is a layer's that has none, the first that has one; none: it wants none.
    _in_place_of: tuple[type, ...] = ()

    @property
    def qconfig(self: Any) -> Any:
        """What `torch.ao.quantization` wrote, or is about to write."""
        found = self.__dict__.get("qconfig", self)
        if found is self:
            found = _about_to_write(self._in_place_of, sys._getframe(1))
            if found is None:
                raise AttributeError("qconfig")
        return found

    @qconfig.setter
    def qconfig(self: Any, value: Any) -> None:
        listed = torch.nn.utils.parametrize.type_before_parametrizations(self) in _TABLE
        if self._in_place_of and value is not None and not (listed and _is_dynamic_int8(value)):
            value = None
            warnings.warn(
                f"torch.ao.quantization: rnnkernels.torch.{type(self).__name__} stays in floating point: it has "
                "weights of qint8 with dynamic activations, or none; rnnkernels.torch.unswap(model) puts torch.nn's "
                "classes in place",
                UserWarning,
                stacklevel=3,
            )
        self.__dict__["qconfig"] = value

    @qconfig.deleter
    def qconfig(self: Any) -> None:
        self.__dict__.pop("qconfig", None)


def register(kinds: Mapping[type, type]) -> None:
    """Enter our classes, and what they become, into PyTorch's table."""
    _TABLE.update(kinds)


def _about_to_write(kinds: tuple[type, ...], frame: FrameType) -> Any:
    """Return what PyTorch would give a layer of torch.nn in this one's place; None where it is not what asks.

    `frame` is the caller's: the function that writes qconfigs asks a module for its own one first, with what it would
    write among its variables.
    """
    if frame.f_code.co_name != "_propagate_qconfig_helper":
        return None
    found = frame.f_locals.get("module_qconfig")  # by this layer's own class, by its path, or of the module around it
    of_classes = frame.f_locals.get("qconfig_dict") or {}
    return found if found is not None else next((of_classes[kind] for kind in kinds if kind in of_classes), None)


def _is_dynamic_int8(qconfig: Any) -> bool:
    """Whether a qconfig asks for weights of 8 bits, and activations that are quantised when they come."""
    try:
        weight, activation = qconfig.weight(), qconfig.activation()
    except (AttributeError, TypeError):
        return False
    return getattr(weight, "dtype", None) == torch.qint8 and bool(getattr(activation, "is_dynamic", False))
