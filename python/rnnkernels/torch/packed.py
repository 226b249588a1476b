"""Packed weights of layers whose weights are integers: made in a layer's first call, found again in the later ones.

A call knows its tensors, and not the module that they are of: an exported program has none. So a packed layer is found
by where its tensors lie, while these live and are not changed. Not here: the modules (`quantized`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch.multiprocessing.reductions import StorageWeakRef

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from rnnkernels.prepared import Prepared


class _Packed(NamedTuple):
    """A packed layer, and what tells whether its tensors are still what they were."""

    layer: Prepared
    versions: tuple[int, ...]
    storages: tuple[StorageWeakRef, ...]

    @property
    def alive(self) -> bool:
        """Whether no tensor was freed: another may lie in its place by now."""
        return not any(storage.expired() for storage in self.storages)


_packed: dict[tuple[Any, ...], _Packed] = {}


def layer_of(call: tuple[Any, ...], tensors: Sequence[torch.Tensor], make: Callable[[], Prepared]) -> Prepared:
    """Return the packed layer of some weights, or make it; `call`: what else of a call it is made for."""
    key = (*call, *(tensor.data_ptr() for tensor in tensors))
    versions = tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)
    found = _packed.get(key)
    if found is not None and found.versions == versions and found.alive:
        return found.layer
    layer = make()
    for other, entry in list(_packed.items()):
        if not entry.alive:
            _packed.pop(other, None)
    _packed[key] = _Packed(layer, versions, tuple(StorageWeakRef(t.untyped_storage()) for t in tensors))
    return layer
