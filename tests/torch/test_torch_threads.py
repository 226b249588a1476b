"""Layers use as many threads as PyTorch may: set by a program, by a DataLoader for its workers, by the environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from thread_counts import needs_proc, needs_processors, said

pytestmark = needs_proc

BEGIN = """
import torch
import rnnkernels.torch as rnn
from busy_threads import BATCH, HIDDEN, STEPS, Loaded, busy
layer, x = rnn.GRU(HIDDEN, HIDDEN), torch.ones(STEPS, BATCH, HIDDEN)
def forward():
    with torch.no_grad():
        layer(x)
def training():
    layer(x)[0].sum().backward()
"""


@needs_processors
def test_torch_set_num_threads_holds_for_the_next_call_and_is_named() -> None:
    code = """
found = [busy(forward), busy(training)]
torch.set_num_threads(1)
found += [busy(forward), busy(training), rk.num_threads(), rk.backends()["cpu"].rpartition(", ")[2]]
torch.set_num_threads(2)
print(json.dumps([*found, busy(forward)]))
"""
    *before, one, training, threads, who, after = said(BEGIN + code)
    assert all(count > 1 for count in before)
    assert [one, training, threads] == [1, 1, 1]
    assert who == "1 thread (PyTorch)"
    assert after > 1


def test_it_holds_in_a_thread_that_never_asked_pytorch() -> None:
    """OpenMP's number belongs to a thread, PyTorch's to the process."""
    code = """
import threading
forward()
torch.set_num_threads(1)
found = []
thread = threading.Thread(target=lambda: found.append(busy(forward)))
thread.start()
thread.join()
print(json.dumps(found))
"""
    assert said(BEGIN + code) == [1]


def test_omp_num_threads_holds() -> None:
    code = "print(json.dumps([busy(forward), busy(training), rk.num_threads()]))"
    assert said(BEGIN + code, OMP_NUM_THREADS="1", RNNKERNELS_NUM_THREADS="2") == [1, 1, 1]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_data_loaders_worker_uses_one_thread(tmp_path: Path, method: str) -> None:
    """It calls torch.set_num_threads(1); in a forked one neither PyTorch's threads nor ours are there."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import json, sys, warnings
{BEGIN}
if __name__ == "__main__":
    warnings.simplefilter("ignore")
    forward()  # the parent's threads are up
    with torch.no_grad():
        loader = torch.utils.data.DataLoader(Loaded(layer.requires_grad_(False), x), num_workers=1, batch_size=None,
                                             multiprocessing_context=sys.argv[1])
        print(json.dumps(list(loader)))
""",
        encoding="utf-8",
    )
    code = "import runpy\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')"
    assert said(code, str(program), method) == [[1, 1]]
