"""Glimpses: name the digit of a cluttered picture by looking at a few places.

After Mnih et al., "Recurrent Models of Visual Attention" (2014), and Ba et al., "Multiple Object Recognition with
Visual Attention" (2015). A picture of 48 by 48 pixels shows one digit somewhere, and pieces of others around it. The
model sees a blur of all of it, in 12 by 12 pixels, and three sharp patches of 12 by 12. A recurrent cell gathers what
the patches show; its state, as a query to the features of the blur, says where to look next. That place is drawn from
a softmax, so no gradient passes through it. The policy learns by REINFORCE: the reward of a place is the log
probability that the model gives to the right digit after the looks that follow, less its mean over the batch.

Beside the model stand the same model with places that are drawn from anywhere, and a network that sees one sharp window
in the middle, of as many pixels as the blur and the patches together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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
ROWS = ("glimpses",)

SIZE = 48  # of a picture
BLUR = 4  # one pixel of the blurred picture stands for BLUR² pixels, and is a place to look at
GRID = SIZE // BLUR
PATCH = 12  # of a look
LOOKS = 3
WINDOW = 24  # WINDOW² = GRID² + LOOKS · PATCH²
HIDDEN = 128
KEYS = 16
BATCH = 128


def pictures_of(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures (B, SIZE, SIZE) and the digits in them (B,)."""
    font = glyphs.digits()
    labels = rng.integers(10, size=count)
    images = np.zeros((count, SIZE, SIZE), np.float32)
    for _ in range(8):
        part = font[rng.integers(10, size=count)]
        top, left = rng.integers(glyphs.HEIGHT - 2), rng.integers(glyphs.WIDTH - 2)
        paste(rng, images, part[:, top : top + 3, left : left + 3])
    paste(rng, images, font[labels])
    return torch.from_numpy(images), torch.from_numpy(labels)


def paste(rng: np.random.Generator, images: np.ndarray, parts: np.ndarray) -> None:
    """Write one part (B, height, width) into each picture (B, SIZE, SIZE), anywhere."""
    count, height, width = parts.shape
    rows = rng.integers(SIZE - height + 1, size=(count, 1, 1)) + np.arange(height)[:, None]
    columns = rng.integers(SIZE - width + 1, size=(count, 1, 1)) + np.arange(width)
    images[np.arange(count)[:, None, None], rows, columns] = parts


def look(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Return PATCH by PATCH pixels (B, PATCH²) around places (B,) of the grid; beyond the picture all is 0."""
    offsets = torch.arange(PATCH) - (PATCH - BLUR) // 2
    rows = (places // GRID * BLUR)[:, None] + offsets  # (B, PATCH)
    columns = (places % GRID * BLUR)[:, None] + offsets
    inside = ((rows >= 0) & (rows < SIZE))[:, :, None] & ((columns >= 0) & (columns < SIZE))[:, None]
    at = rows.clamp(0, SIZE - 1)[:, :, None] * SIZE + columns.clamp(0, SIZE - 1)[:, None]
    return images.flatten(1).gather(1, at.flatten(1)) * inside.flatten(1)


class Seen(NamedTuple):
    """What a model did with some pictures."""

    logits: torch.Tensor  # (LOOKS, B, 10) after each look
    places: torch.Tensor  # (LOOKS, B) of the grid
    log_probs: torch.Tensor  # (LOOKS, B) of the places
    entropies: torch.Tensor  # (LOOKS, B)


class Looker(nn.Module):  # type: ignore[misc]
    """Looks, remembers, and chooses the next place."""

    def __init__(self, *, anywhere: bool = False) -> None:
        super().__init__()
        self.anywhere = anywhere
        self.keys = nn.Sequential(nn.Conv2d(2, KEYS, 3, padding=1), nn.ReLU(), nn.Conv2d(KEYS, KEYS, 1))
        self.encode = nn.Sequential(nn.Linear(PATCH**2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.cell = rnn.RecurrentCell("lstm", HIDDEN, HIDDEN)
        self.query, self.name = nn.Linear(HIDDEN, KEYS), nn.Linear(HIDDEN, 10)

    def forward(self, images: torch.Tensor) -> Seen:
        """Look at pictures (B, SIZE, SIZE); in evaluation at the most likely places."""
        count = len(images)
        blurred = functional.avg_pool2d(images[:, None], BLUR)
        visited = torch.zeros(count, GRID**2)
        state = (torch.zeros(count, HIDDEN), torch.zeros(count, HIDDEN))
        steps = []
        for _ in range(LOOKS):
            keys = self.keys(torch.cat([blurred, visited.view_as(blurred)], 1)).flatten(2)  # (B, KEYS, GRID²)
            scores = torch.einsum("bk,bki->bi", self.query(state[0]), keys) * (not self.anywhere)
            chances = torch.distributions.Categorical(logits=scores)
            places = chances.sample() if self.training or self.anywhere else scores.argmax(1)
            state = self.cell(self.encode(look(images, places)), state)
            visited = visited.scatter(1, places[:, None], 1.0)
            steps.append((self.name(state[0]), places, chances.log_prob(places), chances.entropy()))
        return Seen(*map(torch.stack, zip(*steps, strict=True)))


class Fixed(nn.Module):  # type: ignore[misc]
    """Sees one sharp window in the middle of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.name = nn.Sequential(
            nn.Linear(WINDOW**2, 256), nn.ReLU(), nn.Linear(256, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 10)."""
        edge = (SIZE - WINDOW) // 2
        return self.name(images[:, edge : edge + WINDOW, edge : edge + WINDOW].flatten(1))


def loss_of(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss whose gradient trains a model: cross entropy, and for places REINFORCE's."""
    seen = model(images)
    if isinstance(seen, torch.Tensor):
        return functional.cross_entropy(seen, labels)
    cross = functional.cross_entropy(seen.logits.flatten(0, 1), labels.repeat(LOOKS), reduction="none").view(LOOKS, -1)
    reward = -cross.detach().flip(0).cumsum(0).flip(0)  # of a place: what comes after it
    advantage = (reward - reward.mean(1, keepdim=True)) / reward.std(1, keepdim=True)
    return cross.mean() - (advantage * seen.log_probs).mean() - 0.02 * seen.entropies.mean()


def train(model: nn.Module, steps: int, title: str) -> nn.Module:
    """Train a model on pictures that are made as they are needed; return it."""
    rng = np.random.default_rng(1)
    return fit(model, lambda _: loss_of(model, *pictures_of(rng, BATCH)), steps, title, clip=5).eval()


def right(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of pictures whose digit a model names."""
    with torch.no_grad():
        seen: Any = model(images)
    logits = seen if isinstance(seen, torch.Tensor) else seen.logits[-1]
    return float((logits.argmax(1) == labels).float().mean())


def draw(model: nn.Module, images: torch.Tensor, path: Path) -> None:
    """Draw the paths of the looks over some pictures."""
    from matplotlib.figure import Figure as Sheet  # noqa: PLC0415
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    with torch.no_grad():
        seen = model(images)
    sheet = Sheet(figsize=(12, 6.4), layout="constrained")
    all_axes = sheet.subplots(2, 4)
    for axes, image, places, logits in zip(all_axes.flat, images, seen.places.T, seen.logits[-1], strict=True):
        axes.imshow(image, cmap="gray_r")
        rows, columns = places // GRID * BLUR + BLUR / 2 - 0.5, places % GRID * BLUR + BLUR / 2 - 0.5
        axes.plot(columns, rows, "-o", color="tab:red", alpha=0.6)
        for look_number, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True), start=1):
            corner = (column - PATCH / 2, row - PATCH / 2)
            axes.add_patch(Rectangle(corner, PATCH, PATCH, fill=False, color="tab:red"))
            axes.annotate(str(look_number), corner, color="tab:red", va="bottom")
        axes.set(title=f"named {int(logits.argmax())}", xticks=[], yticks=[])
        axes.set(xlim=(-4, SIZE + 3), ylim=(SIZE + 3, -4))
    sheet.savefig(path, dpi=80)


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train the three models; return the shares of new pictures whose digit each names."""
    torch.manual_seed(0)
    steps, margin = (240, 0.2) if quick else (1000, 0.4)
    held_out = pictures_of(np.random.default_rng(2), 500 if quick else 4000)
    looker = train(Looker(), steps, "learnt places")
    learnt = right(looker, *held_out)
    fixed = right(train(Fixed(), steps, "fixed window"), *held_out)
    figures = [
        Figure("named, three looks", learnt, f"> fixed + {margin}", learnt > fixed + margin),
        Figure("named, a fixed window of as many pixels", fixed, "to compare with", ok=True),
    ]
    if not quick:
        anywhere = right(train(Looker(anywhere=True), steps, "places anywhere"), *held_out)
        figures.append(Figure("named, looks anywhere", anywhere, f"< learnt - {margin}", anywhere < learnt - margin))
    if pictures is not None:
        draw(looker, held_out[0][:8], pictures / "glimpses.png")
    return figures
