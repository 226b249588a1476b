"""The least time that a layer can take on a GPU, by a model: what a step must wait for, move and multiply.

`python -m benchmarks gpu-floor [--card h100]`

Nothing here is measured. A card's inputs are its data sheet's, or estimates, and stand below by name. A step takes the
least of three ways: one launch for each of its phases; a cluster of blocks that keeps the recurrent weights; the whole
card, which keeps them once. Of each, products and bytes overlap, and latencies do not. gpu_timings.py prints the
floor beside what it measures.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import rnnkernels as rk

BYTES = {"bfloat16": 2, "float16": 2, "tf32": 4, "float32": 4}  # of a weight
TILE_ROWS = {"bfloat16": 8, "float16": 8, "tf32": 8, "float32": 1}  # a product's rows come in so many
SUM_BYTES = 4  # of a partial sum of dL/dh, which blocks of a cluster exchange in a backward
TILE_UNITS = 16  # of H: what a block of a backward over the whole card has at least
FEW_BLOCKS = 32  # of such a backward: with more of them each has more units, where the weights fit
CLUSTERS = (1, 2, 4, 8, 16)  # blocks


@dataclass(frozen=True)
class Card:
    """A card's inputs. The second half are estimates until benchmarks/gpu_probe.py has run there."""

    name: str
    processors: int
    clock_ghz: float
    half_tflops: float  # dense, of tensor cores
    tf32_tflops: float
    float32_tflops: float
    memory_tbs: float  # TB/s
    cache_bytes: float  # of the L2 cache
    has_clusters: bool
    # Estimates.
    cache_tbs: float = 5.5  # of the L2 cache
    kept_bytes: int = 304 * 1024  # weights that a processor keeps: 128 kB in registers, the rest in shared memory
    register_bytes: int = 128 * 1024  # those of them that cost no reading
    shared_bytes_per_cycle: int = 128
    cluster_bytes_per_cycle: int = 32  # from the other blocks of a cluster
    port_bytes_per_cycle: int = 64  # of the L2 cache, for a processor alone
    launch_us: float = 1.5  # a node of a graph behind the one before
    chain_cycles: int = 400  # a product's latency, a barrier, a cell's maths
    cluster_cycles: int = 230  # one way between blocks of a cluster
    card_cycles: int = 750  # one way through the L2 cache
    groups: tuple[int, ...] = ()  # processors of each of its GPCs, within which a cluster lies; none: all in one

    def tflops(self, precision: str) -> float:
        """Return the peak of products in a precision."""
        return {"tf32": self.tf32_tflops, "float32": self.float32_tflops}.get(precision, self.half_tflops)

    def clusters(self, blocks: int) -> int:
        """Return how many clusters of so many blocks there are at once."""
        return sum(size // blocks for size in self.groups or (self.processors,))


HOPPER_GROUPS = (18, 18, 18, 16, 16, 16, 16, 14)  # an estimate, that of csrc/cuda/resident/occupancy.h
CARDS = {
    "h100": Card("H100", 132, 1.755, 989, 494, 67, 3.35, 50e6, True, groups=HOPPER_GROUPS),
    "h200": Card("H200", 132, 1.755, 989, 494, 67, 4.8, 50e6, True, groups=HOPPER_GROUPS),
    "a100": Card("A100", 108, 1.41, 312, 156, 19.5, 2.0, 40e6, False, cache_tbs=4.0, kept_bytes=240 * 1024),
}


def card_named(name: str) -> Card | None:
    """Return the card whose name is part of one that CUDA gives; None where it is not known."""
    return next((card for card in CARDS.values() if card.name.lower() in name.lower()), None)


class Work(NamedTuple):
    """What a step multiplies: square matrices (H, H) of the recurrence, in so many products one after another."""

    matrices: int
    phases: int

    @classmethod
    def of(cls, cell: str) -> Work:
        """Return that of a cell."""
        info = rk.cell_info(cell)
        _, hidden, fed, columns = info["rows"]
        gated = any(operand == "gated" for _, _, operand in info["gates"])
        return cls(hidden + fed * columns, 2 if gated else 1)


class Step(NamedTuple):
    """The least time of a step, and by which way."""

    microseconds: float
    way: str


def launched(card: Card, work: Work, batch: int, hidden: int, precision: str) -> Step:
    """Return a step of two launches for each product: it, and a pass of the cell."""
    weights = work.matrices * hidden * hidden * BYTES[precision]
    rate = card.cache_tbs if weights <= card.cache_bytes else card.memory_tbs
    products = 2 * work.matrices * hidden * hidden * batch / card.tflops(precision)
    return Step(max(weights / rate, products) * 1e-6 + 2 * work.phases * card.launch_us, "launches")


def kept(
    card: Card, work: Work, batch: int, hidden: int, precision: str, blocks: int, *, backward: bool = False
) -> Step | None:
    """Return a step of so many blocks that keep the weights; None where they cannot. More than a cluster: the card."""
    whole = blocks > CLUSTERS[-1]
    share = work.matrices * hidden * hidden / blocks
    if (
        blocks > card.processors
        or share * BYTES[precision] > card.kept_bytes
        or not (whole or blocks == 1 or card.has_clusters)
    ):
        return None
    if whole and backward:
        return gathered(card, work, batch, hidden, precision)
    tile = TILE_ROWS[precision]
    clusters = 1 if whole else card.clusters(blocks)
    if clusters == 0:
        return None
    rows = math.ceil(math.ceil(batch / clusters) / tile) * tile
    per_cycle = card.tflops(precision) * 1e3 / 2 / card.processors / card.clock_ghz
    streamed = max(0.0, share * BYTES[precision] - card.register_bytes) / card.shared_bytes_per_cycle
    cycles = max(share * rows / per_cycle, streamed) + work.phases * card.chain_cycles
    if blocks > 1:
        moved = hidden * rows * (SUM_BYTES if backward else BYTES[precision]) * (blocks - 1) / blocks
        cache_bytes_per_cycle = card.cache_tbs * 1e3 / card.processors / card.clock_ghz
        cycles += work.phases * (card.card_cycles if whole else card.cluster_cycles)
        cycles += work.phases * moved / (cache_bytes_per_cycle if whole else card.cluster_bytes_per_cycle)
    return Step(cycles / card.clock_ghz / 1e3, "card" if whole else f"cluster of {blocks}")


def gathered(card: Card, work: Work, batch: int, hidden: int, precision: str) -> Step | None:
    """Return a backward's step over the whole card, whose blocks get all gate gradients; None where it does not fit.

    That of csrc/cuda/grid/backward_warp.h: teams of blocks that have some units of H each share the batch.
    """
    units, each = TILE_UNITS, work.matrices * hidden * BYTES[precision]
    while math.ceil(hidden / units) > card.processors:
        units *= 2
    if units * each > card.kept_bytes:
        return None
    while math.ceil(hidden / units) > FEW_BLOCKS and 2 * units * each <= card.kept_bytes:
        units *= 2
    blocks, share = math.ceil(hidden / units), work.matrices * hidden * units
    tiles = math.ceil(batch / TILE_ROWS[precision])
    teams = min(card.processors // blocks, tiles)
    rows = math.ceil(tiles / teams) * TILE_ROWS[precision]
    per_cycle = card.tflops(precision) * 1e3 / 2 / card.processors / card.clock_ghz
    streamed = max(0.0, share * BYTES[precision] - card.register_bytes) / card.shared_bytes_per_cycle
    from_cache = min(card.port_bytes_per_cycle, card.cache_tbs * 1e3 / (blocks * teams) / card.clock_ghz)
    moved = work.matrices * hidden * rows * BYTES[precision] / from_cache
    cycles = max(share * rows / per_cycle, streamed, moved) + work.phases * (card.chain_cycles + card.card_cycles)
    return Step(cycles / card.clock_ghz / 1e3, "card")


def step(card: Card, work: Work, batch: int, hidden: int, precision: str, *, backward: bool = False) -> Step:
    """Return a step of the least time."""
    ways = [kept(card, work, batch, hidden, precision, n, backward=backward) for n in (*CLUSTERS, card.processors)]
    return min([launched(card, work, batch, hidden, precision), *(way for way in ways if way is not None)])


def product_ms(card: Card, rows: int, inputs: int, outputs: int, precision: str) -> float:
    """Return the least time of a product (rows, inputs) by (inputs, outputs), for many steps at once."""
    moved = (rows * (inputs + outputs) + inputs * outputs) * BYTES[precision] / card.memory_tbs
    return max(2 * rows * inputs * outputs / card.tflops(precision), moved) * 1e-9


class Floor(NamedTuple):
    """The least times of a layer, in milliseconds."""

    inference: float
    training: float
    way: str  # of a forward's step
    back: Step  # of a backward


def floor(card: Card, cell: str, shape: tuple[int, int, int, int], precision: str) -> Floor:
    """Return that of a layer, T, B, I, H: its input's product, the steps, and a training's products over all steps."""
    steps, batch, inputs, hidden = shape
    work, outputs = Work.of(cell), rk.cell_info(cell)["rows"][0] * hidden
    forward = step(card, work, batch, hidden, precision)
    back = step(card, work, batch, hidden, precision, backward=True)
    x_part = product_ms(card, steps * batch, inputs, outputs, precision)
    h_part = product_ms(card, steps * batch, hidden, work.matrices * hidden, precision)
    inference = x_part + steps * forward.microseconds * 1e-3
    return Floor(inference, inference + steps * back.microseconds * 1e-3 + 2 * x_part + h_part, forward.way, back)


class Figure(NamedTuple):
    """A figure for the first card: what is to be measured, and what is wanted of it."""

    cell: str
    shape: tuple[int, int, int, int]
    precision: str
    wanted: str


def figures() -> Iterator[Figure]:
    """Yield those that this project has set itself."""
    yield Figure("lstm", (1024, 16, 768, 768), "bfloat16", "1.7 and 4.0 ms")
    for cell in ("lstm", "gru"):
        for precision in ("bfloat16", "tf32"):
            for hidden in (256, 512):
                for batch in (16, 64):
                    yield Figure(cell, (256, batch, hidden, hidden), precision, "cuDNN / 5 and / 4")
    for cell in ("mut1", "mut2", "mut3", "gru_reset_before", "lstm_peephole"):
        yield Figure(cell, (128, 32, 512, 512), "bfloat16", "a loop / 20, compiled / 5")


def main(arguments: list[str]) -> int:
    """Print a card's inputs and the floor of every figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--card", choices=CARDS, default="h100")
    card = CARDS[parser.parse_args(arguments).card]
    print("predicted by a model, not measured; its inputs:")
    print(", ".join(f"{name} {value}" for name, value in asdict(card).items()))
    times = f"{'us a step':>9s} {'way':13s} {'back':>9s} {'way':13s} {'infer ms':>8s} {'train ms':>8s}"
    print(f"{'cell':16s} {'T, B, I, H':22s} {'precision':9s} {times}")
    for cell, shape, precision, wanted in figures():
        found, one = floor(card, cell, shape, precision), step(card, Work.of(cell), shape[1], shape[3], precision)
        steps = " ".join(f"{way.microseconds:9.2f} {way.way:13s}" for way in (one, found.back))
        print(
            f"{cell:16s} {', '.join(map(str, shape)):22s} {precision:9s} {steps} "
            f"{found.inference:8.3f} {found.training:8.3f}  wanted: {wanted}"
        )
    return 0
