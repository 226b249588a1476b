"""Captions of scenes: soft attention, hard attention, the mean of all places, one vector for the whole picture.

The task: name every object of a picture with one to four of them ("red circle upper left and white ring bottom right").
A caption is right when it is well formed and its objects are those of the scene, in any order. Sources: Xu et al. 2015,
"Show, attend and tell"; without attention Karpathy and Fei-Fei 2015, h = tanh(W_xh x + W_hh h + W_ih v).

All four are one recurrence, tanh, of the same size on the same features (`vision`), trained on the same captions. They
differ in the places that are looked at. `soft` and `hard` see the grid. `none` sees one vector v = V a of all features
a, and `mean` sees the mean over the places of relu(M a_i). With one place its weight is 1, and the recurrence is that
without attention; `none` then has the most parameters, as V is larger than what the attention is made of. `hard`
learns where to look by REINFORCE: a place's reward is the log-probability of the words from that step on, less its
moving average; as in the paper a part of its batches is soft, here all at first and none at last; it is given half as
many steps again. Shown: captions that are right, how often the attention's peak lies on the named object, how much of
the attention lies there; pictures of where each model looks at each word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

import rnnkernels.torch as rnn

from .figures import Figure
from .scenes import COLOURS, COLUMNS, PLACES, SHAPES, SIDE, Array, Scenes, draw
from .scenes import ROWS as LINES
from .training import fit
from .vision import FEATURES, features, trained

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ("RNN with attention", "image captioning without attention", "hard attention")
NEEDS = ("torch",)

WORDS = ("<start>", "<end>", "and", *COLOURS, *SHAPES, *LINES, *COLUMNS)
START, END, AND = range(3)
NUMBER = {word: k for k, word in enumerate(WORDS)}
EACH = 5  # words of an object, with the "and" or the end that follows them
MOST = 4  # objects
HIDDEN, BATCH = 128, 64


def captions(scenes: Scenes) -> tuple[Array, Array]:
    """Return the words (T, B) of scenes' captions, with ends after the end, and how many of them count (B,)."""
    places = (LINES, scenes.place // SIDE), (COLUMNS, scenes.place % SIDE)
    parts = [
        np.array([NUMBER[word] for word in words])[index]
        for words, index in ((COLOURS, scenes.colour), (SHAPES, scenes.shape), *places)
    ]
    words = np.stack([*parts, np.full_like(parts[0], AND)], axis=2).reshape(len(scenes.number), -1).T
    lengths = scenes.number * EACH
    return np.where(np.arange(len(words))[:, None] < lengths - 1, words, END), lengths


def named(words: list[str]) -> set[tuple[str, ...]] | None:
    """Return the objects that a caption names; None where it is not well formed, or names one twice."""
    said = words[: words.index("<end>")] if "<end>" in words else []
    objects = [tuple(said[k : k + EACH - 1]) for k in range(0, len(said), EACH)]
    kinds = (COLOURS, SHAPES, LINES, COLUMNS)
    well = len(said) % EACH == EACH - 1 and set(said[EACH - 1 :: EACH]) <= {"and"}
    well = well and all(word in kind for words in objects for word, kind in zip(words, kinds, strict=True))
    return set(objects) if well and len(set(objects)) == len(objects) else None


class Captioner(torch.nn.Module):  # type: ignore[misc]
    """The recurrence that looks and writes; `look` is one of none, mean, soft, hard."""

    def __init__(self, look: str) -> None:
        super().__init__()
        whole = {"none": PLACES * FEATURES, "mean": FEATURES}.get(look)
        self.look = look
        self.summary: Any = None if whole is None else torch.nn.Linear(whole, FEATURES)
        self.recurrence = rnn.AttentionRecurrent(
            "rnn_tanh", len(WORDS), FEATURES, HIDDEN, gated=True, hard=look == "hard"
        )
        self.readout = torch.nn.Linear(HIDDEN, len(WORDS))

    def places(self, grid: torch.Tensor) -> torch.Tensor:
        """Return what is looked at, (B, L, D) or (B, 1, D), of the features of all places."""
        if self.look == "none":
            return self.summary(grid.flatten(1)).unsqueeze(1)
        return self.summary(grid).relu().mean(1, keepdim=True) if self.look == "mean" else grid

    def forward(self, words: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Return the log-probabilities (T, B) of captions' words, and where they were looked for."""
        before = torch.cat([torch.full_like(words[:1], START), words[:-1]])
        h, _, attention = self.recurrence(before, self.places(grid))
        loss = torch.nn.functional.cross_entropy(self.readout(h).flatten(0, 1), words.flatten(), reduction="none")
        return -loss.view(words.shape), attention

    def write(self, grid: torch.Tensor) -> list[list[str]]:
        """Return captions, written word by word; of hard attention with places drawn by one seed."""
        seed = 0 if self.look == "hard" else None
        step = self.recurrence.stepper(self.places(grid).detach(), seed=seed)
        word, said = torch.full((len(grid),), START), []
        for _ in range(EACH * MOST):
            word = self.readout(step(word)).argmax(1)
            said.append(word)
        return [[WORDS[k] for k in row] for row in torch.stack(said, 1).tolist()]


class Data(NamedTuple):
    """Scenes, their features (B, L, D), and captions (T, B) with their lengths (B,)."""

    scenes: Scenes
    grid: torch.Tensor
    words: torch.Tensor
    lengths: Array

    @classmethod
    def of(cls, scenes: Scenes, encoder: Any) -> Data:
        """Return the data of scenes."""
        words, lengths = captions(scenes)
        return cls(scenes, features(encoder, scenes), torch.from_numpy(words), lengths)


def train(look: str, data: Data, steps: int, most: int) -> Captioner:
    """Return a model that has learnt to write captions; in the first third scenes of few objects come first."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    model, reinforce = Captioner(look), rnn.Reinforce(EACH * MOST)

    def loss(step: int) -> torch.Tensor:
        done = step / steps
        objects = min(most, 1 + int(3 * done * most))
        share = data.scenes.number * (data.scenes.number <= objects)  # as often as it has objects
        rows = rng.choice(len(share), BATCH, p=share / share.sum())
        words = data.words[: EACH * objects, rows]
        model.recurrence.hard = look == "hard" and rng.random() < done
        there = torch.from_numpy(np.arange(len(words))[:, None] < data.lengths[rows])  # (T, B)
        log_p, attention = model(words, data.grid[rows])
        gain = (log_p * there).sum()
        if model.recurrence.hard:
            gain = gain - reinforce(attention, log_p, entropy=0.01 * (1 - done), mask=there)
        return -gain / there.sum()

    fit(model, loss, steps, f"captions, {look}", lr=5e-3)
    model.recurrence.hard = look == "hard"
    return model


def exact(model: Captioner, data: Data) -> Array:
    """Return which captions (B,) name what is in the scene and nothing else."""
    truths = [[WORDS[k] for k in column] for column in data.words.T.tolist()]
    written = model.write(data.grid)
    return np.array([named(said) == named(true) for said, true in zip(written, truths, strict=True)])


def pointing(model: Captioner, data: Data) -> tuple[float, float]:
    """Return how often the peak of the attention, and how much of it, lies on an object while it is named.

    Looked at are the words for its colour and its shape, with the scene's caption as input.
    """
    with torch.no_grad():
        weights = model(data.words, data.grid)[1].weights.numpy()
    row, k = np.nonzero(data.scenes.place >= 0)
    place = data.scenes.place[row, k]
    at = [weights[EACH * k + word, row] for word in (0, 1)]
    peak = np.mean([w.argmax(1) == place for w in at])
    return float(peak), float(np.mean([w[np.arange(len(row)), place] for w in at]))


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train all four and compare; in quick form soft attention alone, on scenes of one or two objects."""
    most, steps = (2, 300) if quick else (MOST, 3000)
    encoder = trained(100 if quick else 200)
    data = Data.of(draw(np.random.default_rng(2), 1024 if quick else 24576, 1, most), encoder)
    fresh = Data.of(draw(np.random.default_rng(3), 512 if quick else 1024, 1, most), encoder)
    looks = ("soft",) if quick else ("soft", "hard", "mean", "none")
    models = {look: train(look, data, steps * 3 // 2 if look == "hard" else steps, most) for look in looks}
    right = {look: exact(model, fresh) for look, model in models.items()}
    share = {look: float(found.mean()) for look, found in right.items()}
    attention, without, hard = ROWS
    peak, mass = pointing(models["soft"], fresh)
    bound, points = (0.5, 0.6) if quick else (0.95, 0.9)
    figures = [
        Figure("soft: exact captions", share["soft"], f"> {bound}", share["soft"] > bound, attention),
        Figure("soft: peak on the named object", peak, f">= {points}", peak >= points, attention),
        Figure("soft: attention on the named object", mass, "> 0.5", mass > 0.5, attention),
    ]
    if not quick:
        full = {look: float(found[fresh.scenes.number == MOST].mean()) for look, found in right.items()}
        beaten = full["none"] < full["soft"] - 0.1
        peak, mass = pointing(models["hard"], fresh)
        figures += [
            Figure("mean of places: exact captions", share["mean"], "< soft", share["mean"] < share["soft"], attention),
            Figure("none: exact captions", share["none"], "> 0.2", share["none"] > 0.2, without),
            Figure("none: exact, four objects", full["none"], f"< soft: {full['soft']:.3f}", beaten, without),
            Figure("hard: exact captions", share["hard"], "> 0.6", share["hard"] > 0.6, hard),
            Figure("hard: peak on the named object", peak, "> 0.8", peak > 0.8, hard),
        ]
    if pictures is not None:
        for look in {"soft", "hard"} & set(models):
            _maps(models[look], fresh, pictures / f"captions-{look}.png")
    return figures


def _maps(model: Captioner, data: Data, file: Path, scenes: int = 3) -> None:
    """Draw where the model looks at each word of a few captions: the picture, brighter where the attention is."""
    from matplotlib import figure  # noqa: PLC0415 - optional

    with torch.no_grad():
        weights = model(data.words, data.grid)[1].weights.numpy()
    rows = np.flatnonzero(data.scenes.number == data.scenes.number.max())[:scenes]
    steps = int(data.lengths[rows[0]])
    page = figure.Figure(figsize=(1.1 * (steps + 1), 1.5 * len(rows)))
    axes = page.subplots(len(rows), steps + 1, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        picture = data.scenes.pictures[row].transpose(1, 2, 0).clip(0, 1)
        cell = len(picture) // SIDE
        for t, ax in enumerate(line):
            light = np.ones_like(picture[..., :1])
            if t > 0:
                alpha = weights[t - 1, row].reshape(SIDE, SIDE)
                light = 0.25 + 0.75 * np.kron(alpha / alpha.max(), np.ones((cell, cell)))[..., None]
            ax.imshow((picture * light + 0.3 * (light - 0.25) * (t > 0)).clip(0, 1))
            ax.set_title("" if t == 0 else WORDS[int(data.words[t - 1, row])], fontsize=8)
            ax.axis("off")
    page.savefig(file, dpi=120, bbox_inches="tight")
