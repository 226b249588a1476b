"""Interpretable cells: units of a character model that know of strings, comments and the depth of the code.

An LSTM learns to predict the next character of the Python standard library's source, and nothing else. A probe then
asks of each unit how well its value alone tells, in a file, whether a character lies inside a string: the area under
the ROC curve (AUC), 1 where it always does, 0.5 where it never does. The unit is chosen by its mean over one half of
the files that were held out from training, and what is said of it is its mean over the other half. Likewise for
comments, docstrings, `if` headers, the depth of the code and the position in the line.

After Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", arXiv 1506.02078. With pictures
a page colours a held-out file by each of the best units; `rnnkernels inspect` writes one for any model and text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnkernels import charlm
from rnnkernels.charlm import inspect

from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("interpretable cells",)

FULL = charlm.Config(hidden=192, batch=16, limit=6_000_000, epochs=1, valid_fraction=0.02, valid_every=100)
QUICK = charlm.Config(hidden=64, batch=16, seq_length=32, limit=400_000, epochs=1, valid_every=100, lr=1e-2)

HELD_OUT = 20  # every so many files one is not trained on
SHORTEST, LONGEST = 2_000, 10_000  # characters of a file that is read
SOME = 0.02  # share of a file's characters

# The unit for comments confuses them with docstrings, which are prose too; it tells them from code alone better.
WANTED = {"string": 0.9, "comment": 0.85, "depth": 0.9, "docstring": 0.8, "if": 0.75, "position": 0.75}
WANTED_AGAINST_CODE = 0.9
WANTED_QUICKLY = {"string": 0.65, "docstring": 0.6, "position": 0.7}


class Watched(charlm.Observer):
    """Draws a bar over the windows of the training."""

    def started(self, trainer: charlm.Trainer) -> None:
        """Begin it."""
        self._windows: Iterator[int] = iter(bar(range(trainer.total_steps), "training"))

    def stepped(self, trainer: charlm.Trainer, loss: float) -> None:
        """Move it."""
        del trainer, loss
        next(self._windows, None)


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train a model, and look for units that tell what a character is part of."""
    documents = charlm.standard_library().documents
    known = charlm.Corpus(tuple(d for k, d in enumerate(documents) if k % HELD_OUT))
    held_out = [d.text[:LONGEST] for d in documents[::HELD_OUT] if len(d.text) >= SHORTEST]
    model = charlm.train(known, QUICK if quick else FULL, observer=Watched()).model
    if pictures is not None:
        draw(model, max(held_out, key=len), pictures / "interpretable.html")
    return probe(model, held_out[:8] if quick else held_out, quick=quick)


def probe(model: charlm.CharModel, texts: list[str], *, quick: bool) -> list[Figure]:
    """Choose a unit for each property by every other text, and say how well it does on the rest."""
    choosing, measuring = (probed(model, texts[half::2]) for half in range(2))
    figures = []
    for name, wanted in (WANTED_QUICKLY if quick else WANTED).items():
        unit = int(inspect.telling(choosing[name]).argmax())
        area = float(inspect.telling(measuring[name])[unit])
        figures.append(Figure(f"AUC, {inspect.PROPERTIES[name]}", area, f"> {wanted}", area > wanted))
        if name == "comment":
            area = against_code(model, texts[1::2], unit)
            ok = area > WANTED_AGAINST_CODE
            figures.append(Figure("AUC, inside a comment against code", area, f"> {WANTED_AGAINST_CODE}", ok))
    return figures


def probed(model: charlm.CharModel, texts: list[str]) -> dict[str, Array]:
    """Return each unit's AUC for each property, (N,): the mean of the texts in which some characters have it."""
    areas: dict[str, list[Array]] = {name: [] for name in inspect.PROPERTIES}
    for text in texts:
        labels = inspect.labels(text, "python")
        found = inspect.probes(inspect.activations(model, text), labels)
        for name, truth in labels.items():
            if SOME < truth.mean() < 1 - SOME:
                areas[name].append(found[name])
    return {name: np.mean(each, axis=0) for name, each in areas.items()}


def against_code(model: charlm.CharModel, texts: list[str], unit: int) -> float:
    """Return a unit's AUC for comments where strings and docstrings are left out, the mean of the texts."""
    areas = []
    for text in texts:
        labels = inspect.labels(text, "python")
        there = ~(labels["string"] | labels["docstring"])
        if SOME < labels["comment"].mean() < 1 - SOME:
            values = inspect.activations(model, text).values[:, unit]
            areas.append(inspect.auc(values[there], labels["comment"][there]))
    return float(inspect.telling(np.mean(areas)))


def draw(model: charlm.CharModel, text: str, path: Path) -> None:
    """Write a page that colours a text by each of the best units."""
    found, known = inspect.activations(model, text), inspect.labels(text, "python")
    page = inspect.page(
        text, found, known, best=5, title="Interpretable cells", note="an LSTM reads what it has not seen"
    )
    path.write_text(page, encoding="utf-8")
