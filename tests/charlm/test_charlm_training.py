"""Training runs: they learn, they repeat, they resume bit for bit, and they refuse what does not do."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import FORMS, is_free

import rnnkernels as rk
from rnnkernels import charlm
from rnnkernels.charlm import Config, Trainer

TEXT = "".join(f"{i % 7} times {i % 5} is {(i % 7) * (i % 5)}\n" for i in range(400))
SMALL = Config(hidden=12, batch=4, seq_length=10, epochs=1.5, lr=0.01, min_count=1, valid_fraction=0.1, valid_every=0.3)


def same_run(one: Trainer, two: Trainer) -> bool:
    """Whether two runs have come to the same bits; the clock apart."""
    first, second = one.checkpoint(), two.checkpoint()
    clockless = [
        {**c.progress, "seconds": 0, "history": [r[:2] + r[3:] for r in c.progress["history"]]} for c in (first, second)
    ]
    return (
        clockless[0] == clockless[1]
        and first.tensors.keys() == second.tensors.keys()
        and all(np.array_equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    )


def stop_every(windows: int) -> Callable[[], bool]:
    count = itertools.count(1)
    return lambda: next(count) % windows == 0


# ---- learning ----


@pytest.mark.parametrize("cell", [cell for cell in FORMS if is_free(cell)])
def test_a_run_learns(cell: str) -> None:
    run = charlm.train(TEXT, dataclasses.replace(SMALL, cell=cell, hidden=24, epochs=4))
    losses = [record.valid_loss for record in run.history if record.valid_loss is not None]
    assert run.finished
    guessing = math.log(run.vocabulary.size)
    assert losses[-1] < 0.6 * min(losses[0], guessing)
    if cell != "lstm_noaf":  # its output has no bound, and its first steps overshoot
        assert losses[0] < guessing


@pytest.mark.parametrize("optimizer", charlm.OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str) -> None:
    lr = {"sgd": 1.0, "adagrad": 0.05}.get(optimizer, 0.01)
    run = charlm.train(TEXT, dataclasses.replace(SMALL, optimizer=optimizer, lr=lr, epochs=3))
    assert run.history[-1].train_loss < 0.7 * math.log(run.vocabulary.size)


def test_the_first_loss_is_that_of_guessing() -> None:
    trainer = Trainer(TEXT, SMALL)
    assert abs(next(trainer.steps()) - math.log(trainer.vocabulary.size)) < 0.1


def test_history_counts_and_validates_when_due() -> None:
    run = charlm.train(TEXT, SMALL)
    steps = [record.step for record in run.history]
    assert steps == [*range(run.valid_steps, run.total_steps, run.valid_steps), run.total_steps]
    assert run.history[-1].characters == run.total_steps * 40 == run.characters
    assert run.best_loss == min(record.valid_loss or 9 for record in run.history)


def test_learning_rate_is_constant_then_falls_to_zero() -> None:
    trainer = Trainer(TEXT, SMALL)
    rates = []
    for _ in trainer.steps():
        rates.append(trainer.optimizer.lr)
    half = len(rates) // 2
    assert rates[:half] == [SMALL.lr] * half
    assert all(np.diff(rates[half + 1 :]) < 0)
    assert 0 < rates[-1] < 0.1 * SMALL.lr


def test_validation_and_samples_leave_the_run_alone() -> None:
    often = charlm.train(TEXT, dataclasses.replace(SMALL, valid_every=0.02))
    never = charlm.train(TEXT, dataclasses.replace(SMALL, valid_every=100))
    assert all(np.array_equal(often.model.params[k], never.model.params[k]) for k in often.model.params)


def test_training_without_a_validation_text() -> None:
    run = charlm.train(TEXT, dataclasses.replace(SMALL, valid_fraction=0.0))
    assert run.best_loss == math.inf
    assert {record.valid_loss for record in run.history} == {None}


def test_validation_text_with_unknown_characters() -> None:
    run = charlm.train(TEXT + "€" * 300, SMALL)
    assert math.isfinite(run.best_loss)


@pytest.mark.parametrize("text", ["a" * 2000, "né漢𝄞\n" * 400, "\x00\x01" * 900])
def test_odd_texts_train(text: str) -> None:
    assert charlm.train(text, SMALL).best_loss < 0.5


# ---- the same bits ----


def test_two_runs_are_the_same() -> None:
    assert same_run(charlm.train(TEXT, SMALL), charlm.train(TEXT, SMALL))
    other = charlm.train(TEXT, dataclasses.replace(SMALL, seed=1))
    assert not same_run(charlm.train(TEXT, SMALL), other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_number_of_threads_does_not_matter(dtype: str) -> None:
    pytest.importorskip("threadpoolctl")
    config = dataclasses.replace(SMALL, dtype=dtype, layers=2, dropout=0.2)
    before = rk.num_threads()
    runs = []
    try:
        for threads in (1, 2, 3):
            rk.set_num_threads(threads)
            runs.append(charlm.train(TEXT, config))
    finally:
        rk.set_num_threads(before)
    assert same_run(runs[0], runs[1])
    assert same_run(runs[0], runs[2])


@pytest.mark.parametrize(("windows", "epochs"), [(1, 0.3), (7, 1.5)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cell": "gru", "layers": 2, "dropout": 0.3, "optimizer": "rmsprop"},
        {"cell": "rnn_tanh", "dtype": "float64", "optimizer": "sgd"},
        {"cell": "gru_reset_before", "optimizer": "adagrad", "clip": 0.0, "valid_fraction": 0.0},
    ],
)
def test_resuming_gives_the_same_bits(tmp_path: Path, windows: int, epochs: float, changes: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, epochs=epochs, **changes)
    whole = charlm.train(TEXT, config, checkpoint=tmp_path / "whole.safetensors")
    path = tmp_path / "parts.safetensors"
    run = charlm.train(TEXT, config, checkpoint=path, stop=stop_every(windows))
    for stops in itertools.count():  # noqa: B007
        if run.finished:
            break
        run = charlm.resume(path, TEXT, stop=stop_every(windows))
    assert stops >= whole.total_steps // windows - 1
    assert same_run(whole, run)
    last, resumed = charlm.load_model(tmp_path / "whole.safetensors"), charlm.load_model(path)
    assert all(np.array_equal(last.params[name], resumed.params[name]) for name in last.params)


def test_a_finished_run_can_be_prolonged(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = charlm.train(TEXT, SMALL, checkpoint=path)
    second = charlm.resume(path, TEXT, epochs=2.5)
    assert first.finished
    assert second.finished
    assert second.step == second.total_steps > first.step
    assert second.history[: len(first.history)] == first.history


def test_the_best_parameters_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    # A learning rate that climbs out of the valley again, once it has found it.
    config = dataclasses.replace(SMALL, epochs=1.0, valid_every=0.1, lr=0.02)
    run = charlm.train(TEXT, config, checkpoint=path)
    good = run.best_loss
    run = charlm.resume(path, TEXT, epochs=2.0, lr=3.0)
    assert run.history[-1].valid_loss is not None
    assert run.history[-1].valid_loss > good == run.best_loss
    assert charlm.load_model(path).evaluate(run.valid_tokens) == good
    last = charlm.load_model(path, best=False)
    assert last.evaluate(run.valid_tokens) == run.history[-1].valid_loss


# ---- limits ----


def test_a_run_ends_when_its_time_is_over() -> None:
    run = charlm.train(TEXT, dataclasses.replace(SMALL, epochs=1e6, minutes=0.005, valid_every=1e6))
    assert run.finished
    assert 0 < run.step < run.total_steps
    assert run.seconds >= 0.3
    assert run.history[-1].step == run.step


def test_time_goes_on_where_a_run_was_left(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    config = dataclasses.replace(SMALL, epochs=1e6, minutes=1000.0)
    run = charlm.train(TEXT, config, checkpoint=path, stop=stop_every(5))
    again = charlm.resume(path, TEXT, stop=stop_every(1))
    assert again.step == 6
    assert again.seconds > run.seconds


# ---- what fails between two windows ----


class Failing(charlm.Observer):
    """Fails in one of its methods, once some windows are done."""

    def __init__(self, method: str) -> None:
        self.method = method

    def stepped(self, trainer: Trainer, loss: float) -> None:
        del loss
        if self.method == "stepped" and trainer.step == 13:
            raise OSError("no window")

    def validated(self, trainer: Trainer, record: charlm.Record) -> None:
        del record
        if self.method == "validated" and trainer.step > trainer.valid_steps:
            raise OSError("no window")


@pytest.mark.parametrize("method", ["stepped", "validated", "stop"])
def test_an_observer_that_fails_costs_no_window(tmp_path: Path, method: str) -> None:
    pytest.importorskip("safetensors")
    path = tmp_path / "run.safetensors"
    observer = Failing(method)
    calls = itertools.count(1)

    def stop() -> bool:
        if method == "stop" and next(calls) == 7:
            raise OSError("no window")
        return False

    with pytest.raises(OSError, match="no window"):
        charlm.train(TEXT, SMALL, checkpoint=path, observer=observer, stop=stop)
    at = {"stepped": 13, "validated": 2 * Trainer(TEXT, SMALL).valid_steps, "stop": 7}[method]
    assert charlm.read_checkpoint(path).progress["step"] == at
    assert same_run(charlm.resume(path, TEXT), charlm.train(TEXT, SMALL))


# ---- what does not do ----


def test_divergence_is_an_error_and_the_checkpoint_stays(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    config = dataclasses.replace(SMALL, optimizer="sgd", lr=3e38, clip=0.0)
    with pytest.raises(FloatingPointError, match=r"diverged at step \d+.*lr"):
        charlm.train(TEXT, config, checkpoint=path)
    assert all(np.isfinite(array).all() for array in charlm.load_model(path).params.values())


@pytest.mark.parametrize("text", ["", "a", "short text"])
def test_text_that_is_too_short(text: str) -> None:
    with pytest.raises(ValueError, match=r"^corpus: expected at least 50 characters.*batch 4 and seq_length 10"):
        charlm.train(text, SMALL)


def test_shortest_text_that_does() -> None:
    text = "ab" * 25
    config = dataclasses.replace(SMALL, valid_fraction=0.0)
    assert charlm.train(text, config).finished
    with pytest.raises(ValueError, match=r"^corpus: "):
        charlm.train(text[:-1], config)


def test_a_text_that_the_configuration_names_is_called_so(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("short text", encoding="utf-8")
    with pytest.raises(ValueError, match=r"^text: expected at least 50 characters"):
        charlm.train(None, dataclasses.replace(SMALL, text=str(file)))


def test_text_of_rare_characters_only() -> None:
    text = "".join(chr(0x4E00 + i) for i in range(500))
    with pytest.raises(ValueError, match=r"^corpus: expected a character that occurs 2 times"):
        charlm.train(text, dataclasses.replace(SMALL, min_count=2))


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"layers": 0}, ValueError, "layers: expected at least 1, got 0"),
        ({"hidden": -3}, ValueError, "hidden"),
        ({"batch": 2.0}, TypeError, "batch: expected an int, got 2.0"),
        ({"seq_length": True}, TypeError, "seq_length"),
        ({"dropout": 1.0}, ValueError, "dropout"),
        ({"dropout": "much"}, TypeError, "dropout"),
        ({"lr": 0}, ValueError, "lr"),
        ({"lr": math.nan}, ValueError, "lr"),
        ({"clip": -1}, ValueError, "clip"),
        ({"epochs": math.inf}, ValueError, "epochs"),
        ({"minutes": 0}, ValueError, "minutes"),
        ({"valid_every": 0}, ValueError, "valid_every"),
        ({"valid_fraction": 1}, ValueError, "valid_fraction"),
        ({"limit": 0}, ValueError, "limit"),
        ({"seed": -1}, ValueError, "seed"),
        ({"optimizer": "lbfgs"}, ValueError, "optimizer: expected one of sgd, adagrad, rmsprop, adam, got 'lbfgs'"),
        ({"dtype": "float16"}, ValueError, "dtype"),
        ({"cell": "perceptron"}, ValueError, "cell"),
        ({"text": 5}, TypeError, "text"),
    ],
)
def test_bad_choices(changes: dict[str, Any], error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        Config(**changes)


def test_text_from_a_file_or_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(TEXT, encoding="utf-8")
    from_file = Trainer(None, dataclasses.replace(SMALL, text=str(path)))
    from_folder = Trainer(None, dataclasses.replace(SMALL, text=str(tmp_path), pattern="*.txt"))
    assert np.array_equal(from_file.train_tokens, Trainer(TEXT, SMALL).train_tokens)
    assert np.array_equal(from_folder.train_tokens, from_file.train_tokens)
    with pytest.raises(ValueError, match=r"\*\.md"):
        Trainer(None, dataclasses.replace(SMALL, text=str(tmp_path), pattern="*.md"))
