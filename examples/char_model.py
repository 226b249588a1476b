"""A character language model of the standard library's own source, and what it writes.

An LSTM of 256 units by `rnnkernels.charlm`, as `rnnkernels train --limit 3000000 --hidden 256` trains it, with a 6-gram
model of the same text beside it (modified Kneser-Ney, which is stronger than the 6-gram of 1.51 nats per character that
the table names). Both write a text of 8,000 characters, of whose lines those that tokenize and balance their brackets
are counted. `docs/charlm.md` has what the command's defaults reach in eleven minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnkernels import charlm

from . import sources
from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ("character language model", "samples that look like the source")

TEMPERATURE = 0.7


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train, validate and sample; in quick form a small model of a little text, whose samples may be worse."""
    del pictures
    if quick:
        config = charlm.Config(limit=400_000, valid_fraction=0.002, hidden=128, batch=16, epochs=1, valid_every=1)
    else:
        config = charlm.Config(limit=3_000_000, valid_fraction=0.02, hidden=256, epochs=1.2, valid_every=0.3)
    order, wanted, length = (2, 2.4, 4_000) if quick else (6, 1.51, 8_000)
    trainer = charlm.train(sources.python(), config, observer=Drawn())
    grams = charlm.NGram(trainer.train_tokens, trainer.vocabulary.size, order)
    print(
        f"validation, nats per character: {trainer.best_loss:.3f}; {order}-gram {grams.loss(trainer.valid_tokens):.3f}"
    )

    text = charlm.sample(trainer.model, "\n", temperature=TEMPERATURE, length=length, seed=0)
    newline = trainer.vocabulary.encode("\n")
    other = trainer.vocabulary.decode(grams.sample(newline, temperature=TEMPERATURE, length=length, seed=0))
    ours, theirs = charlm.python_lines(text), charlm.python_lines(other)
    print(f"model   {ours}\n{order}-gram  {theirs}\n\n{text[:1500]}")
    least = 0.2 if quick else theirs.both
    model, samples = ROWS
    return [
        Figure(
            "validation loss, nats per character",
            trainer.best_loss,
            f"< {wanted}",
            trainer.best_loss < wanted,
            model,
        ),
        Figure(
            "share of sampled lines that tokenize and balance",
            ours.both,
            f"> {least:.3f}; the {order}-gram's: {theirs.both:.3f}",
            ours.both > least,
            samples,
        ),
    ]


class Drawn(charlm.Observer):
    """Moves a bar with each window, and prints each validation."""

    def started(self, trainer: charlm.Trainer) -> None:
        """Begin the bar."""
        self._bar: Any = iter(bar(range(trainer.total_steps), "character model"))

    def stepped(self, trainer: charlm.Trainer, loss: float) -> None:
        """Move it."""
        del trainer, loss
        next(self._bar, None)

    def validated(self, trainer: charlm.Trainer, record: charlm.Record) -> None:
        """Print the losses."""
        print(f"epoch {trainer.epoch:.1f}: training {record.train_loss:.3f}, validation {record.valid_loss:.3f}")
