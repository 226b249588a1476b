"""Tests of `rnnkernels.jax` skip where there is no JAX, or one without jax.ffi. The emulated backend behind XLA."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from optional import needs

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")

pytest_pycollect_makemodule = needs("jax", "jax.ffi")

_kept: list[Any] = []


@pytest.fixture
def xla(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Calls traced from here on go to the emulated backend."""
    import jax
    from xla_on_emulated import Xla

    from rnnkernels.jax import _calls

    if not _kept:  # XLA keeps what it is told until the process ends
        _kept.append(Xla(emulated))
        _kept[0].register("rnnkernels_emulated_forward", "rnnkernels_emulated_backward")
    found = _kept[0]
    found.calls, found.most, found.limit = 0, 0, 1 << 40
    monkeypatch.setattr(_calls, "FORWARD", "rnnkernels_emulated_forward")
    monkeypatch.setattr(_calls, "BACKWARD", "rnnkernels_emulated_backward")
    jax.clear_caches()
    emulated.set_kernel("reference")
    yield found
    jax.clear_caches()
    assert not found.given


@pytest.fixture
def x64() -> Iterator[None]:
    """JAX with float64."""
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)
