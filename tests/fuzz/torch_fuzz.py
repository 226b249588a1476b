"""Random layers and calls beside torch.nn's, in child processes; the cases are tests/torch/test_torch_fuzz.py's."""

from __future__ import annotations

from collections import Counter

import torch

from tests.torch.test_torch_fuzz import assert_alike

from . import children
from .children import Tried

torch.set_warn_always(True)  # some warnings are given once for a process: both are to give them


def run(seconds: float, seed: int, calls: int | None = None) -> list[str]:
    """Try the cases from `seed` on, until the time or the calls are over."""
    return children.failures(__name__, seconds, seed, calls)


def case(seed: int) -> Tried:
    """Play one case with both libraries; it raises AssertionError where they differ."""
    return Tried(Counter([f"{'ran' if assert_alike(seed) else 'refused by both'}"]), [], 1)
