"""Dates in words to ISO form, letter by letter: an encoder, and a decoder with and without attention.

The task: "the twenty-first of march nineteen oh five" is 1905-03-21, as is "wed, mar 21st 1905". The encoder reads the
letters in both directions; the decoder writes ten. With attention (Bahdanau et al. 2015) it looks at all of the
encoder's outputs in every step; without (Cho et al. 2014) it sees the encoder's last states, which is looking at one
place. Both have the same parameters, though without attention those that score places have nothing to do. The dates
that are asked for were in no form among those learnt from. Shown: dates that are right in all ten letters, and how
often the peak of the attention lies on the part that is being written (year, month, day); a picture of the alignment.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

import rnnkernels.torch as rnn

from .figures import Figure
from .training import fit

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ("sequence-to-sequence",)
NEEDS = ("torch",)

LETTERS = " abcdefghijklmnopqrstuvwxyz0123456789-,."
SIGNS = "-0123456789"
START = len(SIGNS)
PARTS = "yyyy-mm-dd"  # what each sign of the ISO form is of
HIDDEN = 64

MONTHS: tuple[str, ...] = ("january", "february", "march", "april", "may", "june")
MONTHS += ("july", "august", "september", "october", "november", "december")
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ONES: tuple[str, ...] = ("oh", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ONES += ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS |= {"twelve": "twelfth"}


def number(n: int) -> str:
    """Return a number from 1 to 99 in words."""
    if n < 20:
        return ONES[n]
    return TENS[n // 10 - 2] + (f"-{ONES[n % 10]}" if n % 10 else "")


def ordinal(n: int) -> str:
    """Return "first" for 1, "twentieth" for 20."""
    head, dash, last = number(n).rpartition("-")
    return head + dash + (ORDINALS.get(last) or (f"{last[:-1]}ie" if last.endswith("y") else last) + "th")


def year(n: int) -> str:
    """Return "nineteen oh five" for 1905."""
    century, rest = divmod(n, 100)
    if rest == 0:
        return "two thousand" if century == 20 else f"{number(century)} hundred"
    return f"{number(century)} {'oh ' if rest < 10 else ''}{number(rest)}"


def written(date: dt.date, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Return a date in one of many forms: pieces of text, each with the part of the date that it says, or a blank."""

    def pick(*ways: str) -> str:
        return ways[rng.integers(len(ways))]

    suffix = {1: "st", 2: "nd", 3: "rd"}.get(date.day % 10 if date.day // 10 != 1 else 0, "th")
    day = pick(str(date.day), f"{date.day}{suffix}", ordinal(date.day), ordinal(date.day))
    name = MONTHS[date.month - 1]
    parts = [(day, "d"), (pick(" ", " of "), " "), (pick(name, name, name[:3]), "m")]
    if rng.random() < 0.5:
        parts = [*parts[2:], (" ", " "), parts[0]]
    elif not day[0].isdigit():
        parts.insert(0, ("the ", " "))
    if rng.random() < 0.5:
        weekday = DAYS[date.weekday()]
        parts.insert(0, (pick(weekday, weekday[:3]) + pick(" ", ", "), " "))
    return [*parts, (pick(" ", ", "), " "), (pick(str(date.year), year(date.year), year(date.year)), "y")]


class Dates(NamedTuple):
    """Texts (T, B) of `lengths` letters, what part of the date each letter is of (T, B), and ISO forms (10, B)."""

    texts: torch.Tensor
    lengths: torch.Tensor
    parts: np.ndarray[Any, Any]
    iso: torch.Tensor


def dates(rng: np.random.Generator, count: int, *, fresh: bool) -> Dates:
    """Return dates of two centuries, one in ten of which are kept for asking: the `fresh` ones."""
    first, last = dt.date(1900, 1, 1).toordinal(), dt.date(2099, 12, 31).toordinal()
    days = rng.integers(first, last + 1, 40 * count)
    days = days[(days % 10 == 0) == fresh][:count]
    chosen = [dt.date.fromordinal(int(day)) for day in days]
    forms = [written(date, rng) for date in chosen]
    texts = ["".join(text for text, _ in form) for form in forms]
    parts = ["".join(part * len(text) for text, part in form) for form in forms]
    most = max(map(len, texts))
    return Dates(
        torch.tensor([[LETTERS.index(letter) for letter in text.ljust(most)] for text in texts]).T.contiguous(),
        torch.tensor([len(text) for text in texts]),
        np.array([list(part.ljust(most)) for part in parts]).T,
        torch.tensor([[SIGNS.index(sign) for sign in date.isoformat()] for date in chosen]).T.contiguous(),
    )


class Translator(torch.nn.Module):  # type: ignore[misc]
    """An encoder of two directions, a decoder, and between them attention or one vector."""

    def __init__(self, attends: bool) -> None:
        super().__init__()
        self.attends = attends
        self.encoder = rnn.Recurrent("gru", len(LETTERS), HIDDEN, bidirectional=True)
        self.bridge = torch.nn.Linear(2 * HIDDEN, HIDDEN)
        self.decoder = rnn.AttentionRecurrent("gru", len(SIGNS) + 1, 2 * HIDDEN, HIDDEN)
        self.readout = torch.nn.Linear(HIDDEN, len(SIGNS))

    def encode(self, given: Dates) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return what the decoder looks at (B, L, 2H), the state that it begins with, and which places there are."""
        outputs, last = self.encoder(given.texts, lengths=given.lengths)
        whole = torch.cat(tuple(last), dim=1)
        begin = self.bridge(whole).tanh()
        if not self.attends:
            return whole.unsqueeze(1), begin, None
        return outputs.transpose(0, 1), begin, torch.arange(len(outputs)) < given.lengths[:, None]

    def forward(self, given: Dates) -> tuple[torch.Tensor, Any]:
        """Return logits (10, B, signs) of the ISO forms, and where each was looked for."""
        places, begin, mask = self.encode(given)
        before = torch.cat([torch.full_like(given.iso[:1], START), given.iso[:-1]])
        h, _, attention = self.decoder(before, places, begin, mask=mask)
        return self.readout(h), attention

    def write(self, given: Dates) -> torch.Tensor:
        """Return ISO forms (10, B), written sign by sign."""
        places, begin, mask = self.encode(given)
        step = self.decoder.stepper(places.detach(), begin.detach(), mask)
        sign, signs = torch.full_like(given.lengths, START), []
        for _ in PARTS:
            sign = self.readout(step(sign)).argmax(1)
            signs.append(sign)
        return torch.stack(signs)


def train(attends: bool, steps: int, batch: int) -> Translator:
    """Return a model that has learnt from `steps` batches of so many new dates."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Translator(attends)

    def loss(_: int) -> torch.Tensor:
        given = dates(rng, batch, fresh=False)
        logits, _ = model(given)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), given.iso.flatten())

    return fit(model, loss, steps, f"dates, {'with' if attends else 'without'} attention", lr=5e-3)


def pointing(model: Translator, asked: Dates) -> float:
    """Return how often the attention's peak lies on the part of the date that is being written, the signs "-" aside."""
    with torch.no_grad():
        peaks = model(asked)[1].weights.argmax(2).numpy()  # (10, B)
    columns = np.arange(peaks.shape[1])
    return float(np.mean([asked.parts[peaks[t], columns] == part for t, part in enumerate(PARTS) if part != "-"]))


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train the decoder with attention, and without; in quick form with attention alone."""
    asked = dates(np.random.default_rng(1), 300 if quick else 1000, fresh=True)
    steps, batch = (250, 32) if quick else (400, 64)
    models = {attends: train(attends, steps, batch) for attends in ((True,) if quick else (True, False))}
    right = {
        attends: float((model.write(asked) == asked.iso).all(0).float().mean()) for attends, model in models.items()
    }
    bound = 0.5 if quick else 0.99
    figures = [Figure("with attention: exact dates", right[True], f"> {bound}", right[True] > bound)]
    if not quick:
        on_part = pointing(models[True], asked)
        figures += [
            Figure("peak on the part that is written", on_part, "> 0.8", on_part > 0.8),
            Figure("without attention: exact dates", right[False], "< with", right[False] < right[True]),
        ]
    if pictures is not None:
        _alignment(models[True], asked, pictures / "seq2seq.png")
    return figures


def _alignment(model: Translator, asked: Dates, file: Path, count: int = 3) -> None:
    """Draw the weights of each letter while each sign is written."""
    from matplotlib import figure  # noqa: PLC0415 - optional

    with torch.no_grad():
        weights = model(asked)[1].weights.numpy()
    page = figure.Figure(figsize=(9, 2.4 * count))
    for row, ax in enumerate(page.subplots(count, 1)):
        length = int(asked.lengths[row])
        ax.imshow(weights[:, row, :length], cmap="gray", aspect="auto", vmin=0)
        ax.set_xticks(range(length), [LETTERS[k] for k in asked.texts[:length, row]], fontsize=8)
        ax.set_yticks(range(len(PARTS)), [SIGNS[k] for k in asked.iso[:, row]], fontsize=8)
    page.savefig(file, dpi=120, bbox_inches="tight")
