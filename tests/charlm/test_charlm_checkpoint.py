"""Checkpoint files: what is written is read, whole or not at all, and nothing else is taken for one."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnkernels import charlm
from rnnkernels.charlm import Config, checkpoint

safetensors = pytest.importorskip("safetensors.numpy")
safe_open = pytest.importorskip("safetensors").safe_open

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40
SMALL = Config(hidden=8, layers=2, batch=4, seq_length=10, epochs=0.3, min_count=1, valid_every=0.1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "run.safetensors"
    charlm.train(TEXT, SMALL, checkpoint=path)
    return path


@pytest.fixture
def path(saved: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(saved.read_bytes())
    return copy


def altered(path: Path, **metadata: Any) -> charlm.Checkpoint:
    """Write the file again with other metadata or, under `tensors`, other tensors."""
    found = charlm.read_checkpoint(path)
    tensors = {**found.tensors, **metadata.pop("tensors", {})}
    texts = {
        "format": "rnnkernels.charlm",
        "version": "1",
        "config": json.dumps(found.config.to_dict()),
        "vocabulary": json.dumps(found.vocabulary.characters),
        "progress": json.dumps(found.progress),
        **metadata,
    }
    kept = {name: array for name, array in tensors.items() if array is not None}
    safetensors.save_file(kept, path, {name: text for name, text in texts.items() if text is not None})
    return found


def test_round_trip(saved: Path, tmp_path: Path) -> None:
    found = charlm.read_checkpoint(saved)
    copy = tmp_path / "again.safetensors"
    charlm.write_checkpoint(copy, found)
    again = charlm.read_checkpoint(copy)
    assert again.config == found.config == SMALL
    assert again.vocabulary == found.vocabulary
    assert again.progress == found.progress
    assert again.tensors.keys() == found.tensors.keys()
    for name, array in found.tensors.items():
        assert again.tensors[name].dtype == array.dtype
        assert again.tensors[name].shape == array.shape
        assert np.array_equal(again.tensors[name], array)


def test_file_holds_the_whole_run(saved: Path) -> None:
    found = charlm.read_checkpoint(saved)
    assert {name.split(".")[0] for name in found.tensors} >= {"model", "optimizer", "state"}
    assert found.tensors["state.1.1"].shape == (4, 8)
    assert {"rng", "history", "best_loss", "digest", "shift", "window", "step"} <= found.progress.keys()


def test_writing_leaves_only_the_file(saved: Path) -> None:
    assert [entry.name for entry in saved.parent.iterdir()] == [saved.name]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_file_before(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    before = path.read_bytes()
    found = charlm.read_checkpoint(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ValueError, match=r"copy\.safetensors: cannot be written: No space left"):
        charlm.write_checkpoint(path, found)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "latest.safetensors"
    try:
        link.symlink_to(path)
    except OSError:
        pytest.skip("no symbolic links here")
    charlm.write_checkpoint(link, charlm.read_checkpoint(path))
    assert link.is_symlink()


def test_folder_that_is_not_there_is_found_out_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"run\.safetensors: cannot be written"):
        charlm.train(TEXT, SMALL, checkpoint=tmp_path / "no" / "run.safetensors")


# ---- changed bytes ----


def test_a_changed_bit_of_any_tensor_is_refused_by_name(path: Path) -> None:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    rng = np.random.default_rng(0)
    names = sorted(header.keys() - {"__metadata__"})
    assert len(names) > 20
    for name in names:
        begin, end = header[name]["data_offsets"]
        damaged = bytearray(data)
        damaged[8 + size + int(rng.integers(begin, end))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        for read in (charlm.read_checkpoint, charlm.load_model, lambda file: charlm.resume(file, TEXT)):
            with pytest.raises(
                ValueError, match=rf"copy\.safetensors: expected the tensor '{re.escape(name)}' as it was"
            ):
                read(path)


def test_a_changed_bit_of_the_header_is_refused_or_changes_nothing(path: Path) -> None:
    data = path.read_bytes()
    found = charlm.read_checkpoint(path)
    rng = np.random.default_rng(1)
    for place in rng.integers(0, 8 + int.from_bytes(data[:8], "little"), 300):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            again = charlm.read_checkpoint(path)
        except ValueError:
            continue
        assert (again.config, again.vocabulary, again.progress) == (found.config, found.vocabulary, found.progress)
        assert again.tensors.keys() == found.tensors.keys()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"progress": "{}"}, "the text 'progress' as it was saved"),
        ({"digests": None}, r"expected digests beside \['save'\]"),
        ({"digests": "{}"}, "got also"),
        ({"digests": "["}, "damaged"),
        ({"digests": "[]"}, "damaged"),
        ({"save": None}, "got no 'save'"),
        ({"another": "text"}, "got also 'another'"),
    ],
)
def test_changed_metadata(path: Path, change: dict[str, str | None], word: str) -> None:
    with safe_open(path, framework="numpy") as file:
        metadata = {**file.metadata(), **change}
    tensors = safetensors.load_file(path)
    safetensors.save_file(tensors, path, {name: text for name, text in metadata.items() if text is not None})
    with pytest.raises(ValueError, match=rf"copy\.safetensors: .*{word}"):
        charlm.read_checkpoint(path)


def test_a_tensor_more_or_less(path: Path) -> None:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = safetensors.load_file(path)
    safetensors.save_file({**tensors, "more": np.zeros(1)}, path, metadata)
    with pytest.raises(ValueError, match="got also 'more'"):
        charlm.read_checkpoint(path)
    del tensors["model.readout.bias"]
    safetensors.save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=r"got no 'model\.readout\.bias'"):
        charlm.read_checkpoint(path)


def test_a_checkpoint_without_digests_goes_on(path: Path) -> None:
    before = altered(path)  # as the first versions wrote it
    assert set(safe_open(path, framework="numpy").metadata()) == checkpoint.WITHOUT_DIGESTS
    run = charlm.resume(path, TEXT, stop=lambda: True)
    assert run.step >= before.progress["step"]
    assert "digests" in safe_open(path, framework="numpy").metadata()


def test_other_readers_find_the_tensors(path: Path) -> None:
    found = charlm.read_checkpoint(path)
    tensors = safetensors.load_file(path)
    assert tensors.keys() == found.tensors.keys()
    assert all(np.array_equal(tensors[name], array) for name, array in found.tensors.items())


# ---- files that are no checkpoints ----


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.safetensors: expected a checkpoint, found no such file"):
        charlm.load_model(tmp_path / "nothing.safetensors")


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a safetensors file"):
        charlm.load_model(tmp_path)


def test_truncated_at_any_length(path: Path) -> None:
    data = path.read_bytes()
    for length in sorted({0, 1, 7, 8, 9, 100, *range(200, len(data), len(data) // 40), len(data) - 1}):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"copy\.safetensors: expected a safetensors file"):
            charlm.load_model(path)


def test_random_bytes_in_the_header(path: Path) -> None:
    """A damaged byte is refused, or was of no importance; nothing else happens."""
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        damaged = data.copy()
        damaged[int(rng.integers(0, 3000))] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            charlm.resume(path, TEXT, stop=lambda: True)
        except (ValueError, TypeError):
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"PK\x03\x04", b"{}" * 100])
def test_other_files(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(ValueError, match="expected a safetensors file"):
        charlm.load_model(path)


def test_foreign_safetensors(path: Path) -> None:
    safetensors.save_file({"weight": np.zeros(3, np.float32)}, path)
    with pytest.raises(ValueError, match=r"expected a checkpoint of rnnkernels\.charlm, version 1, got 'no format'"):
        charlm.load_model(path)


@pytest.mark.parametrize(
    ("metadata", "word"),
    [
        ({"version": "99"}, "version 1, got 'rnnkernels.charlm' 99"),
        ({"config": None}, "damaged header"),
        ({"config": "{"}, "damaged header"),
        ({"config": "[]"}, "damaged header"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "hidden": "8"})}, "damaged header"),
        ({"config": json.dumps({"hidden": 8})}, "missing"),
        ({"progress": "[]"}, "damaged header"),
        ({"vocabulary": json.dumps("aa")}, "damaged header"),
        ({"vocabulary": json.dumps([1, 2])}, "damaged header"),
        ({"vocabulary": json.dumps("abc")}, "parts agree"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "hidden": 2**24})}, "parts agree"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "hidden": 10**15})}, "hidden: expected at most"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "layers": 10**4})}, "parts agree"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "layers": 10**15})}, "layers: expected at most"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "cell": "gru"})}, "parts agree"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "cell": "none"})}, "cell"),
        ({"config": json.dumps({**dataclasses.asdict(SMALL), "dtype": "float64"})}, "parts agree"),
        ({"tensors": {"model.readout.bias": None}}, "parts agree"),
        ({"tensors": {"model.readout.bias": np.zeros(4, np.float32)}}, "parts agree"),
        ({"tensors": {"model.extra": np.zeros(4, np.float32)}}, "parts agree"),
    ],
)
def test_parts_that_do_not_fit(path: Path, metadata: dict[str, Any], word: str) -> None:
    altered(path, **metadata)
    with pytest.raises(ValueError, match=word):
        charlm.load_model(path, best=False)


@pytest.mark.parametrize(
    "metadata",
    [
        {"progress": "{}"},
        {"tensors": {"optimizer.step": None}},
        {"tensors": {"state.0.0": None}},
        {"tensors": {"state.0.0": np.zeros((4, 9), np.float32)}},
        {"tensors": {"best.readout.bias": np.zeros(3, np.float32)}},
    ],
)
def test_runs_that_cannot_go_on(path: Path, metadata: dict[str, Any]) -> None:
    altered(path, **metadata)
    with pytest.raises(ValueError, match="expected"):
        charlm.resume(path, TEXT)


def test_another_text_is_refused(path: Path) -> None:
    with pytest.raises(ValueError, match=r"^corpus: expected the text that .*copy\.safetensors was trained on"):
        charlm.resume(path, TEXT.replace("fox", "cat"))


def test_what_the_parameters_depend_on_cannot_change(path: Path) -> None:
    with pytest.raises(ValueError, match=r"hidden: a resumed run keeps 8, got 16; only these can change: text,"):
        charlm.resume(path, TEXT, hidden=16)
    assert charlm.resume(path, TEXT, hidden=8, clip=2.0).config.clip == 2.0


def test_without_safetensors(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "rnnkernels\[cli\]"'):
        checkpoint.read_checkpoint(path)
    assert charlm.train(TEXT, SMALL).finished
