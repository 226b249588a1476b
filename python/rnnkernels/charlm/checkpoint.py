"""Checkpoints: one safetensors file that holds a whole training run.

Tensors, by prefix: `model.` the parameters, `best.` those with the lowest validation loss (absent while that is the
present ones), `optimizer.` the optimiser's state, `state.<layer>.<i>` the carried recurrent state. Metadata: texts in
JSON (vocabulary, config, progress with the generator's state, history; the equations of a cell that was made of some),
the mark of this one save (`save`), and a digest of every tensor and of every other text (`digests`). So the file is
enough to continue a run bit for bit, or to write text, and a bit that has changed since is found; safetensors holds
arrays and text only, and loading one runs no code.

What the pieces mean is known to `training.py`; this file moves them and refuses what is not a checkpoint. How a file
takes the place of the one before it, and that no other run's does, is in `claim.py`.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_flag, as_text
from rnnkernels.equations.cell import equations_of, load
from rnnkernels.equations.text import dumps

from .checks import as_path, check_kind
from .claim import Claim
from .config import Config
from .digests import check_digests, digests_of
from .model import CharModel
from .vocabulary import Vocabulary

__all__ = ["Checkpoint", "claim", "load_model", "read_checkpoint", "save", "write_checkpoint"]

Array = npt.NDArray[Any]

FORMAT = "rnnkernels.charlm"
VERSION = "1"

# The metadata of the checkpoints that had no digests yet.
WITHOUT_DIGESTS = {"format", "version", "config", "vocabulary", "progress"}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds; `tensors` by their full names. `source` is what errors call it: the file's name."""

    config: Config
    vocabulary: Vocabulary
    progress: dict[str, Any]
    tensors: dict[str, Array]
    source: str = field(default="checkpoint", compare=False)

    def select(self, prefix: str) -> dict[str, Array]:
        """Return the tensors under a prefix, without it."""
        prefix = as_text("prefix", prefix)
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}

    def model(self, *, best: bool = True) -> CharModel:
        """Return the model, with the parameters of the lowest validation loss or with the last ones.

        Raises
        ------
        ValueError
            If the tensors do not fit the configuration.
        """
        best = as_flag("best", best)
        try:
            return self._model(best)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.source}: expected a checkpoint whose parts agree: {error}") from error

    def _model(self, best: bool) -> CharModel:
        config = self.config
        params = (self.select("best.") if best else {}) or self.select("model.")
        # Before anything is allocated: the sizes must be those of arrays that are there.
        shape = params["readout.weight"].shape if "readout.weight" in params else None
        layers = sum(name.startswith("weight_ih_l") for name in params)
        if shape != (self.vocabulary.size, config.hidden) or layers != config.layers:
            raise ValueError(
                f"expected a readout of shape {(self.vocabulary.size, config.hidden)} over {config.layers} layers, "
                f"got shape {shape} over {layers}"
            )
        model = CharModel(
            self.vocabulary,
            cell=config.cell,
            hidden=config.hidden,
            layers=config.layers,
            dropout=config.dropout,
            dtype=config.dtype,
            rng=config.seed,
        )
        copy_into(model.params, params)
        return model


def copy_into(target: dict[str, Array], source: dict[str, Array]) -> None:
    """Copy arrays of the same names, shapes and dtypes into existing ones.

    Raises
    ------
    ValueError
        If anything differs; nothing has been copied then.
    """
    if set(target) != set(source):
        raise ValueError(f"expected the arrays {sorted(target)}, got {sorted(source)}")
    for name, array in target.items():
        found = source[name]
        if (found.shape, found.dtype) != (array.shape, array.dtype):
            raise ValueError(f"{name}: expected {array.dtype} {array.shape}, got {found.dtype} {found.shape}")
    for name, array in target.items():
        array[...] = source[name]


def claim(path: str | os.PathLike[str], name: str = "path") -> Claim:
    """Return the claim of a run on its checkpoint file: a context, and what `save` saves to.

    `name` is the caller's for the path.

    Raises
    ------
    ModuleNotFoundError
        Without safetensors.
    """
    _safetensors()
    return Claim(as_path(name, path), _mark)


def _mark(path: Path) -> str | None:
    """Return the mark of the save that wrote a file; None where it has none, or is no checkpoint."""
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = (file.metadata() or {}).get("save")
    except (OSError, safetensors.SafetensorError):
        return None
    return None if found is None else str(found)


def save(claimed: Claim, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to the file that a run has claimed.

    Raises
    ------
    ValueError
        If the file cannot be written, or another program has written it since.
    """
    mark = secrets.token_hex(8)
    texts = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(checkpoint.config.to_dict()),
        "vocabulary": json.dumps(checkpoint.vocabulary.characters),
        "progress": json.dumps(checkpoint.progress),
        "save": mark,
    }
    equations = equations_of(checkpoint.config.cell)
    if equations is not None:
        texts["equations"] = dumps(equations)
    tensors = {name: np.asarray(array, order="C") for name, array in checkpoint.tensors.items()}
    digests = json.dumps(digests_of({**texts, **tensors}))
    data = _safetensors().numpy.save(tensors, {**texts, "digests": digests})
    try:
        claimed.write(data, mark)
    except OSError as error:
        raise ValueError(f"{claimed.name}: cannot be written: {error.strerror or error}") from error


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a file that is there is replaced in one step, or left as it is.

    Raises
    ------
    ModuleNotFoundError
        Without safetensors.
    ValueError
        If the file cannot be written, or a run is saving to it.
    """
    check_kind("checkpoint", checkpoint, Checkpoint, "a Checkpoint")
    with claim(path) as claimed:
        save(claimed, checkpoint)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ModuleNotFoundError
        Without safetensors.
    ValueError
        If the file is missing, unreadable, truncated, or not a checkpoint of this package, or if a part of it has
        changed since it was saved: the message names the file, and the part.
    """
    safetensors = _safetensors()
    name = as_path("path", path)
    try:
        with safetensors.safe_open(name, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except FileNotFoundError:
        raise ValueError(f"{name}: expected a checkpoint, found no such file") from None
    except (OSError, safetensors.SafetensorError, TypeError, KeyError) as error:
        raise ValueError(f"{name}: expected a safetensors file, got one that cannot be read: {error}") from error
    if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
        found = f"{metadata.get('format', 'no format')!r} {metadata.get('version', '')}".strip()
        raise ValueError(f"{name}: expected a checkpoint of {FORMAT}, version {VERSION}, got {found}")
    try:
        _verify(metadata, tensors)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{name}: {error}; the file is damaged, or was altered") from error
    try:
        config = _config(metadata)
        vocabulary = Vocabulary(json.loads(metadata["vocabulary"]))
        progress = dict(json.loads(metadata["progress"]).items())
        return Checkpoint(config, vocabulary, progress, tensors, name)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{name}: expected a checkpoint, got one with a damaged header: {error!r}") from error


def _config(metadata: dict[str, str]) -> Config:
    """Return the configuration; a cell whose equations are there is registered."""
    values = json.loads(metadata["config"])
    if "equations" in metadata:
        name = json.loads(metadata["equations"])["name"]
        if name != values["cell"]:
            raise ValueError(f"expected the equations of {values['cell']}, got those of {name}")
        values["cell"] = load(metadata["equations"])
    return Config.from_dict(values)


def _verify(metadata: dict[str, str], tensors: dict[str, Array]) -> None:
    """Refuse what has changed since it was saved, by its digests; the first checkpoints had none."""
    texts = {name: text for name, text in metadata.items() if name != "digests"}
    if "digests" in metadata:
        check_digests({**texts, **tensors}, json.loads(metadata["digests"]))
    elif set(texts) - WITHOUT_DIGESTS:
        raise ValueError(f"expected digests beside {sorted(set(texts) - WITHOUT_DIGESTS)}, got none")


def load_model(path: str | os.PathLike[str], *, best: bool = True) -> CharModel:
    """Read the model from a checkpoint: by default with the parameters of the lowest validation loss.

    Raises
    ------
    ModuleNotFoundError
        Without safetensors.
    ValueError
        If the file is no checkpoint: the message names it.
    """
    best = as_flag("best", best)
    return read_checkpoint(path).model(best=best)


def _safetensors() -> Any:
    try:
        import safetensors  # noqa: PLC0415 - an optional package
        import safetensors.numpy  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'checkpoints need the package safetensors: pip install "rnnkernels[cli]"', name=error.name
        ) from None
    return safetensors
