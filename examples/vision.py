"""A small convolutional encoder: pictures of `scenes` to a grid of features, one vector a place. No example itself.

As in Xu et al. 2015 the encoder learns first, on another task - what stands at each place -, and is then left as it
is, so that all models that look at its features look at the same.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from .progress import bar
from .scenes import COLOURS, PLACES, SHAPES, SIDE, Array, Scenes, draw

__all__ = ["FEATURES", "features", "trained"]

_WHAT = 54
FEATURES = _WHAT + 2 * SIDE
"""D: what a place looks like, and where it is: its row and its column, one-hot."""

_BATCH = 64


class Encoder(torch.nn.Module):  # type: ignore[misc]
    """Three convolutions, each of half the size; a place sees its own cell and a part of its neighbours'."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16), (16, 32), (32, _WHAT)
        self.layers = torch.nn.ModuleList(torch.nn.Conv2d(*width, 3, stride=2, padding=1) for width in widths)
        self.norm = torch.nn.LayerNorm(_WHAT)
        place = torch.arange(PLACES)
        grid = torch.nn.functional.one_hot(torch.stack([place // SIDE, place % SIDE], 1), SIDE)
        self.register_buffer("where", grid.flatten(1).float(), persistent=False)  # (L, 2*SIDE)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the features (B, L, D) of pictures (B, 3, H, W)."""
        x = pictures
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        what = self.norm(self.layers[-1](x).flatten(2).transpose(1, 2)).relu()
        return torch.cat([what, self.where.expand(len(what), -1, -1)], dim=2)


@functools.cache  # two examples look at its features
def trained(steps: int) -> Encoder:
    """Return an encoder that has learnt to say what stands at each place: nothing, or which shape of which colour."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    encoder, readout = Encoder(), torch.nn.Linear(FEATURES, 1 + len(COLOURS) * len(SHAPES))
    optimizer = torch.optim.Adam([*encoder.parameters(), *readout.parameters()], 5e-3)
    for _ in bar(range(steps), "encoder"):
        scenes = draw(rng, _BATCH, 4, 10)
        logits = readout(encoder(torch.from_numpy(scenes.pictures)))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(_kinds(scenes)).flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.requires_grad_(False)
    return encoder


def features(encoder: Encoder, scenes: Scenes) -> torch.Tensor:
    """Return the features (B, L, D) of many scenes, a few at a time."""
    pictures = torch.from_numpy(scenes.pictures).split(256)
    with torch.no_grad():
        return torch.cat([encoder(part) for part in pictures])


def _kinds(scenes: Scenes) -> Array:
    """Return for each place (B, L) 0, or a number for the colour and the shape that stand there."""
    kinds = np.zeros((len(scenes.number), PLACES), np.int64)
    row, k = np.nonzero(scenes.place >= 0)
    kinds[row, scenes.place[row, k]] = 1 + scenes.colour[row, k] * len(SHAPES) + scenes.shape[row, k]
    return kinds
