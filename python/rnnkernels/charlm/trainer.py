"""The state of a training run and its steps: truncated backpropagation through time over streams of text.

Each window of T steps is one update (k1 = k2 = T). The recurrent state is carried from window to window and starts at
zero with each pass over the text. A pass begins at a random shift below T, so that the windows of two passes cut the
text at different places.

The learning rate is `lr` for the first half of the run, then falls linearly to zero. How far the run is, is the larger
of two shares: windows done of those in `epochs`, and time used of `minutes`. Without `minutes` the clock has no say:
such a run gives the same bits every time, however often it was stopped and resumed.

Everything begins as NumPy's arrays, is saved as such, and is random by NumPy's generator, wherever it is computed: so
a run can go on at another place than it began at. `Trainer.to` moves it.

The loop with its reports and checkpoints is in `training.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels import bptt
from rnnkernels._arrays import frame_of
from rnnkernels._scalars import shown
from rnnkernels.parameters import cell_info

from .checkpoint import Checkpoint, copy_into
from .checks import check_kind
from .config import Config
from .contract import Place, Updates
from .corpus import Corpus, read_path, standard_library
from .model import CharModel
from .on_host import HOST
from .streams import Streams
from .vocabulary import Vocabulary

__all__ = ["Record", "Trainer"]

Array = npt.NDArray[Any]

CONSTANT_SHARE = 0.5  # of the run at the full learning rate

# What a resumed run may do otherwise than the run before it.
CHANGEABLE = ("text", "pattern", "epochs", "minutes", "valid_every", "lr", "clip")


@dataclasses.dataclass(frozen=True)
class Record:
    """One line of a run's history, written at each validation; losses in nats per character."""

    step: int
    characters: int  # trained on so far, repetitions counted
    seconds: float
    train_loss: float  # mean since the line before
    valid_loss: float | None  # None without a validation text


def _source(corpus: object) -> str:
    """Return which argument the text came by."""
    return "text" if corpus is None else "corpus"


class Trainer:
    """A model, its optimiser, its texts and its place in them.

    Parameters
    ----------
    corpus : Corpus or str, optional
        The text; by default what `config.text` names.
    config : Config, optional

    Attributes
    ----------
    model : CharModel
    place : Place
        Where its arrays and the optimiser's are: the host, until `to` moves them.
    config : Config
    corpus : Corpus
    history : list of Record
    best_loss : float
        The lowest validation loss, infinity before the first one.
    step : int
        Windows trained on.
    seconds : float
        Wall-clock time used; `training.train` keeps it.

    Raises
    ------
    ValueError, TypeError
        If a choice or the text does not do: too short for one window per stream, say.
    """

    def __init__(self, corpus: Corpus | str | None = None, config: Config | None = None) -> None:
        self.config = config = Config() if config is None else config
        check_kind("config", config, Config, "a Config")
        check_kind("corpus", corpus, (Corpus, str, type(None)), "a Corpus or a str")
        source = _source(corpus)
        if corpus is None:
            corpus = read_path(config.text, config.pattern) if config.text else standard_library()
        self.corpus = corpus = Corpus.from_text(corpus) if isinstance(corpus, str) else corpus
        text = corpus.split(config.valid_fraction, config.limit)
        needed = (config.batch + 1) * config.seq_length  # one window at every shift
        if len(text.train) < needed:
            raise ValueError(
                f"{source}: expected at least {needed} characters to train on (for batch {config.batch} and "
                f"seq_length {config.seq_length}), got {len(text.train)}"
            )
        try:
            self.vocabulary = Vocabulary.from_text(text.train, config.min_count)
        except ValueError as error:
            raise ValueError(str(error).replace("text:", f"{source}:", 1)) from None
        self.train_tokens = self.vocabulary.encode(text.train)
        self.valid_tokens = self.vocabulary.encode(text.valid)
        self.rng = np.random.default_rng(config.seed)  # parameters, then shifts and dropout masks
        self.model = CharModel(
            self.vocabulary,
            cell=config.cell,
            hidden=config.hidden,
            layers=config.layers,
            dropout=config.dropout,
            dtype=config.dtype,
            rng=self.rng,
        )
        self.place: Place = HOST
        self.optimizer: Updates = HOST.optimizer(config.optimizer, self.model.params, config.lr)
        self._text: Array = self.train_tokens  # at the place
        # Windows in a pass and in the run: the same number for every shift.
        shortest = Streams(self.train_tokens, config.batch, config.seq_length - 1)
        self.windows = shortest.steps // config.seq_length
        self.total_steps = math.ceil(config.epochs * self.windows)
        self.valid_steps = math.ceil(config.valid_every * self.windows)

        self.step = 0
        self.window = 0  # the next one of this pass
        self.shift: int | None = None  # of this pass; None before it begins
        self.state: Any = None  # the stack's, carried from window to window
        self.seconds = 0.0
        self.history: list[Record] = []
        self.best_loss = math.inf
        self._best: dict[str, Array] | None = None  # None while the best parameters are the present ones
        self._loss_sum = 0.0  # since the last validation
        self._loss_count = 0

    @property
    def characters(self) -> int:
        """Characters trained on so far, repetitions counted."""
        return self.step * self.config.batch * self.config.seq_length

    @property
    def epoch(self) -> float:
        """Passes over the training text so far."""
        return self.step / self.windows

    @property
    def fraction(self) -> float:
        """How far the run is, from 0 to 1."""
        done = self.step / self.total_steps
        if self.config.minutes is not None:
            done = max(done, self.seconds / (60 * self.config.minutes))
        return min(done, 1.0)

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.fraction >= 1

    @property
    def validation_due(self) -> bool:
        """Whether this is a step to validate after that has not been validated yet."""
        due = self.step % self.valid_steps == 0 or self.finished
        return due and self.step > 0 and not (self.history and self.history[-1].step == self.step)

    @property
    def train_loss(self) -> float:
        """The mean training loss since the last validation; NaN before the first window."""
        return self._loss_sum / self._loss_count if self._loss_count else math.nan

    def learning_rate(self) -> float:
        """Return the learning rate of the next window."""
        return self.config.lr * min(1.0, (1 - self.fraction) / (1 - CONSTANT_SHARE))

    def to(self, place: Place) -> None:
        """Move all that training computes with; nothing to do where it is there already. Not within `steps`.

        On a GPU the arrays of `model.params`, `state` and so on are tensors; what `history`, `checkpoint` and the
        model's own methods give is the same everywhere.
        """
        if place is self.place:
            return
        kept = self.optimizer.state_dict()
        self.model.to(place)
        self.optimizer = place.optimizer(self.config.optimizer, self.model.params, self.config.lr)
        self.optimizer.load_state_dict(kept)
        if self._best is not None:
            self._best = {name: place.put(self.place.host(array)) for name, array in self._best.items()}
        if self.state is not None:
            self.state = tuple(tuple(place.put(self.place.host(part)) for part in parts) for parts in self.state)
        self._text = place.put(self.train_tokens)
        self.place = place

    def steps(self) -> Iterator[float]:
        """Train window after window until the run is finished; yield the loss of each.

        Between two windows the trainer may be saved, validated or left.

        Raises
        ------
        FloatingPointError
            If the loss or the gradient is no longer finite; the parameters are those before that window.
        """
        while self.fraction < 1:
            if self.shift is None:
                self.shift, self.window, self.state = int(self.rng.integers(self.config.seq_length)), 0, None
            for loss in self._rest_of_the_pass(Streams(self._text, self.config.batch, self.shift)):
                yield loss
                if self.finished:
                    return
            self.shift = None

    def _rest_of_the_pass(self, streams: Streams) -> Iterator[float]:
        T = self.config.seq_length
        first = self.window

        def loss_of(output: Array, start: int) -> tuple[Any, Array, dict[str, Array]]:
            return self.model.loss_and_gradients(output, streams.targets(first * T + start, len(output)))

        inputs = streams.windows(first, self.windows, T)
        for result in bptt.windows(self.model.stack, inputs, loss_of, k1=T, k2=T, state=self.state, rng=self.rng):
            loss, norm = self.place.clip(result.grads, self.config.clip or math.inf, result.loss)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise FloatingPointError(
                    f"training diverged at step {self.step}: loss {loss}, gradient norm {norm}; "
                    f"try a smaller lr (now {self.config.lr}) or clip (now {self.config.clip})"
                )
            if self._best is None and self.best_loss < math.inf:  # this update makes them the past
                self._best = {name: frame_of(array).copy(array) for name, array in self.model.params.items()}
            self.optimizer.lr = self.learning_rate()
            self.optimizer.step(result.grads)
            self.state = result.state
            del result  # else its gradients stay during the next window
            self.window += 1
            self.step += 1
            self._loss_sum += loss
            self._loss_count += 1
            yield loss

    def validate(self) -> Record:
        """Measure the loss on the validation text, enter it in the history, and return it."""
        loss = self.model.evaluate(self.valid_tokens) if len(self.valid_tokens) > 1 else None
        record = Record(self.step, self.characters, self.seconds, self.train_loss, loss)
        self.history.append(record)
        self._loss_sum, self._loss_count = 0.0, 0
        if loss is not None and loss < self.best_loss:
            self.best_loss, self._best = loss, None
        return record

    # ---- to and from a checkpoint ----

    def checkpoint(self) -> Checkpoint:
        """Return everything that the run depends on from here, as NumPy's arrays."""
        host = self.place.host
        tensors = {f"model.{k}": host(v) for k, v in self.model.params.items()}
        tensors |= {f"best.{k}": host(v) for k, v in (self._best or {}).items()}
        tensors |= {f"optimizer.{k}": v for k, v in self.optimizer.state_dict().items()}
        for layer, states in enumerate(self.state or ()):
            tensors |= {f"state.{layer}.{i}": host(state) for i, state in enumerate(states)}
        progress = {
            "step": self.step,
            "window": self.window,
            "shift": self.shift,
            "seconds": self.seconds,
            "best_loss": None if self.best_loss == math.inf else self.best_loss,
            "loss_sum": self._loss_sum,
            "loss_count": self._loss_count,
            "rng": self.rng.bit_generator.state,
            "history": [dataclasses.astuple(record) for record in self.history],
            "digest": self._digest(),
        }
        return Checkpoint(self.config, self.vocabulary, progress, tensors)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, corpus: Corpus | str | None = None, **changes: Any) -> Trainer:
        """Return a trainer that goes on where a checkpoint was written.

        Parameters
        ----------
        checkpoint : Checkpoint
        corpus : Corpus or str, optional
            The text; by default what the configuration names. It must be the text of the run before.
        **changes
            Fields of `Config` to change: text, pattern, epochs, minutes, valid_every, lr, clip.

        Raises
        ------
        ValueError
            If another field would change, the text is another one, or the checkpoint's parts do not agree.
        """
        check_kind("checkpoint", checkpoint, Checkpoint, "a Checkpoint")
        for name, value in changes.items():
            if name not in vars(checkpoint.config):
                raise TypeError(f"{name}: expected a field of Config that can change: {', '.join(CHANGEABLE)}")
            plain = isinstance(value, str | int | float | None)  # an array has no one truth to compare by
            if name not in CHANGEABLE and not (plain and value == getattr(checkpoint.config, name)):
                raise ValueError(
                    f"{name}: a resumed run keeps {getattr(checkpoint.config, name)!r}, got {shown(value)}; "
                    f"only these can change: {', '.join(CHANGEABLE)}"
                )
        trainer = cls(corpus, dataclasses.replace(checkpoint.config, **changes))
        if trainer._digest() != checkpoint.progress.get("digest"):
            raise ValueError(
                f"{_source(corpus)}: expected the text that {checkpoint.source} was trained on, got another one"
            )
        try:
            trainer._restore(checkpoint)
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ValueError(f"{checkpoint.source}: expected parts that agree: {error!r}") from error
        return trainer

    def _digest(self) -> str:
        """Return a hash of the vocabulary and of both texts as the model sees them."""
        digest = hashlib.sha256(self.vocabulary.characters.encode("utf-8", "surrogatepass"))
        for tokens in (self.train_tokens, self.valid_tokens):
            digest.update(len(tokens).to_bytes(8, "little") + tokens.astype("<i4", copy=False).tobytes())
        return digest.hexdigest()

    def _restore(self, checkpoint: Checkpoint) -> None:
        progress = checkpoint.progress
        copy_into(self.model.params, checkpoint.select("model."))
        self.optimizer.load_state_dict(checkpoint.select("optimizer."))
        best = checkpoint.select("best.")
        if best:
            self._best = {name: np.empty_like(array) for name, array in self.model.params.items()}
            copy_into(self._best, best)
        self.state = self._restore_state(checkpoint.select("state."))
        self.step, self.window = int(progress["step"]), int(progress["window"])
        self.shift = None if progress["shift"] is None else int(progress["shift"])
        if not (
            0 <= self.step and 0 <= self.window <= self.windows and 0 <= (self.shift or 0) < self.config.seq_length
        ):
            raise ValueError(f"expected a place in the text, got window {self.window} at shift {self.shift}")
        self.seconds = float(progress["seconds"])
        self.best_loss = math.inf if progress["best_loss"] is None else float(progress["best_loss"])
        self._loss_sum, self._loss_count = float(progress["loss_sum"]), int(progress["loss_count"])
        self.history = [Record(*values) for values in progress["history"]]
        self.rng.bit_generator.state = progress["rng"]

    def _restore_state(self, arrays: dict[str, Array]) -> Any:
        if not arrays:
            return None
        count = len(cell_info(self.config.cell)["states"])
        shape = (self.config.batch, self.config.hidden)
        state = [[np.empty(shape, self.config.dtype) for _ in range(count)] for _ in range(self.config.layers)]
        copy_into({f"{layer}.{i}": part for layer, parts in enumerate(state) for i, part in enumerate(parts)}, arrays)
        return tuple(tuple(parts) for parts in state)
