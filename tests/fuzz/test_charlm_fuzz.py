"""A short form of `charlm_fuzz.py`: every kind of its trials once, and a damage that it must find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnnkernels import charlm
from tests.fuzz import charlm_fuzz

safetensors = pytest.importorskip("safetensors.numpy")
pytest.importorskip("tqdm")


def test_a_trial_of_each_kind() -> None:
    assert charlm_fuzz.run(0, 0, least=len(charlm_fuzz.TRIALS)) == []


def test_a_damage_that_is_accepted_is_found(tmp_path: Path) -> None:
    config = charlm.Config(hidden=8, batch=4, seq_length=16, epochs=0.2, min_count=1)
    path = tmp_path / "run.safetensors"
    charlm.train(charlm_fuzz.TEXT, config, checkpoint=path)
    assert charlm_fuzz.accepted(path, 0) == []
    found = charlm.read_checkpoint(path)
    without = {"format": "rnnkernels.charlm", "version": "1", "config": json.dumps(config.to_dict())}
    without |= {"vocabulary": json.dumps(found.vocabulary.characters), "progress": json.dumps(found.progress)}
    safetensors.save_file(found.tensors, path, without)
    assert len(charlm_fuzz.accepted(path, 0)) > 5
