"""What a training run shows: a bar, a line and a sample per validation; and how Ctrl-C ends it.

Lines and samples go to standard output, the bar and notes to standard error. The bar is drawn on terminals only; a pipe
or a file (`nohup`, a container's log) gets a line every ten seconds in its place. A stream that cannot be written any
more ends no run: it goes on without it, and saves (`output.py`).
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from time import monotonic
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from .on_host import HOST
from .output import Output
from .sampling import sample
from .training import Observer

try:
    from tqdm import tqdm
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'the progress bar needs the package tqdm: pip install "rnnkernels[cli]"', name=error.name
    ) from None

if TYPE_CHECKING:
    from typing_extensions import Self

    from .trainer import Record, Trainer

__all__ = ["Bar", "Stop"]


# Ctrl-C, `kill`, and a terminal that is closed; Windows lacks the last.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


QUIET_SECONDS = 10.0  # without a terminal: how long a run says nothing
UNKNOWN_COLUMNS, UNKNOWN_ROWS = 100, 20  # of a terminal that does not know its own


class Stop:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a wish, so that the run can end between two windows.

    A second one has its usual effect, at once. A signal that the process ignores (`nohup`) stays ignored. Use as a
    context; the instance is the `stop` of `train`.

    Attributes
    ----------
    exit_code : int
        0, or 128 plus the number of the signal, as shells have it.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Return whether a signal has asked for the end."""
        return self.exit_code != 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # nobody else may set handlers
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.exit_code = 128 + number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


class Bar(Observer):
    """Draws a training run.

    Parameters
    ----------
    path : path
        Of the checkpoint, for the notes.
    sample_length : int
        Characters in the sample shown at each validation; 0 for none.
    """

    def __init__(self, path: str | os.PathLike[str], sample_length: int = 300) -> None:
        self.path = path
        self.sample_length = sample_length
        self._bar: Any = None
        self._trainer: Trainer | None = None
        self._valid = ""
        self._output, self._errors = Output("stdout"), Output("stderr")
        self._without_output = False  # whether that has been said
        self._spoke = monotonic()  # when something was last written

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            with self._drawing():
                self._bar.close()
        if kind is None and self._trainer is not None:
            trainer = self._trainer
            what = "finished" if trainer.finished else "stopped"
            rate = trainer.characters / max(trainer.seconds, 1e-9)
            best = f", best validation {trainer.best_loss:.4f}" if trainer.history else ""
            self._note(
                f"{what} after {trainer.seconds:.0f} s, {trainer.epoch:.2f} epochs, {rate / 1000:.1f}k characters "
                f"per second with validation{best}; saved to {os.fspath(self.path)}"
            )

    def noted(self, trainer: Trainer, sentence: str) -> None:
        """Say it."""
        del trainer
        self._note(f"note: {sentence}")

    def started(self, trainer: Trainer) -> None:
        """Say what is trained on what."""
        self._trainer = trainer
        config, corpus = trainer.config, trainer.corpus
        for sentence in corpus.skipped:
            self._note(f"skipped {sentence}")
        files = len(corpus.documents)
        self._note(
            f"{files} file{'s' * (files > 1)}: {len(trainer.train_tokens):,} characters to train on, "
            f"{len(trainer.valid_tokens):,} held out, vocabulary {trainer.vocabulary.size}"
        )
        count = sum(math.prod(array.shape) for array in trainer.model.params.values())
        where = "" if trainer.place is HOST else f"; on {trainer.place.name}"
        self._note(
            f"{config.cell}, {config.layers} x {config.hidden} units, {count:,} parameters; batch {config.batch}, "
            f"{config.seq_length} steps, {config.optimizer} {config.lr:g}, {config.epochs:g} epochs{where}"
        )
        if trainer.step:
            self._note(f"resumed after {trainer.step:,} windows, {trainer.epoch:.2f} epochs, {trainer.seconds:.0f} s")
        with self._drawing():
            self._bar = tqdm(
                total=self._total(trainer),
                initial=trainer.characters,
                unit="char",
                unit_scale=True,
                smoothing=0.05,
                disable=not self._errors.is_terminal,
                **_size(),
            )

    def stepped(self, trainer: Trainer, loss: float) -> None:
        """Move the bar."""
        del loss
        if self._bar is None:
            return
        if self._bar.disable:
            if monotonic() - self._spoke >= QUIET_SECONDS:
                self._note(self._state(trainer))
            return
        with self._drawing():
            self._bar.set_postfix_str(f"train {trainer.train_loss:.3f}{self._valid}", refresh=False)
            if trainer.config.minutes is not None:
                self._bar.total = self._total(trainer)
            self._bar.update(trainer.config.batch * trainer.config.seq_length)

    def validated(self, trainer: Trainer, record: Record) -> None:
        """Print a line and a sample."""
        valid = "" if record.valid_loss is None else f"  valid {record.valid_loss:.4f}"
        best = "  best" if valid and record.valid_loss == trainer.best_loss else ""
        self._valid = valid
        self._print(
            f"epoch {trainer.epoch:.2f}  {record.characters / 1e6:.2f}M characters  {record.seconds:.0f} s  "
            f"train {record.train_loss:.4f}{valid}{best}"
        )
        if self.sample_length:
            # A seed of its own: samples leave the run's random numbers alone.
            text = sample(
                trainer.model,
                length=self.sample_length,
                seed=np.random.default_rng([trainer.config.seed, record.step]),
            )
            self._print("\n".join(f"    | {line}" for line in text.strip("\n").split("\n")) + "\n")

    def _state(self, trainer: Trainer) -> str:
        """Return where the run is: what the bar says, as a line."""
        share, total = trainer.fraction, self._total(trainer)
        left = f", {timedelta(seconds=round(trainer.seconds / share - trainer.seconds))} left" if share else ""
        return (
            f"{share:.0%}  {trainer.characters / 1e6:.2f}M of {total / 1e6:.2f}M characters  "
            f"{trainer.seconds:.0f} s{left}  train {trainer.train_loss:.3f}{self._valid}"
        )

    def _total(self, trainer: Trainer) -> float:
        """Characters in the whole run: known, or what the share of the time limit that is used lets expect."""
        window = trainer.config.batch * trainer.config.seq_length
        if trainer.config.minutes is None or not trainer.fraction:
            return trainer.total_steps * window
        return trainer.characters / trainer.fraction

    def _print(self, text: str) -> None:
        self._spoke = monotonic()
        with self._drawing(sys.stdout):
            self._output.write(f"{text}\n")
        if self._output.fault is not None and not self._without_output:
            self._without_output = True
            self._note(
                f"note: standard output cannot be written: {self._output.fault}; the training goes on without it"
            )

    def _note(self, text: str) -> None:
        self._spoke = monotonic()
        with self._drawing(sys.stderr):
            self._errors.write(f"{text}\n")

    @contextlib.contextmanager
    def _drawing(self, between: Any = None) -> Iterator[None]:
        """Draw the bar, or write to a stream `between` two drawings; where that fails, draw no more."""
        try:
            with contextlib.nullcontext() if between is None else tqdm.external_write_mode(between):
                yield
        except (OSError, ValueError) as error:
            self._errors.drop(error)
            if self._bar is not None:
                self._bar.disable = True


def _size() -> dict[str, Any]:
    """Return tqdm's arguments of a terminal's size: to ask it; numbers where it says 0, and tqdm would draw nothing."""
    try:
        known = all(os.get_terminal_size(sys.stderr.fileno()))
    except (AttributeError, OSError, ValueError):
        known = False
    return {"dynamic_ncols": True} if known else {"ncols": UNKNOWN_COLUMNS, "nrows": UNKNOWN_ROWS}
