"""Video: tell in every frame of a clip what has happened so far (many to many).

A clip shows a digit that flies through a noisy picture of 16 by 16 pixels and bounces off its edges. The label of a
frame is the number of bounces up to it, three and more counted as three. What one frame shows is at most that the digit
is at an edge now: a network with the same encoder and no recurrence falls short, larger as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import rnnkernels.torch as rnn

from . import glyphs
from .figures import Figure
from .training import fit

if TYPE_CHECKING:
    from pathlib import Path

NEEDS = ("torch",)
ROWS = ("video classification",)

SIZE, FRAMES, MOST = 16, 24, 3  # MOST: bounces that are told apart from more
ENCODED = HIDDEN = 64
BATCH = 64


def clips(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return clips (FRAMES, B, SIZE²) and labels (FRAMES, B)."""
    font = glyphs.digits()[rng.integers(10, size=count)]
    room = np.array([SIZE - glyphs.HEIGHT, SIZE - glyphs.WIDTH])
    place = rng.integers(1, room, size=(count, 2))
    speed = rng.choice([-1, 1], size=(count, 2)) * rng.integers([0, 1], 2, size=(count, 2))  # rows, columns
    frames = rng.random((FRAMES, count, SIZE, SIZE), np.float32) < 0.03
    labels = np.zeros((FRAMES, count), np.int64)
    row, column = np.arange(glyphs.HEIGHT)[:, None], np.arange(glyphs.WIDTH)
    for step in range(FRAMES):
        place = place + speed * (step > 0)
        frames[step][np.arange(count)[:, None, None], place[:, :1, None] + row, place[:, 1:, None] + column] |= font > 0
        hits = ((place == 0) & (speed < 0)) | ((place == room) & (speed > 0))
        speed = np.where(hits, -speed, speed)
        labels[step] = labels[max(step - 1, 0)] + hits.any(1)
    flat = frames.reshape(FRAMES, count, SIZE**2).astype(np.float32)
    return torch.from_numpy(flat), torch.from_numpy(labels.clip(max=MOST))


class Counter(nn.Module):  # type: ignore[misc]
    """An encoder of single frames, a recurrent layer or one without memory, and a readout."""

    def __init__(self, *, recurrent: bool) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(SIZE**2, ENCODED), nn.ReLU(), nn.Linear(ENCODED, ENCODED), nn.ReLU())
        self.recurrent = recurrent
        if recurrent:
            self.inner = rnn.Recurrent("lstm", ENCODED, HIDDEN)
        else:  # half as many parameters again
            self.inner = nn.Sequential(nn.Linear(ENCODED, 6 * HIDDEN), nn.ReLU(), nn.Linear(6 * HIDDEN, HIDDEN))
        self.label = nn.Linear(HIDDEN, MOST + 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Return logits (FRAMES, B, MOST + 1) for frames (FRAMES, B, SIZE²)."""
        inner = self.inner(self.encode(frames))
        return self.label(inner[0] if self.recurrent else inner)


def train(model: Counter, steps: int, title: str) -> Counter:
    """Train a model on clips that are made as they are needed; return it."""
    rng = np.random.default_rng(1)

    def loss(_: int) -> torch.Tensor:
        frames, labels = clips(rng, BATCH)
        return functional.cross_entropy(model(frames).flatten(0, 1), labels.flatten())

    return fit(model, loss, steps, title)


def right(model: nn.Module, frames: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of frames that a model labels as they are."""
    with torch.no_grad():
        return float((model(frames).argmax(-1) == labels).float().mean())


def draw(model: nn.Module, frames: torch.Tensor, labels: torch.Tensor, path: Path) -> None:
    """Draw one clip (FRAMES, SIZE²): every second frame, the label and the model's."""
    from matplotlib.figure import Figure as Sheet  # noqa: PLC0415

    with torch.no_grad():
        named = model(frames[:, None]).argmax(-1)[:, 0]
    sheet = Sheet(figsize=(12, 4.6), layout="constrained")
    all_axes = sheet.subplots(2, FRAMES // 4)
    for axes, step in zip(all_axes.flat, range(0, FRAMES, 2), strict=True):
        axes.imshow(frames[step].view(SIZE, SIZE), cmap="gray_r")
        axes.set(title=f"frame {step}: {int(named[step])} of {int(labels[step])}", xticks=[], yticks=[])
    sheet.suptitle("bounces that the model has counted, of those that were")
    sheet.savefig(path, dpi=80)


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train both models; return the shares of frames of new clips that they label as they are."""
    torch.manual_seed(0)
    steps, wanted = (150, 0.8) if quick else (1200, 0.98)
    held_out = clips(np.random.default_rng(2), 200 if quick else 500)
    recurrent = train(Counter(recurrent=True), steps, "recurrent")
    share = right(recurrent, *held_out)
    alone = right(train(Counter(recurrent=False), steps, "frame by frame"), *held_out)
    if pictures is not None:
        draw(recurrent, held_out[0][:, 0], held_out[1][:, 0], pictures / "video.png")
    return [
        Figure("frames right", share, f"> {wanted}", share > wanted),
        Figure("frames right without recurrence", alone, "< recurrent - 0.2", alone < share - 0.2),
    ]
