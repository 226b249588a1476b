"""DRAW: generate pictures in steps, through windows that move and zoom.

After Gregor et al., "DRAW: A Recurrent Neural Network For Image Generation" (2015), with its attention. A picture
shows a digit, anywhere. In every step the encoder reads a window of the picture and of what the canvas still lacks,
a latent vector is drawn from what it says, and the decoder adds a patch to the canvas through a window of its own. A
window is a grid of Gaussian filters, with a centre, a spacing and a width that the decoder chooses. The canvas feeds
back into the next step, so the two recurrent cells are called step by step. Two things make it draw: a patch adds ink
and takes none away, and the window for writing is smaller than a digit, which is thus written in strokes.

Beside DRAW stands a variational autoencoder that makes the whole picture in one step, of as many parameters and as many
latent numbers, trained on three times as many pictures, which takes no longer. What is compared is the bound on
-log p(picture): what the latent numbers cost, and the pixels given them. While either is trained that cost begins at a
small part of itself ("KL annealing", Bowman et al. 2016), or the numbers that say which digit it is are never used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

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
ROWS = ("DRAW",)

SIZE = 16  # of a picture
STEPS = 6
WINDOW = 5  # filters along each axis of a window
WIDEST = 1.2  # pixels from one filter to the next when writing, at most
LATENT = 12  # numbers drawn in each step
HIDDEN = 128
BATCH = 64

Model = TypeVar("Model", bound=nn.Module)


def pictures_of(rng: np.random.Generator, count: int) -> torch.Tensor:
    """Return pictures (B, SIZE, SIZE) of 0 and 1: a digit anywhere."""
    digits = glyphs.digits()[rng.integers(10, size=count)]
    rows = rng.integers(SIZE - glyphs.HEIGHT + 1, size=(count, 1, 1)) + np.arange(glyphs.HEIGHT)[:, None]
    columns = rng.integers(SIZE - glyphs.WIDTH + 1, size=(count, 1, 1)) + np.arange(glyphs.WIDTH)
    images = np.zeros((count, SIZE, SIZE), np.float32)
    images[np.arange(count)[:, None, None], rows, columns] = digits
    return torch.from_numpy(images)


class Window:
    """A grid of WINDOW by WINDOW Gaussian filters (section 3.2 of the paper), from five numbers for each picture."""

    def __init__(self, numbers: torch.Tensor, widest: float = (SIZE - 1) / (WINDOW - 1)) -> None:
        centre_y, centre_x, log_variance, spacing, log_strength = numbers.split(1, 1)  # (B, 1) each
        self.spacing = spacing.sigmoid() * widest
        self.rows, self.places_y = self._filters(centre_y, log_variance)
        self.columns, self.places_x = self._filters(centre_x, log_variance)
        self.strength = log_strength.exp()[:, :, None]

    def _filters(self, centre: torch.Tensor, log_variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return filters (B, WINDOW, SIZE), each of sum 1, and where their centres are (B, WINDOW)."""
        places = (centre + 1) * (SIZE - 1) / 2 + (torch.arange(WINDOW) - (WINDOW - 1) / 2) * self.spacing
        distances = torch.arange(SIZE) - places[:, :, None]
        filters = torch.exp(-distances.square() / (2 * log_variance.exp()[:, :, None]))
        return filters / (filters.sum(2, keepdim=True) + 1e-6), places

    def read(self, images: torch.Tensor) -> torch.Tensor:
        """Return a patch (B, WINDOW²) of pictures (B, SIZE, SIZE)."""
        return (self.strength * (self.rows @ images @ self.columns.mT)).flatten(1)

    def write(self, patches: torch.Tensor) -> torch.Tensor:
        """Return a picture (B, SIZE, SIZE) of patches (B, WINDOW²)."""
        return self.rows.mT @ patches.view(-1, WINDOW, WINDOW) @ self.columns / self.strength


class Draw(nn.Module):  # type: ignore[misc]
    """Draws a picture in STEPS steps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = rnn.LSTMCell(2 * WINDOW**2 + HIDDEN, HIDDEN)
        self.decoder = rnn.LSTMCell(LATENT, HIDDEN)
        self.latent = nn.Linear(HIDDEN, 2 * LATENT)
        self.read_window, self.write_window = nn.Linear(HIDDEN, 5), nn.Linear(HIDDEN, 5)
        self.patch = nn.Linear(HIDDEN, WINDOW**2)
        with torch.no_grad():
            self.read_window.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 2.0, 0.0]))  # begins as large as the picture
            self.write_window.bias.copy_(torch.tensor([0.0, 0.0, -1.0, 0.0, -1.5]))  # sharp and strong
        self.start = nn.Parameter(torch.full((1,), -4.0))  # the canvas: what a pixel is before the first step

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last canvas (B, SIZE, SIZE), as logits, and the latent numbers' cost in nats (B,)."""
        canvas = self.start.expand_as(images)
        cost = torch.zeros(len(images))
        encoder, (h, c) = None, self._zeros(len(images))
        for _ in range(STEPS):
            window = Window(self.read_window(h))
            seen = torch.cat([window.read(images), window.read(images - canvas.sigmoid()), h], 1)
            encoder = self.encoder(seen, encoder)
            z, nats = drawn(self.latent(encoder[0]))
            h, c = self.decoder(z, (h, c))
            canvas = canvas + self._ink(h)[0]
            cost = cost + nats
        return canvas, cost

    def generate(self, count: int) -> list[tuple[torch.Tensor, Window]]:
        """Return the canvas after each step of pictures made from nothing, and the window it was written through."""
        h, c = self._zeros(count)
        canvas = self.start.expand(count, SIZE, SIZE)
        steps = []
        for _ in range(STEPS):
            h, c = self.decoder(torch.randn(count, LATENT), (h, c))
            ink, window = self._ink(h)
            canvas = canvas + ink
            steps.append((canvas.sigmoid(), window))
        return steps

    def _ink(self, h: torch.Tensor) -> tuple[torch.Tensor, Window]:
        """Return what a state (B, HIDDEN) adds to the canvas (B, SIZE, SIZE), and through which window."""
        window = Window(self.write_window(h), WIDEST)
        return window.write(functional.softplus(self.patch(h))), window

    @staticmethod
    def _zeros(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(count, HIDDEN), torch.zeros(count, HIDDEN)


class OneStep(nn.Module):  # type: ignore[misc]
    """A variational autoencoder with two hidden layers on either side: the whole picture at once."""

    def __init__(self, width: int) -> None:
        super().__init__()
        pixels, latent = SIZE**2, STEPS * LATENT
        self.encoder = mlp(pixels, width, 2 * latent)
        self.decoder = mlp(latent, width, pixels)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the picture as logits, and the latent numbers' cost in nats (B,)."""
        z, nats = drawn(self.encoder(images.flatten(1)))
        return self.decoder(z).view_as(images), nats


def mlp(inputs: int, width: int, outputs: int) -> nn.Module:
    """Return a network with two hidden layers."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def drawn(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a draw from normal distributions, given as means and log deviations (B, 2N), and its KL cost (B,)."""
    mean, log_deviation = numbers.chunk(2, 1)
    deviation = log_deviation.exp()
    cost = 0.5 * (mean.square() + deviation.square() - 1) - log_deviation
    return mean + deviation * torch.randn_like(mean), cost.sum(1)


def bound(model: nn.Module, images: torch.Tensor, weight: float = 1) -> torch.Tensor:
    """Return the bound on -log p in nats per picture, mean over pictures; with a weight of the latent numbers' cost."""
    logits, cost = model(images)
    pixels = functional.binary_cross_entropy_with_logits(logits, images, reduction="none").sum((1, 2))
    return (pixels + weight * cost).mean()


def size(model: nn.Module) -> int:
    """Return how many parameters a model has."""
    return sum(parameter.numel() for parameter in model.parameters())


def train(model: Model, steps: int, title: str) -> Model:
    """Train a model on pictures that are made as they are needed; return it."""
    rng = np.random.default_rng(1)

    def loss(step: int) -> torch.Tensor:
        return bound(model, pictures_of(rng, BATCH), weight=min(1, 0.05 + 1.6 * step / steps))

    return fit(model, loss, steps, title, clip=10)


def show(model: Draw, path: Path) -> None:
    """Draw how eight pictures come to be: a row for each, a column for each step, the window in red."""
    from matplotlib.figure import Figure as Sheet  # noqa: PLC0415
    from matplotlib.patches import Rectangle  # noqa: PLC0415

    with torch.no_grad():
        steps = model.generate(8)
    sheet = Sheet(figsize=(STEPS * 1.3, 10.4), layout="constrained")
    all_axes = sheet.subplots(8, STEPS)
    for step, (canvas, window) in enumerate(steps):
        for axes, image, y, x in zip(all_axes[:, step], canvas, window.places_y, window.places_x, strict=True):
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            corner = float(x[0]) - 0.5, float(y[0]) - 0.5
            sides = float(x[-1] - x[0]) + 1, float(y[-1] - y[0]) + 1
            axes.add_patch(Rectangle(corner, *sides, fill=False, color="tab:red"))
            axes.set(xticks=[], yticks=[], xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))
    for step, axes in enumerate(all_axes[0], start=1):
        axes.set_title(f"step {step}")
    sheet.savefig(path, dpi=80)


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train both models; return their bounds on new pictures."""
    torch.manual_seed(0)
    steps, margin = (90, 4) if quick else (3000, 0)
    held_out = pictures_of(np.random.default_rng(2), 1000)
    draw = Draw()
    width = next(width for width in range(1, 1000) if size(OneStep(width)) >= size(draw))
    train(draw, steps, "DRAW")
    one_step = train(OneStep(width), 3 * steps, "one step")
    with torch.no_grad():
        nats, of_one_step = float(bound(draw, held_out)), float(bound(one_step, held_out))
    if pictures is not None:
        show(draw, pictures / "draw.png")
    wanted = f"< one step - {margin}" if margin else "< one step"
    return [
        Figure(f"bound of {STEPS} steps, nats per picture", nats, wanted, nats < of_one_step - margin),
        Figure("bound of one step, as many parameters", of_one_step, "to compare with", ok=True),
    ]
