"""Several processes train to the weights of one: the example, with two processes on this machine.

The processes meet in a file, and gloo connects them over the loopback interface alone.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import rnnkernels
import rnnkernels.torch as rnn

EXAMPLE = Path(__file__).parents[2] / "examples" / "torch_distributed.py"

needs_processes = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not torch.distributed.is_gloo_available(),
    reason="needs gloo over a loopback interface called lo",
)


def run(folder: Path, *arguments: str, change: str = "") -> list[tuple[int, str]]:
    """Run the example in two processes, after the lines `change`; return how each ended and what it printed."""
    code = (
        f"import runpy, sys\n{change}\nsys.argv[0] = {str(EXAMPLE)!r}\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    )
    started = []
    for rank in range(2):
        environment = os.environ | {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
            "RNNKERNELS_NUM_THREADS": "1",
            # Where this process found the package, that is what is tested.
            "PYTHONPATH": os.pathsep.join(
                [str(Path(rnnkernels.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
            ),
        }
        meet = f"file://{folder}/meet?rank={rank}&world_size=2"
        command = [sys.executable, "-c", code, "--init-method", meet, *arguments]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    try:
        printed = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [(process.returncode, text) for process, text in zip(started, printed, strict=True)]


@pytest.mark.slow
@needs_processes
def test_two_processes_train_to_the_weights_of_one(tmp_path: Path) -> None:
    (first, text), (second, more) = run(tmp_path, "--steps", "10")
    assert first == second == 0, text + more
    lines = text.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["ddp", "fsdp"], text
    assert "holds 11652 of 11652" in lines[0]
    assert "holds 5826 of 11652" in lines[1]  # a half
    assert all("(the same)" in line for line in lines)
    assert more.strip() == ""


@pytest.mark.slow
@needs_processes
def test_the_comparison_can_fail(tmp_path: Path) -> None:
    # Nobody averages gradients: each process trains on its own rows.
    change = "import torch.nn.parallel as p; p.DistributedDataParallel = lambda model: model"
    (first, text), (second, _) = run(tmp_path, "--steps", "2", "--way", "ddp", change=change)
    assert first == second == 1, text
    assert "not the same" in text


def test_one_process_is_told_how_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location("torch_distributed", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with pytest.raises(SystemExit):
        example.main([])
    assert "torchrun --nproc-per-node 2" in capsys.readouterr().err


# ---- what sharding asks of a layer -------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        lambda: rnn.LSTM(5, 6, 2),
        lambda: rnn.Recurrent("gru", 5, 6, memory="replay"),
        lambda: rnn.Recurrent("mgu", 5, 6, bidirectional=True, memory="states"),
    ],
)
def test_weights_may_leave_their_place_between_forward_and_backward(layer: Any) -> None:
    """As under FSDP, whose weights are gathered anew for the backward; the old place holds anything by then."""
    torch.manual_seed(0)
    module, x = layer(), torch.randn(7, 3, 5)
    module(x)[0].square().sum().backward()
    expected = [p.grad.clone() for p in module.parameters()]
    module.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda tensor: tensor):
        loss = module(x)[0].square().sum()
    for tensor in (*module.parameters(), x):
        tensor.data.fill_(float("nan"))
    loss.backward()
    assert all(torch.equal(p.grad, e) for p, e in zip(module.parameters(), expected, strict=True))


def test_storages_stay_resizable() -> None:
    layer, x = rnn.LSTM(5, 6), torch.randn(7, 3, 5)
    layer(x)[0].sum().backward()
    assert x.untyped_storage().resizable()
    assert all(p.untyped_storage().resizable() for p in layer.parameters())
