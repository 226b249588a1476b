"""What the examples that look ask for and take for the truth: scenes, captions, questions, dates in words."""

from __future__ import annotations

import datetime as dt
import re

import numpy as np
import pytest

from examples import scenes

pytest.importorskip("torch")

from examples import captions, seq2seq, vqa


def drawn(batch: int = 50, *, distinct: bool = False) -> scenes.Scenes:
    return scenes.draw(np.random.default_rng(0), batch, 4 if distinct else 1, 4, distinct=distinct)


def test_a_picture_has_its_objects_where_the_truth_says_and_noise_elsewhere() -> None:
    found = drawn()
    cells = found.pictures.reshape(-1, 3, scenes.SIDE, scenes.CELL, scenes.SIDE, scenes.CELL)
    light = cells.mean(axis=(1, 3, 5)).reshape(-1, scenes.PLACES)
    there = np.zeros_like(light, dtype=bool)
    for row, number in enumerate(found.number):
        there[row, found.place[row, :number]] = True
        assert (found.place[row, number:] == -1).all()
    assert set(found.number) == {1, 2, 3, 4}
    assert (there.sum(axis=1) == found.number).all()
    assert ((light > 0.03) == there).all()


def test_distinct_objects_share_no_colour_and_no_shape() -> None:
    found = drawn(distinct=True)
    for parts in (found.colour, found.shape, found.place):
        assert all(len(set(row)) == 4 for row in parts)


def test_a_caption_names_what_is_in_its_scene() -> None:
    found = drawn()
    words, lengths = captions.captions(found)
    for row, column in enumerate(words.T):
        said = [captions.WORDS[k] for k in column]
        assert said.index("<end>") == lengths[row] - 1
        assert captions.named(said) == {
            (
                scenes.COLOURS[found.colour[row, k]],
                scenes.SHAPES[found.shape[row, k]],
                scenes.ROWS[found.place[row, k] // scenes.SIDE],
                scenes.COLUMNS[found.place[row, k] % scenes.SIDE],
            )
            for k in range(found.number[row])
        }


GOOD = "red ring top left and blue cross upper right <end>"


def test_the_order_of_a_captions_objects_is_free() -> None:
    turned = "blue cross upper right and red ring top left <end>"
    assert captions.named(GOOD.split()) == captions.named(turned.split())


@pytest.mark.parametrize(
    "said",
    [
        "red ring top left and blue cross upper right",  # no end
        "red ring top left blue cross upper right <end>",
        "red ring top left and <end>",
        "red ring left top <end>",
        "red ring top left red cross upper right <end>",
        "red ring top left and red ring top left <end>",  # twice
        "<end>",
    ],
)
def test_a_caption_that_is_not_well_formed_names_nothing(said: str) -> None:
    assert captions.named(said.split()) is None


def test_what_follows_the_end_is_no_part_of_a_caption() -> None:
    assert captions.named(f"{GOOD} red red".split()) == captions.named(GOOD.split())


def test_a_question_has_one_right_answer_among_others_of_its_kind() -> None:
    found = drawn(200, distinct=True)
    asked = vqa.ask(found, np.random.default_rng(1))
    texts = [
        [vqa.WORDS[k] for k in column[:n]] for column, n in zip(asked.words.T.tolist(), asked.lengths, strict=True)
    ]
    for row, text in enumerate(texts):
        k = list(found.place[row]).index(asked.place[row])
        facts = {
            "colour": scenes.COLOURS[found.colour[row, k]],
            "shape": scenes.SHAPES[found.shape[row, k]],
            "row": scenes.ROWS[found.place[row, k] // scenes.SIDE],
            "column": scenes.COLUMNS[found.place[row, k] % scenes.SIDE],
        }
        kind = text[1]
        choices = [vqa.ANSWERS[k] for k in asked.choices[row]]
        assert choices[asked.right[row]] == facts[kind]
        assert len(set(choices)) == vqa.CHOICES
        assert set(choices) < set(vqa.KINDS[list(facts).index(kind)])
        assert {facts["colour"], facts["shape"]} & set(text)
        assert facts[kind] not in text
    assert len({tuple(text) for text in texts}) > 20
    assert set(asked.right.tolist()) == set(range(vqa.CHOICES))


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "first"), (5, "fifth"), (12, "twelfth"), (19, "nineteenth"), (20, "twentieth"), (31, "thirty-first")],
)
def test_ordinals(number: int, said: str) -> None:
    assert seq2seq.ordinal(number) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1900, "nineteen hundred"),
        (1905, "nineteen oh five"),
        (1987, "nineteen eighty-seven"),
        (2000, "two thousand"),
        (2010, "twenty ten"),
    ],
)
def test_years(number: int, said: str) -> None:
    assert seq2seq.year(number) == said


def test_dates_that_are_asked_for_were_not_learnt_from() -> None:
    def days(fresh: bool) -> set[str]:
        iso = seq2seq.dates(np.random.default_rng(0), 300, fresh=fresh).iso.T.tolist()
        return {"".join(seq2seq.SIGNS[k] for k in signs) for signs in iso}

    assert not days(True) & days(False)


def test_a_date_in_words_says_year_month_and_day() -> None:
    found = seq2seq.dates(np.random.default_rng(0), 200, fresh=True)
    for text, parts, signs in zip(found.texts.T.tolist(), found.parts.T, found.iso.T.tolist(), strict=True):
        said = {
            part: "".join(seq2seq.LETTERS[k] for k, p in zip(text, parts, strict=True) if p == part) for part in "ymd"
        }
        date = dt.date.fromisoformat("".join(seq2seq.SIGNS[k] for k in signs))
        assert said["y"] in {str(date.year), seq2seq.year(date.year)}
        assert seq2seq.MONTHS[date.month - 1].startswith(said["m"])
        assert said["m"]
        assert said["d"] == seq2seq.ordinal(date.day) or re.sub("[a-z]", "", said["d"]) == str(date.day)
