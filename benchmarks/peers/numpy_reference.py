"""NumPy: `rnnkernels.reference`, in float64, as a yardstick at small sizes. It is no competitor."""

from __future__ import annotations

import numpy as np

from benchmarks.workloads import Workload
from rnnkernels import reference

from .base import Peer, Timed

MOST_FLOPS = 2e8


class NumpyReference(Peer):
    """The reference's forward."""

    name = "numpy"
    counted = False

    def supports(self, work: Workload) -> bool:
        return work.mode == "inference" and work.flops <= MOST_FLOPS

    def prepare(self, work: Workload, threads: int) -> Timed:  # noqa: ARG002 - BLAS has them from the environment
        x = work.x.astype(np.float64)
        params = {name: value.astype(np.float64) for name, value in work.params.items()}
        return Timed(lambda: reference.forward(work.cell, x, params)[0], lambda output: {"output": output})
