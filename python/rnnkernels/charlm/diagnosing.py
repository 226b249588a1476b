"""A character model diagnosed on a text: `rnnkernels.diagnose`, with the loss of the last character of a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_integer
from rnnkernels.diagnose import Diagnosis, of_stack

from .checks import check_kind
from .model import CharModel
from .on_host import HOST

__all__ = ["diagnose"]

Array = npt.NDArray[Any]


def diagnose(model: CharModel, text: str, *, steps: int = 100, batch: int = 16) -> Diagnosis:
    """Diagnose a model: how far back the gradient of one prediction flows, singular values, gates.

    Parameters
    ----------
    model : CharModel
    text : str
        More than `steps` characters.
    steps : int
        T: characters that are read, from the zero state, before the one that is predicted.
    batch : int
        B: windows of the text, at equal distances; fewer where the text has no more.

    Returns
    -------
    Diagnosis
        Of the loss of each window's last prediction, in nats.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what is said here.
    """
    check_kind("model", model, CharModel, "a CharModel")
    check_kind("text", text, str, "a str")
    steps, batch = as_integer("steps", steps, 1, 2**31 - 1), as_integer("batch", batch, 1, 2**31 - 1)
    if len(text) <= steps:
        raise ValueError(f"text: expected more than {steps} characters for as many steps, got {len(text)}")
    tokens = model.vocabulary.encode(text)
    last = len(tokens) - steps  # the windows' first characters lie in [0, last)
    first = np.linspace(0, last - 1, min(batch, last)).astype(np.int64)
    x = tokens[first + np.arange(steps)[:, None]]  # (T, B)
    output = model.place.host(model.stack.forward(model.place.put(x), training=False).output[-1])
    readout = HOST.readout(*(model.place.host(model.params[f"readout.{name}"]) for name in ("weight", "bias")))
    _, d_last, _ = readout.loss_and_gradients(output, tokens[first + steps])
    return of_stack(model.stack, x, d_last * len(first))  # of each window's loss, not of their mean
