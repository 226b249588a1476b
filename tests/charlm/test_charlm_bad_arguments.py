"""Every public function of `rnnkernels.charlm`, every argument of it, given what it is not made for.

A call does its work, or raises ValueError or TypeError that begins with the argument's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnkernels import charlm

pytest.importorskip("safetensors")

TEXT = "tick tock " * 100
SMALL = charlm.Config(hidden=4, batch=2, seq_length=8, epochs=0.1)
VALUES: dict[str, Any] = {
    "none": None,
    "text": "x",
    "empty": "",
    "bytes": b"x",
    "array": np.ones((2, 3)),
    "ragged": [[1, 2], [3]],
    "objects": np.array([None, {}], dtype=object),
    "huge": 10**400,
    "endless": 10**5000,
    "negative": -1,
    "fraction": 1.5,
    "nan": float("nan"),
    "class": int,
    "flag": True,
}


class Calls:
    """The functions, by name, and the arguments of each that do."""

    def __init__(self, folder: Path) -> None:
        model = charlm.CharModel(charlm.Vocabulary("ab \n"), hidden=4, rng=0)
        run = charlm.train(TEXT, SMALL, checkpoint=folder / "run")
        self.path, new = str(folder / "run"), str(folder / "new")
        tokens = np.ones(9, np.int32)
        ngram = charlm.NGram([1, 2, 3, 1, 2, 3], 5, 2)
        run_of = {"corpus": TEXT, "config": SMALL}
        draw: dict[str, Any] = {"temperature": 1.0, "seed": 0}
        corpus = charlm.Corpus.from_text(TEXT)
        document = folder / "document"
        document.write_text(TEXT, encoding="utf-8")
        self.table: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
            "train": (charlm.train, {**run_of, "checkpoint": None, "observer": None, "stop": None}),
            "resume": (charlm.resume, {"checkpoint": self.path, "corpus": TEXT, "observer": None, "stop": None}),
            "resume a field": (
                lambda **changes: charlm.resume(self.path, TEXT, **changes),
                {"hidden": 4, "epochs": 0.1, "lr": 0.1},
            ),
            "Trainer": (charlm.Trainer, run_of),
            "Trainer.from_checkpoint": (
                charlm.Trainer.from_checkpoint,
                {"checkpoint": run.checkpoint(), "corpus": TEXT},
            ),
            "Config": (charlm.Config, vars(charlm.Config())),
            "sample": (charlm.sample, {"model": model, "prime": None, "length": 2, **draw}),
            "sample_characters": (charlm.sample_characters, {"model": model, "prime": None, **draw}),
            "read_checkpoint": (charlm.read_checkpoint, {"path": self.path}),
            "load_model": (charlm.load_model, {"path": self.path, "best": True}),
            "write_checkpoint": (charlm.write_checkpoint, {"path": new, "checkpoint": run.checkpoint()}),
            "read_path": (charlm.read_path, {"path": document, "pattern": "*"}),
            "read_folder": (charlm.read_folder, {"folder": folder, "pattern": "*"}),
            "read_text_file": (charlm.read_text_file, {"path": document}),
            "python_lines": (charlm.python_lines, {"text": "a = 1\n"}),
            "Vocabulary": (charlm.Vocabulary, {"characters": "ab"}),
            "Vocabulary.from_text": (charlm.Vocabulary.from_text, {"text": "ab", "min_count": 1}),
            "Vocabulary.encode": (model.vocabulary.encode, {"text": "ab", "strict": False}),
            "Vocabulary.decode": (model.vocabulary.decode, {"tokens": [1, 2]}),
            "Corpus.from_text": (charlm.Corpus.from_text, {"text": TEXT}),
            "Corpus.split": (corpus.split, {"valid_fraction": 0.1, "limit": None}),
            "CharModel": (
                charlm.CharModel,
                {"vocabulary": model.vocabulary, "hidden": 4, "layers": 1, "rng": 0},
            ),
            "CharModel.evaluate": (model.evaluate, {"tokens": tokens, "batch": 1, "length": 4}),
            "CharModel.read": (model.read, {"tokens": tokens}),
            "CharModel.step": (model.step, {"token": 1}),
            "CharModel.to": (model.to, {"place": model.place}),
            "NGram": (charlm.NGram, {"tokens": [1, 2, 3], "vocabulary_size": 5, "order": 2}),
            "NGram.loss": (ngram.loss, {"tokens": [1, 2, 3], "chunk": 9}),
            "NGram.distribution": (ngram.distribution, {"context": [1]}),
            "NGram.sample": (ngram.sample, {"prime": [1], "length": 2, **draw}),
        }


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    return Calls(tmp_path_factory.mktemp("arguments"))


NAMES = [
    "train", "resume", "resume a field", "Trainer", "Trainer.from_checkpoint", "Config", "sample", "sample_characters",
    "read_checkpoint", "load_model", "write_checkpoint", "read_path", "read_folder", "read_text_file", "python_lines",
    "Vocabulary", "Vocabulary.from_text", "Vocabulary.encode", "Vocabulary.decode", "Corpus.from_text", "Corpus.split",
    "CharModel", "CharModel.evaluate", "CharModel.read", "CharModel.step", "CharModel.to", "NGram", "NGram.loss",
    "NGram.distribution", "NGram.sample",
]  # fmt: skip


@pytest.mark.parametrize("function", NAMES)
def test_what_an_argument_is_not_made_for_is_named(
    calls: Calls, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, arguments = calls.table[function]
    refused = 0
    for argument in arguments:
        # A text is called so whether it came as an argument or by the configuration, and a path by its value.
        heads = [argument, *(["text"] if argument in ("corpus", "config") else []), "x"]
        heads += [str(arguments["folder"])] if argument == "pattern" and "folder" in arguments else []
        for kind, value in VALUES.items():
            if argument in ("corpus", "config") and value is None:  # the standard library
                continue
            found = said(call, {**arguments, argument: value})
            refused += found is not None
            assert found is None or re.match("|".join(map(re.escape, heads)) + r"\b", found), (argument, kind, found)
            assert found is None or len(found) < 400, (argument, kind)
    assert refused


def said(call: Callable[..., Any], arguments: dict[str, Any]) -> str | None:
    try:
        call(**arguments)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


def test_a_field_that_no_run_has(calls: Calls) -> None:
    with pytest.raises(TypeError, match=r"^another: expected a field of Config that can change: text, pattern"):
        charlm.resume(calls.path, TEXT, another=None)


def test_every_function_is_in_the_table(calls: Calls) -> None:
    assert [*calls.table] == NAMES
    named = {name.partition(".")[0] for name in NAMES}
    classes = {"Checkpoint", "Document", "LineShares", "Observer", "Record", "Split"}  # records, and what users write
    others = {"CELLS", "OPTIMIZERS", "UNKNOWN", "places", "standard_library"}  # take no arguments
    assert set(charlm.__all__) - classes - others <= named
