"""Questions about scenes, multiple choice: attention over the picture while the question is read.

The task: "what shape is the red thing ?", "which row is the circle in ?"; of four answers one is right. The wrong ones
are of the same kind, and of colours and shapes they are those of the scene's other objects, so that neither the
question nor the picture says enough. After Zhu et al. 2016, "Visual7W": an LSTM reads the question and looks at the
grid of features (`vision`) at every word; its last state is compared with the four answers. The question-only baseline
is the same model on a blank picture. Shown: right answers of both; how often the peak of the attention lies on the
object that is asked for when the question ends; a picture of where it looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

import rnnkernels.torch as rnn

from .figures import Figure
from .scenes import COLOURS, COLUMNS, SHAPES, SIDE, Array, Scenes, draw
from .scenes import ROWS as LINES
from .training import fit
from .vision import FEATURES, features, trained

if TYPE_CHECKING:
    from pathlib import Path

ROWS = ("visual question answering",)
NEEDS = ("torch",)

KINDS = (COLOURS, SHAPES, LINES, COLUMNS)
ANSWERS = tuple(word for kind in KINDS for word in kind)
ASKING = ("what", "which", "colour", "shape", "row", "column", "is", "the", "thing", "in", "?")
WORDS = ("<pad>", *ASKING, *COLOURS, *SHAPES)
NUMBER = {word: k for k, word in enumerate(WORDS)}
LONGEST = 8  # words: which row is the red thing in ?
CHOICES = 4
HIDDEN, BATCH = 128, 64


class Questions(NamedTuple):
    """Questions about scenes, one each.

    Attributes
    ----------
    words : Tensor of int64 (T, B)
    lengths : Tensor of int64 (B,)
    choices : Tensor of int64 (B, CHOICES)
        Indices of ANSWERS.
    right : Tensor of int64 (B,)
        Which of the choices is.
    place : ndarray (B,)
        Of the object that is asked for.
    """

    words: torch.Tensor
    lengths: torch.Tensor
    choices: torch.Tensor
    right: torch.Tensor
    place: Array


def ask(scenes: Scenes, rng: np.random.Generator) -> Questions:
    """Return a question about an object of each scene: of a colour, or of a shape, that no other has."""
    rows = np.arange(len(scenes.number))
    truths = np.stack([scenes.colour, scenes.shape, scenes.place // SIDE, scenes.place % SIDE], axis=2)  # (B, N, kinds)
    wanted = rng.integers(len(KINDS), size=len(rows))  # the kind of the answer
    by = np.where(wanted < 2, 1 - wanted, rng.integers(2, size=len(rows)))  # how the object is called: colour or shape
    asked = rng.integers(scenes.number)
    texts = [_text(w, b, KINDS[b][name]) for w, b, name in zip(wanted, by, truths[rows, asked, by], strict=True)]
    words = np.zeros((LONGEST, len(rows)), np.int64)
    for row, text in enumerate(texts):
        words[: len(text), row] = [NUMBER[word] for word in text]
    answer = truths[rows, asked, wanted]
    choices = np.array(
        [_choices(w, a, truths[row, :, w], rng) for row, (w, a) in enumerate(zip(wanted, answer, strict=True))]
    )
    return Questions(
        torch.from_numpy(words),
        torch.tensor([len(text) for text in texts]),
        torch.from_numpy(choices + np.cumsum([0, *map(len, KINDS)])[wanted, None]),
        torch.from_numpy((choices == answer[:, None]).argmax(1)),
        scenes.place[rows, asked],
    )


def _text(wanted: int, by: int, name: str) -> list[str]:
    thing = f"{name} thing" if by == 0 else name
    kind = ("colour", "shape", "row", "column")[wanted]
    return (f"what {kind} is the {thing} ?" if wanted < 2 else f"which {kind} is the {thing} in ?").split()


def _choices(wanted: int, answer: int, there: Array, rng: np.random.Generator) -> Array:
    """Return the answer and others of its kind, in random order: colours and shapes that are `there` come first."""
    others = rng.permutation(len(KINDS[wanted]))
    if wanted < 2:
        others = others[np.argsort(~np.isin(others, there), kind="stable")]
    return rng.permutation([answer, *others[others != answer][: CHOICES - 1]])


class Reader(torch.nn.Module):  # type: ignore[misc]
    """The recurrence that reads and looks, and vectors of the answers."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrence = rnn.AttentionRecurrent("lstm", len(WORDS), FEATURES, HIDDEN, scores="dot", attention_size=64)
        self.answers = torch.nn.Embedding(len(ANSWERS), HIDDEN)

    def forward(self, questions: Questions, grid: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Return logits of the choices (B, CHOICES), and where the words were read: features (B, L, D)."""
        _, (h, _), attention = self.recurrence(questions.words, grid, lengths=questions.lengths)
        return (self.answers(questions.choices) @ h.unsqueeze(2)).squeeze(2), attention


def train(title: str, scenes: Scenes, grid: torch.Tensor, steps: int) -> Reader:
    """Return a model that has learnt to answer questions; in the first half scenes of few objects come first."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model, most = Reader(), scenes.number.max()

    def loss(step: int) -> torch.Tensor:
        objects = min(most, 1 + int(2 * step / steps * most))
        rows = rng.choice(np.flatnonzero(scenes.number <= objects), BATCH)
        questions = ask(Scenes(*(part[rows] for part in scenes)), rng)
        logits, _ = model(questions, grid[rows])
        return torch.nn.functional.cross_entropy(logits, questions.right)

    return fit(model, loss, steps, f"questions, {title}", lr=5e-3)


def judge(model: Reader, questions: Questions, grid: torch.Tensor) -> tuple[float, float]:
    """Return the share of right answers, and how often the last look's peak lies on the object that is asked for."""
    with torch.no_grad():
        logits, attention = model(questions, grid)
    last = attention.weights[questions.lengths - 1, torch.arange(len(grid))]  # (B, L)
    right = (logits.argmax(1) == questions.right).float().mean()
    return float(right), float(np.mean(last.argmax(1).numpy() == questions.place))


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train on pictures, and on blank ones; in quick form for a shorter time, on scenes of one or two objects."""
    most, steps, count = (2, 300, 1024) if quick else (4, 800, 16384)
    encoder = trained(100 if quick else 200)
    scenes = draw(np.random.default_rng(1), count, 1, most, distinct=True)
    fresh = draw(np.random.default_rng(2), 512 if quick else 1024, most, most, distinct=True)
    grid, fresh_grid = features(encoder, scenes), features(encoder, fresh)
    questions = ask(fresh, np.random.default_rng(3))
    model = train("picture", scenes, grid, steps)
    right, points = judge(model, questions, fresh_grid)
    blank = train("no picture", scenes, torch.zeros_like(grid[:, :1]), steps // 4 if quick else steps)
    baseline, _ = judge(blank, questions, torch.zeros_like(fresh_grid[:, :1]))
    bound, sharp = (0.7, 0.5) if quick else (0.95, 0.9)
    if pictures is not None:
        _looks(model, fresh, questions, fresh_grid, pictures / "vqa.png")
    return [
        Figure("right answers of four", right, f"> {bound}", right > bound),
        Figure("question only: right answers", baseline, f"< {bound - 0.3:.2g}", baseline < bound - 0.3),
        Figure("peak on the asked object", points, f"> {sharp}", points > sharp),
    ]


def _looks(model: Reader, scenes: Scenes, questions: Questions, grid: torch.Tensor, file: Path) -> None:
    """Draw a few scenes with their questions and answers, brighter where the last look went."""
    from matplotlib import figure  # noqa: PLC0415 - optional

    with torch.no_grad():
        logits, attention = model(questions, grid)
    page = figure.Figure(figsize=(12, 3.6))
    for row, ax in enumerate(page.subplots(1, 4)):
        length = int(questions.lengths[row])
        alpha = attention.weights[length - 1, row].numpy().reshape(SIDE, SIDE)
        picture = scenes.pictures[row].transpose(1, 2, 0).clip(0, 1)
        cell = len(picture) // SIDE
        light = np.kron(alpha / alpha.max(), np.ones((cell, cell)))[..., None]
        ax.imshow((picture * (0.3 + 0.7 * light) + 0.2 * light).clip(0, 1))
        said = [ANSWERS[k] for k in questions.choices[row]]
        said[int(logits[row].argmax())] = f"[{said[int(logits[row].argmax())]}]"
        text = " ".join(WORDS[int(k)] for k in questions.words[:length, row])
        ax.set_title(f"{text}\n{'  '.join(said)}", fontsize=8)
        ax.axis("off")
    page.savefig(file, dpi=120, bbox_inches="tight")
