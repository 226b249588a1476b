"""Text classification: name the language of a line, read in both directions (many to one).

The lines are Python (the standard library's source), C (the headers of Python or NumPy), LaTeX (`latex_writer.py`) and
English (the texts of Python's `help`), without indentation, comments and docstrings. Lines of a batch have different
lengths: the layer takes `lengths`, and its last states are those of each line's own end and beginning. Beside it stands
a network that sees how often each character occurs, and not in which order. What is tested comes from other files.
"""

from __future__ import annotations

import io
import re
import tokenize
from pydoc_data.topics import topics
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import rnnkernels.torch as rnn

from . import sources
from .figures import Figure
from .latex_writer import latex
from .training import fit

if TYPE_CHECKING:
    from pathlib import Path

NEEDS = ("torch",)
ROWS = ()

LANGUAGES = ("Python", "C", "LaTeX", "English")
SHORTEST, LONGEST = 12, 64  # characters of a line; longer ones are cut
VOCABULARY = 96  # printable ASCII, and one for all else
HIDDEN = 48
BATCH = 64
EACH = 600  # lines of each language to test with

Lines = list[str]


def python_lines(text: str) -> Lines:
    """Return lines of Python without comments and strings that span lines."""
    prose: set[int] = set()
    try:
        for found in tokenize.generate_tokens(io.StringIO(text).readline):
            alone = found.type == tokenize.COMMENT and found.line.lstrip().startswith("#")
            if alone or (found.type == tokenize.STRING and found.string.endswith(('"""', "'''"))):
                prose.update(range(found.start[0], found.end[0] + 1))
    except (tokenize.TokenError, SyntaxError):
        return []
    return [line for number, line in enumerate(text.splitlines(), start=1) if number not in prose]


def c_lines(text: str) -> Lines:
    """Return lines of C without comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL).splitlines()


def english_lines(text: str) -> Lines:
    """Return the lines of paragraphs: those that are not indented."""
    return [line for line in text.splitlines() if line[:1].isalpha() and len(line.split()) > 4]


def files(every: int) -> list[list[Lines]]:
    """Return, for each language, the lines of each of its files; of Python's files one of so many."""
    library = [document.text for document in sources.python().documents if len(document.text) < 40_000]
    return [
        [python_lines(text) for text in library[::every]],
        [c_lines(document.text) for document in sources.headers().documents],
        [latex(seed, 20_000).splitlines() for seed in range(20)],
        [english_lines(text) for text in topics.values()],
    ]


def drawn(rng: np.random.Generator, files: list[Lines], count: int) -> Lines:
    """Return lines of some files, without those that are too short or there already."""
    lines = {line.strip()[:LONGEST].strip() for file in files for line in file}
    usable = sorted(line for line in lines if len(line) >= SHORTEST)
    return [usable[i] for i in rng.permutation(len(usable))[:count]]


def encoded(lines: Lines) -> tuple[torch.Tensor, torch.Tensor]:
    """Return lines as tokens (LONGEST, B), padded by 0, and their lengths (B,)."""
    tokens = torch.zeros(LONGEST, len(lines), dtype=torch.int64)
    for row, line in enumerate(lines):
        codes = torch.tensor([ord(character) - 32 for character in line])
        tokens[: len(line), row] = torch.where((codes >= 0) & (codes < VOCABULARY - 1), codes, VOCABULARY - 1)
    return tokens, torch.tensor([len(line) for line in lines])


class Reader(nn.Module):  # type: ignore[misc]
    """Reads lines forwards and backwards, and judges by both last states."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = rnn.Recurrent("lstm", VOCABULARY, HIDDEN, bidirectional=True)
        self.name = nn.Linear(2 * HIDDEN, len(LANGUAGES))

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 4) for tokens (T, B)."""
        _, (h, _) = self.layer(tokens, lengths=lengths)  # (2, B, HIDDEN): of each direction
        return self.name(h.transpose(0, 1).flatten(1))


class Bag(nn.Module):  # type: ignore[misc]
    """Judges by how often each character occurs."""

    def __init__(self) -> None:
        super().__init__()
        self.name = nn.Sequential(nn.Linear(VOCABULARY, 2 * HIDDEN), nn.ReLU(), nn.Linear(2 * HIDDEN, len(LANGUAGES)))

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 4) for tokens (T, B)."""
        there = (torch.arange(len(tokens))[:, None] < lengths)[:, :, None]
        return self.name((functional.one_hot(tokens, VOCABULARY) * there).sum(0) / lengths[:, None])


def train(model: nn.Module, lines: Lines, labels: torch.Tensor, epochs: int, title: str) -> nn.Module:
    """Train a model on lines and their languages (N,); return it."""
    tokens, lengths = encoded(lines)
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(lines), generator=generator) for _ in range(epochs)]
    batches = [batch for order in orders for batch in order.split(BATCH)]

    def loss(step: int) -> torch.Tensor:
        batch = batches[step]
        longest = int(lengths[batch].max())
        return functional.cross_entropy(model(tokens[:longest, batch], lengths[batch]), labels[batch])

    return fit(model, loss, len(batches), title, lr=5e-3)


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train both models; return the shares of new lines whose language they name."""
    del pictures
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    each, epochs, wanted = (1200, 2, 0.88) if quick else (4000, 4, 0.97)
    train_lines: Lines = []
    test_lines: Lines = []
    train_labels: list[int] = []
    test_labels: list[int] = []
    for label, each_file in enumerate(files(16 if quick else 4)):
        new, known = drawn(rng, each_file[::4], EACH), drawn(rng, [f for i, f in enumerate(each_file) if i % 4], each)
        train_lines, train_labels = train_lines + known, train_labels + [label] * len(known)
        test_lines, test_labels = test_lines + new, test_labels + [label] * len(new)
    labels = torch.tensor(train_labels)
    models = {
        "reader": train(Reader(), train_lines, labels, epochs, "both directions"),
        "bag": train(Bag(), train_lines, labels, epochs, "bag of characters"),
    }
    with torch.no_grad():
        named = {name: model(*encoded(test_lines)).argmax(1) for name, model in models.items()}
    right = {name: float((n == torch.tensor(test_labels)).float().mean()) for name, n in named.items()}
    for text, label, n in list(zip(test_lines, test_labels, named["reader"].tolist(), strict=True))[:: EACH // 2 + 1]:
        print(f"{LANGUAGES[label]:8} read as {LANGUAGES[n]:8} {text}")
    return [
        Figure("lines named, both directions", right["reader"], f"> {wanted}", right["reader"] > wanted),
        Figure("lines named by a bag of characters", right["bag"], "< both directions", right["bag"] < right["reader"]),
    ]
