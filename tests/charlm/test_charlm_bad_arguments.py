"""Every public function of `rnnkernels.charlm` refuses what no argument can be, by its name: support/bad_values."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_values import bad_argument_tests, row

from rnnkernels import charlm

pytest.importorskip("safetensors")

KEPT = tempfile.TemporaryDirectory()  # a row's files are there as long as the table is
FOLDER = Path(KEPT.name)
TEXT = "tick tock " * 100
RUN = charlm.train(TEXT, charlm.Config(hidden=4, batch=2, seq_length=8, epochs=0.1), checkpoint=FOLDER / "run")
MODEL, CHECKPOINT = RUN.model, RUN.checkpoint()
TOKENS = np.ones(9, np.int32)
STATE = MODEL.read(TOKENS)[1]
NGRAM = charlm.NGram([1, 2, 3, 1, 2, 3], 5, 2)
DOCUMENT = FOLDER / "document"
DOCUMENT.write_text(TEXT, encoding="utf-8")


def changed(**changes: Any) -> charlm.Trainer:
    return charlm.resume(FOLDER / "run", TEXT, **changes)


# A path may be any text, and names itself where it is not that of a file: test_a_file_that_is_not_there_is_named.
PATH = {"path": "text"}
LIBRARY = {"corpus": "none"}  # the standard library's
NOTHING = dict.fromkeys(("checkpoint", "observer", "stop"), "none")
DRAWN = {"seed": "none huge", "prime": "none"}
TEXTS = {"text": "text"}
DRAW: dict[str, Any] = {"prime": "t", "temperature": 1.0, "seed": 0}
CONFIG = {"text": "text", "pattern": "text", "limit": "none huge", "seed": "huge", "minutes": "none"}
FOUND = charlm.inspect.activations(MODEL, TEXT)
KNOWN = charlm.inspect.labels(TEXT, "plain")
AREAS = charlm.inspect.probes(FOUND, KNOWN)
WATCHED = {"observer": charlm.Observer(), "stop": lambda: False}

ROWS = [
    row(
        "train",
        charlm.train,
        {**LIBRARY, **NOTHING, "config": "none", "checkpoint": "none text"},
        **{"corpus": TEXT, "config": RUN.config, "checkpoint": FOLDER / "new", **WATCHED},
    ),
    row(
        "resume",
        charlm.resume,
        {**LIBRARY, **NOTHING, "checkpoint": "text"},
        **{"checkpoint": FOLDER / "run", "corpus": TEXT, **WATCHED},
    ),
    row("resume, changed", changed, {"minutes": "none"}, epochs=0.1, lr=0.1, minutes=1.0, valid_every=0.25, clip=1.0),
    row("resume, what cannot change", changed, hidden=4, cell="lstm", seed=0, dtype="float32"),
    row("Trainer", charlm.Trainer, {**LIBRARY, "config": "none"}, corpus=TEXT, config=RUN.config),
    row("Trainer.from_checkpoint", charlm.Trainer.from_checkpoint, LIBRARY, checkpoint=CHECKPOINT, corpus=TEXT),
    row("Trainer.to", RUN.to, place=charlm.places.HOST),
    row("Config", charlm.Config, CONFIG, **vars(charlm.Config())),
    row("Config.from_dict", charlm.Config.from_dict, values=RUN.config.to_dict()),
    row("Checkpoint.select", CHECKPOINT.select, {"prefix": "text"}, prefix="model."),
    row("Checkpoint.model", CHECKPOINT.model, best=True),
    row("sample", charlm.sample, DRAWN, model=MODEL, **DRAW, length=2),
    row("sample_characters", charlm.sample_characters, DRAWN, model=MODEL, **DRAW),
    row("read_checkpoint", charlm.read_checkpoint, PATH, path=FOLDER / "run"),
    row("load_model", charlm.load_model, PATH, path=FOLDER / "run", best=True),
    row("write_checkpoint", charlm.write_checkpoint, PATH, path=FOLDER / "new", checkpoint=CHECKPOINT),
    row("read_path", charlm.read_path, {**PATH, "pattern": "text"}, path=DOCUMENT, pattern="*"),
    row("read_folder", charlm.read_folder, {"folder": "text", "pattern": "text"}, folder=FOLDER, pattern="*"),
    row("read_text_file", charlm.read_text_file, PATH, path=DOCUMENT),
    row("python_lines", charlm.python_lines, text="a = 1\n"),
    row("line_shares", charlm.line_shares, text="a = 1\n", language="c"),
    row("language_of", charlm.language_of, corpus=RUN.corpus),
    row("Vocabulary", charlm.Vocabulary, characters="ab"),
    row("Vocabulary.from_text", charlm.Vocabulary.from_text, TEXTS, text="ab", min_count=1),
    row("Vocabulary.encode", MODEL.vocabulary.encode, TEXTS, text="tick", strict=False),
    row("Vocabulary.decode", MODEL.vocabulary.decode, tokens=[1, 2]),
    row("Corpus.from_text", charlm.Corpus.from_text, {**TEXTS, "name": "text"}, text=TEXT, name="text"),
    row("Corpus.split", RUN.corpus.split, {"limit": "none huge"}, valid_fraction=0.1, limit=100),
    row(
        "CharModel",
        charlm.CharModel,
        {"rng": "none huge"},
        vocabulary=MODEL.vocabulary,
        cell="lstm",
        hidden=4,
        layers=1,
        dropout=0.1,
        dtype="float32",
        rng=0,
    ),
    row("CharModel.evaluate", MODEL.evaluate, tokens=TOKENS, batch=1, length=4),
    row("CharModel.read", MODEL.read, {"state": "none"}, tokens=TOKENS, state=STATE),
    row("CharModel.step", MODEL.step, {"state": "none"}, token=1, state=STATE),
    row("CharModel.prepare", MODEL.prepare, weights="full", products="full"),
    row("CharModel.to", MODEL.to, place=MODEL.place),
    row(
        "CharModel.loss_and_gradients",
        MODEL.loss_and_gradients,
        output=np.zeros((3, 1, 4), np.float32),
        targets=np.ones((3, 1), np.int32),
    ),
    row("diagnose", charlm.diagnose, {"text": "text"}, model=MODEL, text=TEXT, steps=5, batch=2),
    row("inspect.activations", charlm.inspect.activations, {"text": "text"}, model=MODEL, text=TEXT),
    row("inspect.labels", charlm.inspect.labels, {**TEXTS, "language": "none"}, text=TEXT, language="c"),
    row("inspect.language_of", charlm.inspect.language_of, {**TEXTS, "name": "text"}, text=TEXT, name="a.py"),
    row("inspect.auc", charlm.inspect.auc, {"labels": "array"}, values=[1.0, 2.0], labels=np.array([True, False])),
    row("inspect.telling", charlm.inspect.telling, {"areas": "nan"}, areas=[0.5]),
    row("inspect.probes", charlm.inspect.probes, found=FOUND, known=KNOWN),
    row(
        "inspect.page",
        charlm.inspect.page,
        {"areas": "none", "title": "text", "note": "text"},
        text=TEXT,
        found=FOUND,
        known=KNOWN,
        areas=AREAS,
        best=2,
        title="a",
        note="b",
    ),
    row("NGram", charlm.NGram, tokens=[1, 2, 3], vocabulary_size=5, order=2),
    row("NGram.loss", NGRAM.loss, tokens=[1, 2, 3], chunk=9),
    row("NGram.distribution", NGRAM.distribution, context=[1]),
    row("NGram.sample", NGRAM.sample, {"seed": "none huge"}, prime=[1], length=2, temperature=1.0, seed=0),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # what is written by a name is written there


test_the_call_of_each_row_runs, test_a_bad_argument_is_named, test_an_odd_argument_is_named_or_served = (
    bad_argument_tests(ROWS)
)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for each in (
        charlm.read_checkpoint,
        charlm.load_model,
        charlm.read_path,
        charlm.read_folder,
        charlm.read_text_file,
    ):
        with pytest.raises(ValueError, match=r"^nonsense: (expected|cannot be read)"):
            each("nonsense")
    with pytest.raises(ValueError, match=r"^nonsense: expected a checkpoint"):
        charlm.resume("nonsense", TEXT)
    assert not list(tmp_path.iterdir())


def test_a_field_that_no_run_has() -> None:
    with pytest.raises(TypeError, match=r"^another: expected a field of Config that can change: text, pattern"):
        changed(another=None)
