"""Memory that comes again, for tests of calls that do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnkernels.cuda import arrays

if TYPE_CHECKING:
    import pytest


class SameMemory:
    """Gives a call the memory that the call before it had, as a caching allocator does."""

    def __init__(self, torch: Any, patch: pytest.MonkeyPatch) -> None:
        self.memory: list[Any] = []
        self.given = 0
        patch.setattr(arrays.TorchFrame, "allocate", lambda frame, shape, dtype: frame.view(self.take(shape, dtype)))
        patch.setattr(
            arrays.TorchFrame,
            "zeros",
            lambda _, shape, dtype: self.take(shape, str(dtype).removeprefix("torch.")).zero_(),
        )
        patch.setattr(arrays.TorchFrame, "integers", lambda _, values: self.hold(torch.from_numpy(values)))
        self.torch = torch

    def take(self, shape: Any, dtype: str) -> Any:
        kind = getattr(self.torch, dtype)
        if self.given == len(self.memory):
            self.memory.append(self.torch.empty(tuple(shape), dtype=kind))
        found = self.memory[self.given]
        assert (tuple(found.shape), found.dtype) == (tuple(shape), kind)
        self.given += 1
        return found

    def hold(self, values: Any) -> Any:
        return self.take(values.shape, str(values.dtype).removeprefix("torch.")).copy_(values)
