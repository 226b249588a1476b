"""Memory of a training call: what it holds, by counting; and its peak, by the system's account of a process.

The peak is of a process that does nothing else: the library's first call at a tiny size is over, the arrays of the
call are made, and then the growth of the largest resident size is read over one call. Linux only.
`python -m benchmarks.memory PEER CELL T B I H THREADS` is that process; it prints bytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import rnnkernels as rk

from .machine import REPOSITORY
from .peers.base import Peer
from .peers.ours import Ours
from .peers.torch_eager import TorchEager
from .workloads import Workload

_TINY = (2, 1, 8, 8)
_PEERS: tuple[Peer, ...] = (Ours(), TorchEager())


def held(work: Workload) -> int:
    """Bytes that our training call returns or keeps: outputs, reserve, gradients. Scratch memory is not in it."""
    run = rk.forward(work.cell, work.x, work.params)
    outputs = run.output.nbytes + sum(state.nbytes for state in run.state)
    gradients = work.x.nbytes + sum(value.nbytes for value in work.params.values()) + sum(s.nbytes for s in run.state)
    return run.reserve_bytes + outputs + gradients


def peaks(work: Workload, threads: int) -> dict[str, int]:
    """Peak bytes of a training call by participant, each in a process of its own; those that can be measured."""
    found = {}
    for peer in _PEERS:
        if peer.missing() or not peer.supports(work):
            continue
        arguments = [peer.name, work.cell, *map(str, work.shape), str(threads)]
        command = [sys.executable, "-m", "benchmarks.memory", *arguments]
        child = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if child.returncode == 0:
            found[peer.name] = int(child.stdout)
    return found


def main(arguments: list[str]) -> int:
    name, cell, *sizes = arguments
    steps, batch, inputs, hidden, threads = map(int, sizes)
    peer = next(peer for peer in _PEERS if peer.name == name)
    peer.prepare(Workload(cell, "training", _TINY), threads).call()
    call = peer.prepare(Workload(cell, "training", (steps, batch, inputs, hidden)), threads).call
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the largest size so far is forgotten
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    before = _status("VmRSS")
    result = call()
    after = _status("VmHWM")
    del result
    print(after - before)
    return 0


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{field}:\s*(\d+) kB$", text, flags=re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
