"""The scripts of benchmarks/ for a GPU, walked through once with the host in its place: that they run, not how fast.

A GPU is lent for minutes; a misspelt name would cost one of them.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (2, 3, 8, 8)


class Event:
    """torch.cuda.Event by the host's clock."""

    def __init__(self, **_: Any) -> None:
        self.at = 0.0

    def record(self) -> None:
        self.at = time.perf_counter()

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: Event) -> float:
        return 1e3 * (end.at - self.at)


class Stream:
    cuda_stream = 0

    def wait_stream(self, stream: Stream) -> None:
        pass


class CUDAGraph:
    def replay(self) -> None:
        pass


@pytest.fixture
def host(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """PyTorch, with the host's memory where a script asks for a GPU's."""
    torch = tensors

    def on_host(make: Any) -> Any:
        def made(*sizes: Any, **options: Any) -> Any:
            if options.get("device") == "cuda":
                del options["device"]
                sizes = tuple(min(n, 1 << 10) if isinstance(n, int) else n for n in sizes)
            return make(*sizes, **options)

        return made

    for name in ("randn", "zeros", "empty"):
        monkeypatch.setattr(torch, name, on_host(getattr(torch, name)))
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(torch.nn.Module, "to", on_host(torch.nn.Module.to))
    monkeypatch.setattr(torch, "compile", lambda function: function)
    for name, fake in {
        "Event": Event,
        "Stream": Stream,
        "CUDAGraph": CUDAGraph,
        "current_stream": Stream,
        "stream": contextlib.nullcontext,
        "graph": contextlib.nullcontext,
        "synchronize": lambda: None,
        "get_device_name": lambda: "the host",
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return torch


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_timings(host: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any) -> None:
    from benchmarks import gpu_timings

    monkeypatch.setattr(gpu_timings, "SHAPES", (SHAPE,))
    monkeypatch.setattr(gpu_timings, "VARIANT_SHAPE", SHAPE)
    monkeypatch.setattr(gpu_timings, "BEYOND", {"gru_reset_before": (2, 3, 9, 9)})
    monkeypatch.setattr(gpu_timings, "STACK_SHAPES", (SHAPE,))
    monkeypatch.setattr(gpu_timings, "STACKS", {"two layers": (2, False), "both directions": (1, True)})
    monkeypatch.setattr(gpu_timings, "ROUNDS", 2)
    out = tmp_path / "gpu.jsonl"
    code = gpu_timings.main(["--out", str(out), "--cells", *gpu_timings.FUSED, *gpu_timings.VARIANTS])
    assert code == 0, capsys.readouterr().out
    every = [line for line in lines(out) if line.get("cell")]
    measured = [line for line in every if "class" not in line]
    assert len(measured) == 3 * len(gpu_timings.FUSED) + 2 * len(gpu_timings.VARIANTS) + 1
    assert all(set(line["ms"]) == {"inference", "training", "step"} for line in measured)
    # A kernel has a row where it serves: the resident one all of these, float32 too; grid no vectors that are fed back.
    for line in measured:
        wanted = {"resident": True, "grid": line["what"] == "bfloat16" and line["cell"] != "mut3"}
        assert {kernel: kernel in line["ms"]["training"] for kernel in wanted} == wanted, line
    stacks = [line for line in every if "class" in line]
    assert len(stacks) == len(gpu_timings.STACKS) * 3 * len(gpu_timings.FUSED)
    for line in stacks:
        ways = {"ours", "resident"} | ({"grid"} if line["what"] == "bfloat16" else set())
        overlapped = {"overlap" if way == "ours" else f"{way}, overlap" for way in ways}
        assert set(line["ms"]["inference"]) == set(line["ms"]["training"]) == ways | overlapped
    host.backends.cuda.matmul.allow_tf32 = host.backends.cudnn.allow_tf32 = False


def test_probe(host: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    del host
    from benchmarks import gpu_probe

    monkeypatch.setattr(gpu_probe, "SHAPES", (SHAPE,))
    monkeypatch.setattr(gpu_probe, "REPEATS", 2)
    out = tmp_path / "gpu.jsonl"
    assert gpu_probe.main(["--out", str(out)]) == 0
    assert "launch, us" in lines(out)[-1]["found"]


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.parametrize("script", ["TINY", "PROFILE"])
def test_check(host: Any, script: str, capsys: Any) -> None:
    from benchmarks import gpu_check

    text = getattr(gpu_check, script).replace("256, 64, 512", "4, 3, 8").replace('"lstm", 512, 512', '"lstm", 8, 8')
    assert "'" not in text  # it stands in a shell's quotes
    if script == "PROFILE":
        text = text.replace("torch.cuda.synchronize()", "pass").replace("cuda_time_total", "cpu_time_total")
    exec(compile(text, script, "exec"), {"torch": host})
    said = capsys.readouterr().out
    assert said
    if script == "TINY":
        for row in ("grid lstm torch.bfloat16  ran", "grid gru torch.float16  ran", "grid mgu torch.bfloat16  ran"):
            assert row in said
        assert "resident mgu torch.bfloat16  ran" in said
        for row in ("resident lstm torch.float32  ran", "resident lstm torch.float32 TF32 ran"):
            assert row in said
        for kernel in ("reference", "products", "resident", "grid"):
            assert f"{kernel} overlapped 3 False ran" in said
            assert f"{kernel} overlapped 1 True ran" in said
