"""What the examples of source text share: a character model beside an n-gram model, judged by their samples' lines.

No example itself. Training, sampling and judging are `rnnkernels.charlm`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnkernels import charlm

from .figures import Figure
from .progress import bar

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["compare"]

TEMPERATURE = 0.7  # of both models' samples; the default of `rnnkernels sample`


class Shown(charlm.Observer):
    """Draws a progress bar."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.steps: Iterator[int] = iter(())

    def started(self, trainer: charlm.Trainer) -> None:
        """Begin the bar."""
        self.steps = iter(bar(range(trainer.total_steps), self.title))

    def stepped(self, trainer: charlm.Trainer, loss: float) -> None:
        """Go on by a window."""
        del trainer, loss
        next(self.steps, None)


def compare(corpus: charlm.Corpus, language: str, *, quick: bool, order: int) -> list[Figure]:
    """Train both models on a corpus, let both write, and return the shares of well-formed lines and the losses.

    A full run's lines have to be better than the n-gram model's; of a quick run its loss alone has to.

    Parameters
    ----------
    corpus : Corpus
    language : str
        Of `charlm.LANGUAGES`.
    quick : bool
        A small model of little text.
    order : int
        Of the n-gram model: a character is predicted from the order - 1 before it.
    """
    hidden, limit, batch, lr = (64, 150_000, 8, 1e-2) if quick else (256, 500_000, 16, 6e-3)
    config = charlm.Config(
        hidden=hidden, limit=limit, batch=batch, lr=lr, epochs=5, min_count=5, valid_fraction=0.1, valid_every=5
    )
    trainer = charlm.train(corpus, config, observer=Shown(f"{charlm.LANGUAGES[language].title}, LSTM"))
    vocabulary, valid = trainer.vocabulary, trainer.valid_tokens
    ngram = charlm.NGram(trainer.train_tokens, vocabulary.size, order)
    length = 2_000 if quick else 20_000
    prime = vocabulary.decode(valid[:order]).replace(charlm.UNKNOWN, "") or None
    written = charlm.sample(trainer.model, prime, temperature=TEMPERATURE, length=length, seed=0)
    by_ngram = vocabulary.decode(ngram.sample(valid[:order], temperature=TEMPERATURE, length=length, seed=0))
    print(written[: 200 if quick else 1_000])
    name = f"{order}-gram"
    share, of_ngram, of_source = (
        charlm.line_shares(text, language).both for text in (written, by_ngram, vocabulary.decode(valid))
    )
    loss, loss_of_ngram = trainer.model.evaluate(valid), ngram.loss(valid)
    return [
        Figure("LSTM's lines well-formed", share, *_wanted(share > of_ngram, f"> {name}'s", demanded=not quick)),
        Figure(f"{name}'s lines well-formed", of_ngram, "to compare with", ok=True),
        Figure("the source's lines well-formed", of_source, "to compare with", ok=True),
        Figure("LSTM's loss, nats per character", loss, *_wanted(loss < loss_of_ngram, f"< {name}'s", demanded=quick)),
        Figure(f"{name}'s loss", loss_of_ngram, "to compare with", ok=True),
    ]


def _wanted(met: bool, wanted: str, *, demanded: bool) -> tuple[str, bool]:
    return (wanted, met) if demanded else ("to compare with", True)
