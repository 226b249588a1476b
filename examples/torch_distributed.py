"""Training over several processes: the same weights as one process on the joined batch.

    torchrun --nproc-per-node 2 examples/torch_distributed.py [--steps N] [--way ddp|fsdp|both]

A tagger with an LSTM in both directions and a minimal gated unit on top, on sequences of different lengths, is trained
twice:

ddp     torch.nn.parallel.DistributedDataParallel: every process holds the whole model, gradients are averaged.
fsdp    torch.distributed.fsdp.fully_shard: every process holds its share of each weight, and of the optimiser's state;
        a layer's weights are gathered where it runs.

Each process reads its own part of every batch. Nothing in the model knows of it: layers of rnnkernels.torch are
modules like any other. Then every process trains the same model alone on the joined batches, and compares. Arithmetic
is float64, so that what is left is rounding: sums over the batch are added in another order.

The processes talk through gloo, on the CPU. Over several machines the same program is started on each, with what
torchrun wants to know of them (--nnodes, --node-rank, --master-addr).
"""

from __future__ import annotations

import argparse
import gc
import sys
import warnings
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import rnnkernels.torch as rnn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T, FEATURES, UNITS, TAGS = 12, 10, 16, 4
ROWS = 4  # of a batch, for each process
ALLOWED = 1e-12  # largest difference of a weight; weights are near 1, and one rounding is 1e-16


class Tagger(torch.nn.Module):  # type: ignore[misc]
    """(T, B, features), (B,) lengths → (T, B, tags)."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = rnn.LSTM(FEATURES, UNITS, 2, bidirectional=True)
        self.top = rnn.Recurrent("mgu", 2 * UNITS, UNITS)
        self.out = torch.nn.Linear(UNITS, TAGS)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return the scores of each tag."""
        hidden, _ = self.lstm(x)
        hidden, _ = self.top(hidden, lengths=lengths)
        return self.out(hidden)


def make_model() -> Tagger:
    """Return the model as every process begins: with the same weights."""
    torch.manual_seed(0)
    model = Tagger()
    model.double()
    return model


def batches(steps: int, rows: int) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield x (T, B, features), lengths (B,) and tags (T, B), the same in every process."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(T, rows, FEATURES, dtype=torch.float64, generator=generator)
        lengths = torch.randint(1, T + 1, (rows,), generator=generator)
        yield x, lengths, x[..., :TAGS].cumsum(0).argmax(-1)


def train(model: torch.nn.Module, steps: int, rows: int, mine: slice) -> list[float]:
    """Train on the rows `mine` of every batch; return the losses."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for x, lengths, tags in batches(steps, rows):
        scores = model(x[:, mine], lengths[mine])
        # The mean over the rows, so that the mean over processes is that over the joined batch.
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), tags[:, mine].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def whole(parameter: Any) -> torch.Tensor:
    """Return a parameter, gathered from the processes where each holds a share."""
    return (parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter).detach()


def held(model: torch.nn.Module) -> int:
    """Return how many numbers of the parameters this process holds."""
    return sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in model.parameters())


def spread(model: Tagger, way: str, processes: int) -> torch.nn.Module:
    """Return the model as `way` has it."""
    if way == "ddp":
        return DistributedDataParallel(model)
    # Outputs that are views, as those of torch.nn.Linear, must not be changed in place: nothing here does.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module", UserWarning)
    mesh = init_device_mesh("cpu", (processes,))
    for part in (model.lstm, model.top):
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def main(arguments: Sequence[str] | None = None) -> int:
    """Train in every way and compare; return 1 if the weights differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--way", choices=("ddp", "fsdp", "both"), default="both")
    parser.add_argument("--init-method", default="env://", help="how processes find each other; torchrun: env://")
    options = parser.parse_args(arguments)
    if not dist.is_torchelastic_launched() and options.init_method == "env://":
        parser.error("start it with: torchrun --nproc-per-node 2 examples/torch_distributed.py")

    dist.init_process_group("gloo", init_method=options.init_method)
    try:
        return compare(options.steps, ("ddp", "fsdp") if options.way == "both" else (options.way,))
    finally:
        gc.collect()  # sharded models are cycles that hold the group: a group that ends with the process may abort it
        dist.destroy_process_group()


def compare(steps: int, ways: Sequence[str]) -> int:
    """Train in several processes, then alone, and print how far the weights are apart."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    rows = ROWS * processes
    alone = make_model()
    losses = train(alone, steps, rows, slice(None))
    failed = 0
    for way in ways:
        model = make_model()
        train(spread(model, way, processes), steps, rows, slice(ROWS * rank, ROWS * (rank + 1)))
        gaps = [(whole(p) - q).abs().max() for p, q in zip(model.parameters(), alone.parameters(), strict=True)]
        gap = torch.stack(gaps).max()
        dist.all_reduce(gap, dist.ReduceOp.MAX)
        same = gap.item() <= ALLOWED  # not a number: false
        failed += not same
        if rank == 0:
            print(
                f"{way}: {processes} processes, {steps} steps, loss {losses[0]:.3f} to {losses[-1]:.3f}; process 0 "
                f"holds {held(model)} of {held(alone)} numbers; largest difference of a weight from one process: "
                f"{gap.item():.1e} ({'the same' if same else f'not the same, allowed {ALLOWED:.0e}'})"
            )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
