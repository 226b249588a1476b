"""Every cell on one task, with seeds; and every cell against the reference.

The task: the sum of two marked numbers among 20, the adding problem in short; always saying 1 has an error of 0.167. All
cells have as many units, the same optimiser and the same data, and are trained from several seeds; the table has each
cell's parameters, its mean squared error over the seeds and their standard deviation. Differences of a few thousandths
say nothing: "no variant clearly better" (Greff et al. 2015), and here as there one task decides nothing.

Beside it each cell's outputs are held to `rnnkernels.reference`, NumPy written from the papers, in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import reference

from .adding import CHANCE, batch
from .figures import Figure
from .learner import Learner
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("GRU, MUT1 to MUT3, Odyssey variants",)

STEPS, UNITS, BATCH, RATE = 20, 32, 32, 1e-2
