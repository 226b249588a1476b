"""The sizes that are measured, as data: (T, B, I, H)."""

from __future__ import annotations

Shape = tuple[int, int, int, int]

MODES = ("inference", "training", "streaming", "bfloat16")
OWN_MODES = MODES[:2]  # those that shapes of a user's own are measured in: the others have sizes for a reason

# The eight shapes that have targets (targets.py).
CORE_SHAPES: tuple[Shape, ...] = (
    (100, 1, 64, 64),
    (100, 1, 256, 256),
    (100, 1, 512, 512),
    (100, 16, 128, 128),
    (100, 32, 256, 256),
    (100, 64, 512, 512),
    (25, 50, 100, 100),
    (50, 64, 1024, 1024),
)
QUICK_SHAPES: tuple[Shape, ...] = ((100, 1, 256, 256), (100, 16, 128, 128))

# Samples of T 1-500, B 1-128, I and H 8-1024.
WIDE_SHAPES: tuple[Shape, ...] = (
    # one step in a call
    (1, 1, 8, 8),
    (1, 1, 256, 256),
    (1, 1, 1024, 1024),
    (1, 32, 128, 128),
    (1, 128, 512, 512),
    # less than a vector, and little more
    (500, 1, 8, 8),
    (500, 2, 32, 32),
    (50, 128, 8, 16),
    (100, 8, 40, 24),
    # sizes off every vector and panel
    (100, 1, 100, 100),
    (10, 7, 65, 33),
    (35, 20, 200, 200),
    (35, 3, 330, 330),
    (20, 16, 600, 600),
    # inputs much wider or narrower than the state
    (100, 1, 1024, 128),
    (50, 16, 8, 512),
    (100, 32, 80, 256),
    (25, 128, 1024, 64),
    # batches between one row and a register tile, and large ones
    (50, 2, 256, 256),
    (100, 3, 128, 128),
    (100, 8, 512, 512),
    (500, 4, 64, 64),
    (20, 128, 256, 256),
    (10, 128, 1024, 1024),
)

# Cells that other libraries have fused kernels of; of the others core has fewer shapes, since a loop takes long.
FUSED_ELSEWHERE = ("rnn_tanh", "rnn_relu", "lstm", "gru", "gru_reset_before")
VARIANT_SHAPES: tuple[Shape, ...] = ((100, 1, 256, 256), (100, 16, 128, 128), (100, 32, 256, 256))

# One step in a call, the state carried from call to call.
STREAMING_SHAPES: tuple[Shape, ...] = tuple((1, 1, size, size) for size in (64, 128, 256, 512))

# Where weights do not fit the caches next to a core, and half of them is half of the time.
BFLOAT16_SHAPES: tuple[Shape, ...] = tuple((100, 1, size, size) for size in (512, 1024))

# Those of `low-precision`: one row and batches, weights that fit the caches near a core and weights that do not.
LOW_PRECISION_SHAPES: tuple[Shape, ...] = (
    (50, 1, 256, 256),
    (50, 1, 512, 512),
    (30, 1, 1024, 1024),
    (30, 16, 256, 256),
    (30, 16, 512, 512),
    (30, 16, 1024, 1024),
    (30, 64, 256, 256),
    (30, 64, 512, 512),
)

GRIDS: dict[str, tuple[Shape, ...]] = {"core": CORE_SHAPES, "wide": WIDE_SHAPES, "all": CORE_SHAPES + WIDE_SHAPES}


def shapes(mode: str, grid: str, cell: str = "lstm", *, quick: bool = False) -> tuple[Shape, ...]:
    """Shapes of a mode; streaming and bfloat16 have their own, whatever the grid."""
    if mode == "streaming":
        return STREAMING_SHAPES[::2] if quick else STREAMING_SHAPES
    if mode == "bfloat16":
        return BFLOAT16_SHAPES[:1] if quick else BFLOAT16_SHAPES
    if quick:
        return QUICK_SHAPES
    return VARIANT_SHAPES if grid == "core" and cell not in FUSED_ELSEWHERE else GRIDS[grid]
