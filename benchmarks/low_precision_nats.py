"""What a character model loses by low precision: trained in float32, read by prepared stacks of each kind.

`python -m benchmarks low-precision --what nats`

Two layers of 256 units, an LSTM's and a GRU's, two passes over a million characters of the Python standard library's
source: some minutes on one core. The losses are those of held-out files, in nats per character, all on the same
characters; a loss that is wanted is that over float32's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import rnnkernels as rk
from rnnkernels import charlm

from .peers.low_precision import OURS
from .results import Line

CONFIG = {"hidden": 256, "layers": 2, "limit": 1_000_000, "epochs": 2.0, "valid_every": 2.0}
CELLS = ("lstm", "gru")
HELD_OUT = 200_000  # characters
STREAMS, WINDOW = 16, 128
# The most that a kind may lose.
WANTED = {"bfloat16": 0.001, "int8": 0.005}


def losses(model: charlm.CharModel, tokens: Any) -> dict[str, float]:
    """The mean loss of each next token in each of our kinds, read as a few long streams from zero states."""
    found = {}
    for kind, options in OURS.items():
        model.prepare(**options)
        found[kind] = model.evaluate(tokens, STREAMS, WINDOW)
    return found


def measure(cells: Sequence[str], threads: int) -> Iterator[Line]:
    """Train, evaluate and print, one cell after the other."""
    rk.set_num_threads(threads)
    print("nats per held-out character of a model trained in float32, and what the others lose")
    for cell in cells:
        begin = time.monotonic()
        trainer = charlm.train(None, charlm.Config(cell=cell, **CONFIG))  # type: ignore[arg-type]
        found = losses(trainer.model, trainer.valid_tokens[:HELD_OUT])
        lost = {kind: loss - found["float32"] for kind, loss in found.items()}
        shown = [
            f"{kind} {lost[kind]:+.5f}, wanted at most {wanted:g}: {'ok' if lost[kind] <= wanted else 'short'}"
            for kind, wanted in WANTED.items()
        ]
        print(f"{cell:5} {found['float32']:.4f}  {'  '.join(shown)}  ({time.monotonic() - begin:.0f} s)", flush=True)
        shape = [WINDOW, STREAMS, trainer.vocabulary.size, trainer.config.hidden]
        yield {"what": "nats", "cell": cell, "mode": "nats", "shape": shape, "nats": found, "config": dict(CONFIG)}
