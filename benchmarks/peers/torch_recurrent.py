"""torchrecurrent: the variants as PyTorch modules, a Python loop over steps that takes the input's product in each."""

from __future__ import annotations

from typing import Any

from benchmarks.workloads import Workload

from .base import Peer, Timed
from .torch_eager import timed

# Those whose parameters have our shapes and order of gates.
LAYERS = {"mut1_projected": "MUT1", "mut2_projected": "MUT2", "mut3": "MUT3", "mgu": "MGU", "ligru": "LiGRU"}


class TorchRecurrent(Peer):
    """Whole sequences."""

    name = "torchrecurrent"
    packages = ("torch", "torchrecurrent")

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "training"} and work.cell in LAYERS

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch
        import torchrecurrent

        torch.set_num_threads(threads)
        layer: Any = getattr(torchrecurrent, LAYERS[work.cell])(*work.shape[2:])
        layer.load_state_dict({f"cells.0.{name}": torch.tensor(value) for name, value in work.params.items()})
        params = {name: getattr(layer.cells[0], name) for name in work.params}
        return timed(work, lambda x: layer(x)[0], params)
