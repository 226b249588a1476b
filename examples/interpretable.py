"""Interpretable cells: units of a character model that know of strings, comments and the depth of the code.

An LSTM learns to predict the next character of the Python standard library's source, and nothing else. A probe then
asks of each unit how well its value alone tells, in a file, whether a character lies inside a string: the area under
the ROC curve (AUC), 1 where it always does, 0.5 where it never does. The unit is chosen by its mean over one half of
the files that were held out from training, and what is said of it is its mean over the other half. Likewise for
comments, docstrings, `if` headers, the depth of the code and the position in the line.

The unit that tells comments of Python is high in docstrings too, for both are prose. C has no docstrings: a second,
smaller model, of the text of `c_source.py`, has a unit for its comments.

After Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks", arXiv 1506.02078. With pictures
a page colours a held-out file by each of the best units; `rnnkernels inspect` writes one for any model and text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rnnkernels import charlm
from rnnkernels.charlm import inspect

from . import c_source, sources
from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Array = npt.NDArray[Any]

ROWS = ("interpretable cells",)

FULL = charlm.Config(hidden=192, batch=16, limit=6_000_000, epochs=1, valid_fraction=0.02, valid_every=100)
QUICK = charlm.Config(hidden=64, batch=16, seq_length=32, limit=400_000, epochs=1, valid_every=100, lr=1e-2)

OF_C = charlm.Config(hidden=128, batch=16, epochs=5, valid_fraction=0.02, valid_every=100)

HELD_OUT, HELD_OUT_OF_C = 20, 5  # every so many files one is not trained on
SHORTEST, LONGEST = 2_000, 10_000  # characters of a file that is read
SOME = 0.02  # share of a file's characters

WANTED = {"string": 0.9, "comment": 0.85, "depth": 0.9, "docstring": 0.8, "if": 0.75, "position": 0.75}
WANTED_AGAINST_CODE = WANTED_OF_C = 0.9
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
    """Train a model, and look for units that tell what a character is part of; in full a model of C as well."""
    model, texts = train(sources.python(), QUICK if quick else FULL, HELD_OUT)
    figures = probe(model, texts[:8] if quick else texts, quick=quick)
    if pictures is not None:
        draw(model, texts, "python", pictures / "interpretable.html")
    if quick:
        return figures
    model, texts = train(c_source.corpus(), OF_C, HELD_OUT_OF_C)
    _, area = chosen(model, texts, "c")["comment"]
    figures.append(Figure("AUC, inside a comment of C", area, f"> {WANTED_OF_C}", area > WANTED_OF_C))
    if pictures is not None:
        draw(model, texts, "c", pictures / "interpretable-c.html")
    return figures


def train(corpus: charlm.Corpus, config: charlm.Config, every: int) -> tuple[charlm.CharModel, list[str]]:
    """Return a model of a corpus, and the texts that were held out from its training: one file of so many."""
    known = charlm.Corpus(tuple(document for k, document in enumerate(corpus.documents) if k % every))
    held_out = [document.text[:LONGEST] for document in corpus.documents[::every] if len(document.text) >= SHORTEST]
    return charlm.train(known, config, observer=Watched()).model, held_out


def probe(model: charlm.CharModel, texts: list[str], *, quick: bool) -> list[Figure]:
    """Return how well a unit of a model of Python tells each property."""
    areas = chosen(model, texts, "python")
    figures = []
    for name, wanted in (WANTED_QUICKLY if quick else WANTED).items():
        unit, area = areas[name]
        figures.append(Figure(f"AUC, {inspect.PROPERTIES[name]}", area, f"> {wanted}", area > wanted))
        if name == "comment":
            area = against_code(model, texts[1::2], unit)
            ok = area > WANTED_AGAINST_CODE
            figures.append(Figure("AUC, inside a comment against code", area, f"> {WANTED_AGAINST_CODE}", ok))
    return figures


def chosen(model: charlm.CharModel, texts: list[str], language: str) -> dict[str, tuple[int, float]]:
    """Return for each property the unit that tells it best in every other text, and its AUC in the rest."""
    choosing, measuring = (
        {name: inspect.telling(area) for name, area in probed(model, texts[half::2], language).items()}
        for half in range(2)
    )
    units = {name: int(area.argmax()) for name, area in choosing.items()}
    return {name: (unit, float(measuring[name][unit])) for name, unit in units.items() if name in measuring}


def probed(model: charlm.CharModel, texts: list[str], language: str) -> dict[str, Array]:
    """Return each unit's AUC for each property, (N,): the mean of the texts in which some characters have it."""
    areas: dict[str, list[Array]] = {}
    for text in texts:
        labels = inspect.labels(text, language)
        found = inspect.probes(inspect.activations(model, text), labels)
        for name, truth in labels.items():
            if SOME < truth.mean() < 1 - SOME:
                areas.setdefault(name, []).append(found[name])
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


def draw(model: charlm.CharModel, texts: list[str], language: str, path: Path) -> None:
    """Write a page that colours the longest of the texts by each of the best units."""
    text = max(texts, key=len)
    page = inspect.page(
        text,
        inspect.activations(model, text),
        inspect.labels(text, language),
        best=5,
        title="Interpretable cells",
        note="an LSTM reads what it has not seen",
    )
    path.write_text(page, encoding="utf-8")
