"""The training loop: windows, validations, checkpoints and the clock, and who is told of them.

What happens in a window is in `trainer.py`. Nothing here prints: a command line or a notebook passes an `Observer`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rnnkernels._scalars import shown

from .blas import one_blas_thread
from .checkpoint import claim, read_checkpoint, save
from .places import HOST, choose
from .trainer import Record, Trainer

if TYPE_CHECKING:
    import os

    from .claim import Claim
    from .config import Config
    from .corpus import Corpus

__all__ = ["Observer", "resume", "train"]

Returned = TypeVar("Returned")

SAVE_SECONDS = 60.0  # between two checkpoints, where no validation calls for one earlier


class Observer:
    """What a run reports to; the methods do nothing here.

    An exception of a method ends the run; once it trains, it is saved first.

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
        Where to save: at each validation, at least every minute, and at the end. Replaces what is there. No other run
        saves there in the meantime: one of the two is refused.
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
        If a choice or the text does not do, the checkpoint cannot be written, or another run saves there.
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
    _check(observer, stop)
    with contextlib.nullcontext() if checkpoint is None else claim(checkpoint, "checkpoint") as claimed:
        return _run(Trainer(corpus, config), claimed, observer or Observer(), stop)


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
        If the file is no checkpoint or another run saves to it, the text is not the run's, or a change cannot be made.
    FloatingPointError
        If training diverges; the last checkpoint stays.
    """
    _check(observer, stop)
    with claim(checkpoint, "checkpoint") as claimed:
        trainer = Trainer.from_checkpoint(read_checkpoint(checkpoint), corpus, **changes)
        return _run(trainer, claimed, observer or Observer(), stop)


def _check(observer: object, stop: object) -> None:
    methods = [name for name in vars(Observer) if not name.startswith("_")]
    observes = not isinstance(observer, type) and all(callable(getattr(observer, name, None)) for name in methods)
    if observer is not None and not observes:
        raise TypeError(f"observer: expected an Observer, got {shown(observer)}")
    if stop is not None and (not callable(stop) or isinstance(stop, type)):  # what a class makes is true, as a rule
        raise TypeError(f"stop: expected a function, got {shown(stop)}")


def _run(trainer: Trainer, claimed: Claim | None, observer: Observer, stop: Callable[[], bool] | None) -> Trainer:
    with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):  # divergence is an error of its own
        place, remark = choose()
        if remark is not None:
            observer.noted(trainer, remark)
        trainer.to(place)
        observer.started(trainer)
        _Loop(trainer, claimed, observer, stop).run()
        trainer.to(HOST)  # what a user gets is the same everywhere, and the GPU's memory is free again
    return trainer


class _Loop:
    """Windows, and between two of them validations, saves and reports."""

    def __init__(
        self, trainer: Trainer, claimed: Claim | None, observer: Observer, stop: Callable[[], bool] | None
    ) -> None:
        self.trainer, self.claimed, self.observer = trainer, claimed, observer
        self.stop = stop or (lambda: False)
        self.began = time.monotonic() - trainer.seconds  # the clock goes on from the run before
        self.saved = 0.0

    def run(self) -> None:
        """Train until the run is finished or stopped."""
        trainer = self.trainer
        if trainer.validation_due:  # the run before was stopped at this very step
            self.validate()
        self.save()  # now: a folder that is not there, or cannot be written to, must not cost an hour
        for loss in trainer.steps():
            trainer.seconds = time.monotonic() - self.began
            self.guarded(partial(self.observer.stepped, trainer, loss))
            stopping = not trainer.finished and self.guarded(self.stop)
            validating = trainer.validation_due and not stopping
            if validating:
                self.guarded(self.validate)
            if validating or stopping or time.monotonic() - self.saved >= SAVE_SECONDS:
                self.save()
            if stopping:
                return

    def guarded(self, function: Callable[[], Returned]) -> Returned:
        """Call what stands between two windows: it may fail, and what is trained by then is saved all the same."""
        try:
            return function()
        except Exception:
            self.save()
            raise

    def validate(self) -> None:
        record = self.trainer.validate()
        self.trainer.seconds = time.monotonic() - self.began
        self.observer.validated(self.trainer, record)

    def save(self) -> None:
        if self.claimed is not None:
            save(self.claimed, self.trainer.checkpoint())
            self.observer.saved(self.trainer)
        self.saved = time.monotonic()
