"""Checkpoints: one safetensors file that holds a whole training run.

Tensors, by prefix: `model.` the parameters, `best.` those with the lowest validation loss (absent while that is the
present ones), `optimizer.` the optimiser's state, `state.<layer>.<i>` the carried recurrent state. Metadata: texts in
JSON (vocabulary, config, progress with the generator's state, history). So the file is enough to continue a run bit
for bit, or to write text; safetensors holds arrays and text only, and loading one runs no code.

A file is replaced whole or not at all: the new one is written beside it, forced to the disk, and renamed. What the
pieces mean is known to `training.py`; this file moves them and refuses what is not a checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .config import Config
from .model import CharModel
from .vocabulary import Vocabulary

__all__ = ["Checkpoint", "load_model", "read_checkpoint", "write_checkpoint"]

Array = npt.NDArray[Any]

FORMAT = "rnnkernels.charlm"
VERSION = "1"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds; `tensors` by their full names."""

    config: Config
    vocabulary: Vocabulary
    progress: dict[str, Any]
    tensors: dict[str, Array]

    def select(self, prefix: str) -> dict[str, Array]:
        """Return the tensors under a prefix, without it."""
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}

    def model(self, *, best: bool = True) -> CharModel:
        """Return the model, with the parameters of the lowest validation loss or with the last ones.

        Raises
        ------
        ValueError
            If the tensors do not fit the configuration.
        """
        config = self.config
        params = (self.select("best.") if best else {}) or self.select("model.")
        # Before anything is allocated: the sizes must be those of arrays that are there.
        shape = params["readout.weight"].shape if "readout.weight" in params else None
        layers = sum(name.startswith("weight_hh_l") for name in params)
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


def write_checkpoint(path: str | os.PathLike[str], checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a file that is there is replaced in one step, or left as it is.

    Raises
    ------
    ModuleNotFoundError
        Without safetensors.
    ValueError
        If the file cannot be written.
    """
    save = _safetensors().numpy.save
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(checkpoint.config.to_dict()),
        "vocabulary": json.dumps(checkpoint.vocabulary.characters),
        "progress": json.dumps(checkpoint.progress),
    }
    data = save({k: np.asarray(v, order="C") for k, v in checkpoint.tensors.items()}, metadata)
    try:
        _replace(Path(path).resolve(), data)  # a link stays a link: what it points to is replaced
    except OSError as error:
        raise ValueError(f"{os.fspath(path)}: cannot be written: {error.strerror or error}") from error


def _replace(path: Path, data: bytes) -> None:
    # In the same folder, for a rename within one file system; a name that no other process, dead or alive, has used.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # the rename itself to the disk; Windows has no such handle
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    ModuleNotFoundError
        Without safetensors.
    ValueError
        If the file is missing, unreadable, truncated, or not a checkpoint of this package: the message names it.
    """
    safetensors = _safetensors()
    name = os.fspath(path)
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
        config = Config.from_dict(json.loads(metadata["config"]))
        vocabulary = Vocabulary(json.loads(metadata["vocabulary"]))
        progress = dict(json.loads(metadata["progress"]).items())
        return Checkpoint(config, vocabulary, progress, tensors)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{name}: expected a checkpoint, got one with a damaged header: {error!r}") from error


def load_model(path: str | os.PathLike[str], *, best: bool = True) -> CharModel:
    """Read the model from a checkpoint: by default with the parameters of the lowest validation loss.

    Raises
    ------
    ModuleNotFoundError
        Without safetensors.
    ValueError
        If the file is no checkpoint: the message names it.
    """
    checkpoint = read_checkpoint(path)
    try:
        return checkpoint.model(best=best)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: expected a checkpoint whose parts agree: {error}") from error


def _safetensors() -> Any:
    try:
        import safetensors  # noqa: PLC0415 - an optional package
        import safetensors.numpy  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'checkpoints need the package safetensors: pip install "rnnkernels[cli]"', name=error.name
        ) from None
    return safetensors
