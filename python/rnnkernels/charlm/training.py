"""The training loop: windows, validations, checkpoints and the clock, and who is told of them.

What happens in a window is in `trainer.py`. Nothing here prints: a command line or a notebook passes an `Observer`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .blas import one_blas_thread
from .checkpoint import read_checkpoint, write_checkpoint
from .places import HOST, choose
from .trainer import Record, Trainer

if TYPE_CHECKING:
    import os

    from .config import Config
    from .corpus import Corpus

__all__ = ["Observer", "resume", "train"]

SAVE_SECONDS = 60.0  # between two checkpoints, where no validation calls for one earlier


class Observer:
    """What a run reports to; the methods do nothing here.

    Where a run is on a GPU, the arrays of `trainer.model.params` are tensors until it is over.
    """

    def noted(self, trainer: Trainer, sentence: str) -> None:
        """Report what a person should know before the beginning, such as what will be slow and why."""

    def started(self, trainer: Trainer) -> None:
        """Report the beginning, before the first window."""

    def stepped(self, trainer: Trainer, loss: float) -> None:
        """Report a window and its mean loss."""

    def validated(self, trainer: Trainer, record: Record) -> None:
        """Report a validation."""

    def saved(self, trainer: Trainer) -> None:
        """Report that a checkpoint was written."""


def train(
    corpus: Corpus | str | None = None,
    config: Config | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
    stop: Callable[[], bool] | None = None,
) -> Trainer:
    """Train a character-level language model.

    With `rnnkernels.set_backend("cuda")`, and PyTorch that sees a GPU, all of it runs there. Checkpoints are the same.

    Parameters
    ----------
    corpus : Corpus or str, optional
        The text itself; by default what `config.text` names (a file, a folder, or the Python standard library).
    config : Config, optional
        Everything else; `Config()` are the defaults of the command line.
    checkpoint : path, optional
        Where to save: at each validation, at least every minute, and at the end. Replaces what is there.
    observer : Observer, optional
        Is told of each step, validation and checkpoint.
    stop : callable, optional
        Asked after each window; when it returns True, the run is saved and left.

    Returns
    -------
    Trainer
        With `model`, `history`, `best_loss` and `finished`. Its arrays are NumPy's, wherever it was trained.

    Raises
    ------
    ValueError, TypeError
        If a choice or the text does not do.
    FloatingPointError
        If training diverges; the last checkpoint stays.

    Examples
    --------
    >>> from rnnkernels import charlm
    >>> text = "to be or not to be, that is the question. " * 50
    >>> config = charlm.Config(hidden=16, batch=4, seq_length=16, epochs=1)
    >>> run = charlm.train(text, config)
    >>> len(charlm.sample(run.model, "to be", length=20, seed=0))
    20
    """
    trainer = Trainer(corpus, config)
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):  # divergence is an error of its own
        return _run(trainer, checkpoint, observer or Observer(), stop)


def resume(
    checkpoint: str | os.PathLike[str],
    corpus: Corpus | str | None = None,
    *,
    observer: Observer | None = None,
    stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> Trainer:
    """Go on with a run from its checkpoint, and save to the same file.

    Parameters
    ----------
    checkpoint : path
        A file that `train` wrote.
    corpus : Corpus or str, optional
        The text, if the run was given one that its configuration does not name.
    observer, stop
        As for `train`.
    **changes
        Fields of `Config` to change: text, pattern, epochs, minutes, valid_every, lr, clip.

    Returns
    -------
    Trainer

    Raises
    ------
    ValueError, TypeError
        If the file is no checkpoint, the text is not the run's, or a change cannot be made.
    FloatingPointError
        If training diverges; the last checkpoint stays.
    """
    trainer = Trainer.from_checkpoint(read_checkpoint(checkpoint), corpus, **changes)
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):  # divergence is an error of its own
        return _run(trainer, checkpoint, observer or Observer(), stop)


def _run(
    trainer: Trainer,
    path: str | os.PathLike[str] | None,
    observer: Observer,
    stop: Callable[[], bool] | None,
) -> Trainer:
    began = time.monotonic() - trainer.seconds  # the clock goes on from the run before

    def validate() -> None:
        record = trainer.validate()
        trainer.seconds = time.monotonic() - began
        observer.validated(trainer, record)

    def save() -> None:
        if path is not None:
            write_checkpoint(path, trainer.checkpoint())
            observer.saved(trainer)

    place, remark = choose()
    if remark is not None:
        observer.noted(trainer, remark)
    trainer.to(place)
    observer.started(trainer)
    if trainer.validation_due:  # the run before was stopped at this very step
        validate()
    save()  # now: a folder that is not there, or cannot be written to, must not cost an hour
    saved = time.monotonic()
    for loss in trainer.steps():
        trainer.seconds = time.monotonic() - began
        observer.stepped(trainer, loss)
        stopping = not trainer.finished and stop is not None and stop()
        validating = trainer.validation_due and not stopping
        if validating:
            validate()
        if validating or stopping or time.monotonic() - saved >= SAVE_SECONDS:
            save()
            saved = time.monotonic()
        if stopping:
            break
    trainer.to(HOST)  # what a user gets is the same everywhere, and the GPU's memory is free again
    return trainer
