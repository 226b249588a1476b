"""Reading, decoding, cutting and splitting text; the vocabulary."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnkernels import charlm
from rnnkernels.charlm import Corpus, Document, Vocabulary
from rnnkernels.charlm import vocabulary as vocabulary_module


def corpus_of(*lengths: int) -> Corpus:
    return Corpus(tuple(Document(f"{i}.txt", chr(ord("a") + i) * n) for i, n in enumerate(lengths)))


# ---- splitting ----


@pytest.mark.parametrize("lengths", [(100,), (1, 1), (50, 3, 900, 47), (400, 400, 200)])
@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.3, 0.99])
def test_split_is_a_partition_with_the_share_asked_for(lengths: tuple[int, ...], fraction: float) -> None:
    corpus = corpus_of(*lengths)
    split = corpus.split(fraction)
    assert len(split.valid) == round(fraction * sum(lengths))
    for i, n in enumerate(lengths):
        character = chr(ord("a") + i)
        assert split.train.count(character) + split.valid.count(character) == n


def test_split_of_one_document_is_head_and_tail() -> None:
    split = Corpus.from_text("0123456789").split(0.3)
    assert (split.train, split.valid) == ("0123456", "789")


def test_split_divides_at_most_one_document() -> None:
    split = corpus_of(*[10] * 20).split(0.33)
    assert len(set(split.train) & set(split.valid)) <= 1


def test_split_depends_on_names_only_through_their_draw() -> None:
    documents = [Document(f"{i}.txt", f"{i}\n" * 5) for i in range(9)]
    forward = Corpus(tuple(documents)).split(0.4)
    backward = Corpus(tuple(reversed(documents))).split(0.4)
    assert sorted(forward.valid) == sorted(backward.valid)


def test_limit_cuts_training_text_and_leaves_validation_alone() -> None:
    corpus = corpus_of(300, 20, 500, 180)
    whole, cut = corpus.split(0.1), corpus.split(0.1, limit=250)
    assert cut.valid == whole.valid
    assert len(cut.train) == 250
    assert corpus.split(0.1, limit=10**9) == whole


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ValueError, match="valid_fraction"):
        corpus_of(10).split(fraction)


def test_limit_out_of_range() -> None:
    with pytest.raises(ValueError, match="limit"):
        corpus_of(10).split(0.1, limit=0)


# ---- reading ----


def test_file_drops_the_byte_order_mark_and_unifies_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\n\xc3\xa9")
    assert charlm.read_text_file(path) == "one\ntwo\nthree\né"


@pytest.mark.parametrize(
    ("data", "word"), [(b"abc\xff\xfe", "offset 3"), (b"text\0text", "binary"), (bytes(range(256)), "offset 128")]
)
def test_file_that_is_not_text_is_refused_by_name(tmp_path: Path, data: bytes, word: str) -> None:
    path = tmp_path / "odd.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"odd\.bin.*{word}"):
        charlm.read_path(path)


def test_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        charlm.read_path(tmp_path / "nowhere")


def test_folder_is_read_in_order_and_names_what_it_skips(tmp_path: Path) -> None:
    for name, data in {
        "b.txt": b"second",
        "a.txt": b"first\n",
        "c/d.txt": b"third\n",
        "c/bad.txt": b"\xff",
        "image.png": b"\x89PNG\0",
        ".hidden/x.txt": b"no",
        "__pycache__/y.txt": b"no",
        "empty.txt": b"",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    corpus = charlm.read_path(tmp_path)
    assert [d.name for d in corpus.documents] == ["a.txt", "b.txt", "c/d.txt"]
    assert corpus.split(0.0).train == "first\nsecond\nthird\n"
    assert len(corpus.skipped) == 2
    assert "bad.txt" in corpus.skipped[0]
    assert "image.png" in corpus.skipped[1]
    assert [d.name for d in charlm.read_folder(tmp_path, "d.*").documents] == ["c/d.txt"]


def test_folder_without_text(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\0")
    with pytest.raises(ValueError, match=r"expected a text file.*x\.bin"):
        charlm.read_folder(tmp_path)


def test_standard_library() -> None:
    corpus = charlm.standard_library()
    names = [document.name for document in corpus.documents]
    assert names == sorted(names)
    assert {"argparse.py", "json/decoder.py"} <= set(names)
    unwanted = ("site-packages", "/test/", "/tests/", "encodings/", "pydoc_data/")
    assert not [name for name in names for part in unwanted if part in f"/{name}"]
    assert corpus.characters > 3_000_000


def test_text_must_be_a_string() -> None:
    with pytest.raises(TypeError, match=r"^text: expected a str, got b'abc'"):
        Corpus.from_text(b"abc")  # type: ignore[arg-type]


# ---- vocabulary ----


def test_vocabulary_round_trip_with_any_unicode() -> None:
    text = "añ𝄞漢\n\t a\x7f"
    vocabulary = Vocabulary.from_text(text)
    tokens = vocabulary.encode(text)
    assert vocabulary.size == len(set(text)) + 1
    assert tokens.min() == 1
    assert vocabulary.decode(tokens) == text
    assert Vocabulary(vocabulary.characters) == vocabulary


def test_unknown_characters_are_token_0() -> None:
    vocabulary = Vocabulary.from_text("aaabbc", min_count=2)
    assert vocabulary.characters == "ab"
    assert vocabulary.encode("abcz\U0010ffff\ud800").tolist() == [1, 2, 0, 0, 0, 0]
    assert vocabulary.decode([0, 1]) == charlm.UNKNOWN + "a"
    assert ["a" in vocabulary, "c" in vocabulary, "" in vocabulary] == [True, False, False]


def test_encoding_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = Vocabulary("abc")
    whole = vocabulary.encode("abcxabcba")
    monkeypatch.setattr(vocabulary_module, "ENCODED_AT_ONCE", 4)
    assert np.array_equal(vocabulary.encode("abcxabcba"), whole)
    assert vocabulary.encode("").size == 0


def test_strict_encoding_names_the_characters() -> None:
    with pytest.raises(ValueError, match="got 'xyé'"):
        Vocabulary("abc").encode("ayxéy", strict=True)


@pytest.mark.parametrize("characters", [["ab"], ["a", "a"], [charlm.UNKNOWN], [""]])
def test_vocabulary_of_bad_characters(characters: list[str]) -> None:
    with pytest.raises(ValueError, match="characters"):
        Vocabulary(characters)


@pytest.mark.parametrize("text", ["", "abc", charlm.UNKNOWN * 9])
def test_vocabulary_of_text_without_frequent_characters(text: str) -> None:
    with pytest.raises(ValueError, match="text"):
        Vocabulary.from_text(text, min_count=2)


def test_decoding_checks_its_tokens() -> None:
    with pytest.raises(ValueError, match="tokens"):
        Vocabulary("abc").decode(np.array([4]))
