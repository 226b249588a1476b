"""The character language model on a GPU, emulated: what the CPU's run comes to, at every place and in both directions.

CPU tensors stand for a GPU's (conftest.py's `tensors`), so that all but PyTorch's own kernels runs as on one. Not here:
the model and the run themselves (test_charlm_*.py), and recurrent layers on a GPU (test_cuda.py, test_cuda_stack.py).
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import rnnkernels as rk
from rnnkernels import charlm, cli
from rnnkernels.charlm import Config, Trainer, on_gpu, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TEXT = "".join(f"{i % 7} times {i % 5} is {(i % 7) * (i % 5)}\n" for i in range(60))
SMALL = Config(
    hidden=8,
    layers=2,
    batch=3,
    seq_length=7,
    epochs=0.5,
    lr=0.01,
    dtype="float64",
    min_count=1,
    valid_fraction=0.1,
    valid_every=0.2,
)


@pytest.fixture
def gpu(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The backend "cuda", with a PyTorch that serves it."""
    monkeypatch.setattr(on_gpu, "reason", lambda: None)
    rk.set_backend("cuda")
    yield tensors
    rk.set_backend("cpu")


def on_cpu(run: Callable[[], Any]) -> Any:
    rk.set_backend("cpu")
    try:
        return run()
    finally:
        rk.set_backend("cuda")


def assert_same(found: Trainer, wanted: Trainer) -> None:
    """All that a checkpoint holds, but for the clock."""
    ours, theirs = found.checkpoint(), wanted.checkpoint()
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name, value in theirs.tensors.items():
        assert type(ours.tensors[name]) is np.ndarray
        assert ours.tensors[name].dtype == value.dtype
        np.testing.assert_allclose(ours.tensors[name], value, rtol=1e-8, atol=1e-9, err_msg=name)
    for name in ("step", "window", "shift", "loss_count", "rng", "digest"):
        assert ours.progress[name] == theirs.progress[name]
    for a, b in zip(found.history, wanted.history, strict=True):
        assert (a.step, a.characters) == (b.step, b.characters)
        np.testing.assert_allclose([a.train_loss, a.valid_loss or 0], [b.train_loss, b.valid_loss or 0], rtol=1e-9)


class Where(charlm.Observer):
    """Sees that the arrays of a run are tensors, and what was noted."""

    def __init__(self) -> None:
        self.kinds: set[type] = set()
        self.notes: list[str] = []

    def noted(self, trainer: Trainer, sentence: str) -> None:
        del trainer
        self.notes.append(sentence)

    def stepped(self, trainer: Trainer, loss: float) -> None:
        assert isinstance(loss, float)
        parts = itertools.chain(*trainer.state, trainer.model.params.values(), (trainer._best or {}).values())
        self.kinds |= {type(array) for array in parts}


# ---- the same run ----


@pytest.mark.parametrize(
    "changes",
    [
        *({"optimizer": name} for name in charlm.OPTIMIZERS),
        {"clip": 0.0, "layers": 1, "cell": "gru"},
        {"clip": 0.05, "optimizer": "sgd", "lr": 0.5},  # every window's gradients are longer
        {"dropout": 0.4},
        {"valid_fraction": 0.0, "epochs": 1.1},
    ],
    ids=str,
)
def test_it_comes_to_the_parameters_of_the_cpu(gpu: Any, changes: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, **changes)
    seen = Where()
    found = charlm.train(TEXT, config, observer=seen)
    assert seen.kinds == {gpu.Tensor}
    assert seen.notes == []
    assert found.history
    assert_same(found, on_cpu(lambda: charlm.train(TEXT, config)))


def test_float32_comes_near(gpu: Any) -> None:
    config = dataclasses.replace(SMALL, dtype="float32")
    found = charlm.train(TEXT, config)
    wanted = on_cpu(lambda: charlm.train(TEXT, config))
    assert {array.dtype for array in found.model.params.values()} == {np.dtype("float32")}
    assert found.history[-1].train_loss == pytest.approx(wanted.history[-1].train_loss, rel=1e-4)


def test_afterwards_arrays_are_numpys(gpu: Any) -> None:
    run = charlm.train(TEXT, SMALL)
    assert run.place is run.model.place is places.HOST
    arrays = [*run.model.params.values(), *run.model.stack.params.values(), run.model.readout.weight, *run.state[0]]
    assert {type(array) for array in arrays} == {np.ndarray}
    assert run.model.params["readout.bias"] is run.model.readout.bias
    assert run.model.params["weight_hh_l1"] is run.model.stack.params["weight_hh_l1"]


def test_the_host_waits_once_in_a_window(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SGD, as the other optimisers read their steps, which PyTorch keeps on the host: not told apart here."""
    trainer = Trainer(TEXT, dataclasses.replace(SMALL, optimizer="sgd", valid_fraction=0.0))
    trainer.to(places.choose()[0])
    reads: list[str] = []

    def counting(name: str) -> Any:
        original = getattr(gpu.Tensor, name)

        def read(self: Any, *given: Any, **options: Any) -> Any:
            reads.append(name)
            return original(self, *given, **options)

        return read

    for name in ("tolist", "item", "numpy", "cpu", "nonzero", "__float__", "__bool__", "__int__", "__array__"):
        monkeypatch.setattr(gpu.Tensor, name, counting(name))
    windows = sum(1 for _ in trainer.steps())
    assert reads == ["tolist"] * windows


def test_divergence_leaves_the_parameters_before(gpu: Any) -> None:
    trainer = Trainer(TEXT, dataclasses.replace(SMALL, optimizer="sgd", dtype="float32", lr=3e38, clip=0.0))
    trainer.to(places.choose()[0])
    with pytest.raises(FloatingPointError, match=r"diverged at step \d+.*lr"):
        list(trainer.steps())
    before = trainer.checkpoint().tensors
    assert all(np.isfinite(value).all() for name, value in before.items() if name.startswith("model."))


# ---- checkpoints ----


def stop_after(windows: int) -> Callable[[], bool]:
    count = itertools.count(1)
    return lambda: next(count) == windows


@pytest.mark.parametrize("optimizer", charlm.OPTIMIZERS)
@pytest.mark.parametrize("first", ["cpu", "cuda"])
def test_a_run_goes_on_elsewhere(gpu: Any, tmp_path: Path, first: str, optimizer: str) -> None:
    pytest.importorskip("safetensors")
    config = dataclasses.replace(SMALL, optimizer=optimizer, layers=1)
    path = tmp_path / "run.safetensors"
    whole = on_cpu(lambda: charlm.train(TEXT, config))
    rk.set_backend(first)
    part = charlm.train(TEXT, config, checkpoint=path, stop=stop_after(8))
    assert not part.finished
    rk.set_backend("cpu" if first == "cuda" else "cuda")
    seen = Where()
    rest = charlm.resume(path, TEXT, observer=seen)
    assert seen.kinds == {np.ndarray if first == "cuda" else gpu.Tensor}
    assert_same(rest, whole)


def test_a_checkpoint_before_the_first_window_goes_both_ways(gpu: Any, tmp_path: Path) -> None:
    """PyTorch itself makes its state in the first step only; the file has zeros."""
    pytest.importorskip("safetensors")
    trainer = Trainer(TEXT, SMALL)
    wanted = trainer.checkpoint()
    trainer.to(places.choose()[0])
    found = trainer.checkpoint()
    assert found.tensors.keys() == wanted.tensors.keys()
    for name, value in wanted.tensors.items():
        assert np.array_equal(found.tensors[name], value)
        assert found.tensors[name].dtype == value.dtype
    charlm.write_checkpoint(tmp_path / "run.safetensors", found)
    again = Trainer.from_checkpoint(charlm.read_checkpoint(tmp_path / "run.safetensors"), TEXT)
    assert again.step == 0


# ---- losses and text ----


def test_evaluation_and_samples_are_the_cpus(gpu: Any) -> None:
    model = Trainer(TEXT, dataclasses.replace(SMALL, cell="gru")).model
    tokens = model.vocabulary.encode(TEXT)
    wanted = on_cpu(lambda: (model.evaluate(tokens), charlm.sample(model, "4 times", length=30, seed=3)))
    model.to(places.choose()[0])
    assert {type(array) for array in model.params.values()} == {gpu.Tensor}
    loss, text = model.evaluate(tokens), charlm.sample(model, "4 times", length=30, seed=3)
    assert isinstance(loss, float)
    assert (pytest.approx(loss, rel=1e-12), text) == wanted
    with pytest.raises(ValueError, match="tokens: expected at least 2"):
        model.evaluate(tokens[:1])


def test_a_model_goes_there_and_back(gpu: Any) -> None:
    model = Trainer(TEXT, SMALL).model
    before = {name: array.copy() for name, array in model.params.items()}
    model.to(places.choose()[0])
    model.to(places.HOST)
    for name, array in before.items():
        assert np.array_equal(model.params[name], array)


# ---- the command line ----


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("safetensors")
    pytest.importorskip("tqdm")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.py").write_text("def f(x):\n    return x + 1\n" * 20, encoding="utf-8")
    return tmp_path


TRAIN = "train --text text.py --hidden 8 --batch 3 --seq-length 12 --epochs 0.5 --dtype float64 --sample-length 20"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    capsys.readouterr()
    code = cli.main(list(arguments))
    output = capsys.readouterr()
    assert code == 0, output.err
    return output.out, output.err


def test_commands_on_a_gpu(
    gpu: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = run(capsys, *TRAIN.split(), "--backend", "cuda")
    assert "epochs; on cpu" in said  # the name of PyTorch's device, here the one that stands for a GPU
    assert "note" not in said
    for command in (["sample", "--length", "20", "--seed", "1"], ["evaluate", "--length", "20"]):
        outputs = []
        for backend, kind in (("cpu", np.ndarray), ("cuda", gpu.Tensor)):
            seen: list[type] = []
            with monkeypatch.context() as patch:
                patch.setattr(charlm.CharModel, "step", stepping(charlm.CharModel.step, seen))
                outputs.append(run(capsys, *command, "charlm.safetensors", "--backend", backend))
            assert set(seen) == {kind}
        assert outputs[0] == outputs[1]


def stepping(step: Any, seen: list[type]) -> Any:
    """Steps as before, and says of what kind the state is."""

    def wrapped(self: Any, token: int, state: Any = None) -> Any:
        seen.append(type(state[0][0]))
        return step(self, token, state)

    return wrapped


@pytest.mark.parametrize(
    ("torch", "wanted"),
    [
        (None, "PyTorch cannot be imported (import of torch halted; None in sys.modules); pip install"),
        ((False, None), "PyTorch 2.x was built without CUDA; pip install"),
        ((False, "13.0"), "PyTorch 2.x sees no GPU, though CUDA 13.0 is built in"),
    ],
    ids=str,
)
def test_without_pytorch_on_a_gpu_it_goes_on_and_says_so(
    emulated: Any,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    torch: tuple[bool, str | None] | None,
    wanted: str,
) -> None:
    stand_in(monkeypatch, torch)
    try:
        _, said = run(capsys, *TRAIN.split(), "--backend", "cuda")
        lines = [line for line in said.splitlines() if line.startswith("note: softmax and optimiser run on the CPU")]
        assert len(lines) == 1
        assert wanted in lines[0]
        _, said = run(capsys, "sample", "charlm.safetensors", "--length", "3", "--backend", "cuda")
        assert said.count("note: softmax and optimiser run on the CPU") == 1
    finally:
        rk.set_backend("cpu")


def stand_in(monkeypatch: pytest.MonkeyPatch, torch: tuple[bool, str | None] | None) -> None:
    """Put a PyTorch in its place that is not there, or that answers as one of another machine would."""
    if torch is None:
        monkeypatch.setitem(sys.modules, "torch", None)
        return
    serves, version = torch
    answers = type("torch", (), {"__version__": "2.x"})
    answers.cuda = type("cuda", (), {"is_available": staticmethod(lambda: serves)})  # type: ignore[attr-defined]
    answers.version = type("version", (), {"cuda": version})  # type: ignore[attr-defined]
    found = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name: answers if name == "torch" else found(name))


def test_pytorch_that_serves_a_gpu_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, (True, "13.0"))
    assert on_gpu.reason() is None


def test_memory_that_pytorch_has_not_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(name: str) -> Any:
        def train(*_: object, **__: object) -> None:
            raise type(name, (RuntimeError,), {})("CUDA out of memory.\nTried to allocate 2 GiB.")

        return train

    monkeypatch.setattr(charlm, "train", fail("OutOfMemoryError"))
    assert cli.main(TRAIN.split()) == 1
    assert "error: CUDA out of memory. Tried to allocate 2 GiB.\n" in capsys.readouterr().err
    monkeypatch.setattr(charlm, "train", fail("AnotherError"))
    with pytest.raises(RuntimeError):
        cli.main(TRAIN.split())


def test_on_the_cpu_pytorch_is_not_imported(folder: Path) -> None:
    code = f"import sys; from rnnkernels import cli; print(cli.main({TRAIN.split()!r}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr
