"""The Python API of `rnnkernels.charlm` refuses what no argument can be, by its name."""

from __future__ import annotations

import dataclasses

import pytest
from bad_values import Row, cases, check_named, check_runs, row

from rnnkernels import charlm

TEXT = "tick tock " * 40
VOCABULARY = charlm.Vocabulary.from_text(TEXT)
TOKENS = VOCABULARY.encode(TEXT)
MODEL = charlm.CharModel(VOCABULARY, hidden=4, rng=0)
NGRAM = charlm.NGram(TOKENS, VOCABULARY.size, 2)
CORPUS = charlm.Corpus.from_text(TEXT)
CONFIG = {field.name: getattr(charlm.Config(), field.name) for field in dataclasses.fields(charlm.Config)}

ROWS = [
    row("Config", charlm.Config, {"limit": "none", "minutes": "none", "text": "text", "pattern": "text"}, **CONFIG),
    row("Corpus.from_text", charlm.Corpus.from_text, {"text": "text", "name": "text"}, text=TEXT, name="text"),
    row("Corpus.split", CORPUS.split, {"limit": "none"}, valid_fraction=0.1, limit=100),
    row("Vocabulary", charlm.Vocabulary, characters="abc"),
    row("Vocabulary.from_text", charlm.Vocabulary.from_text, {"text": "text"}, text=TEXT, min_count=1),
    row("Vocabulary.encode", VOCABULARY.encode, {"text": "text"}, text="tick", strict=False),
    row("Vocabulary.decode", VOCABULARY.decode, tokens=TOKENS),
    row("NGram", charlm.NGram, tokens=TOKENS, vocabulary_size=VOCABULARY.size, order=2),
    row("NGram.loss", NGRAM.loss, tokens=TOKENS, chunk=100),
    row("NGram.distribution", NGRAM.distribution, context=TOKENS[:3]),
    row("NGram.sample", NGRAM.sample, {"seed": "none huge"}, prime=TOKENS[:3], temperature=1.0, length=3, seed=0),
    row(
        "CharModel",
        charlm.CharModel,
        {"rng": "none huge"},
        vocabulary=VOCABULARY,
        cell="lstm",
        hidden=4,
        layers=1,
        dropout=0.0,
        dtype="float32",
        rng=0,
    ),
    row("CharModel.evaluate", MODEL.evaluate, tokens=TOKENS, batch=2, length=10),
    row("CharModel.read", MODEL.read, {"state": "none"}, tokens=TOKENS[:3], state=None),
    row("CharModel.step", MODEL.step, {"state": "none"}, token=1, state=None),
    row(
        "sample",
        charlm.sample,
        {"seed": "none huge", "prime": "text"},
        model=MODEL,
        prime="tick",
        temperature=1.0,
        length=3,
        seed=0,
    ),
    row(
        "sample_characters",
        charlm.sample_characters,
        {"seed": "none huge", "prime": "text"},
        model=MODEL,
        prime="tick",
        temperature=1.0,
        seed=0,
    ),
]


@pytest.mark.parametrize("each", ROWS, ids=lambda each: each.name)
def test_the_call_of_each_row_runs(each: Row) -> None:
    check_runs(each)


@pytest.mark.parametrize(("each", "argument"), cases(ROWS))
def test_a_bad_argument_is_named(each: Row, argument: str) -> None:
    check_named(each, argument)
