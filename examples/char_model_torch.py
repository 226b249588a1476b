"""The same character model in PyTorch: the same weights, the same batches, the same losses step for step.

    python -m examples.char_model_torch [--text FILE] [--steps N]

An LSTM with a softmax on top, once as a `Stack` and a `Readout` with `rnnkernels.optim`, once as torch.nn.LSTM and
torch.nn.Linear with torch.optim, both in float32. They begin with the same weights, read the same windows of a text and
take turns. Their losses must be the same but for rounding, which training amplifies a little. The ratio of their times
is printed; nothing depends on it. The text is a module of the standard library, or any file.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .figures import Figure
from .learner import Learner
from .progress import bar

Array = npt.NDArray[Any]

ROWS = ("character language model",)
NEEDS = ("torch",)

STEPS, BATCH, UNITS, RATE, CLIP = 64, 32, 128, 3e-3, 1.0


class Pair(NamedTuple):
    """Both programs' losses at one step, and the seconds they took."""

    ours: float
    theirs: float
    our_seconds: float
    their_seconds: float


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Train both side by side on argparse's source."""
    pairs = train_both(Path(argparse.__file__).read_text(encoding="utf-8"), 20 if quick else 300)
    if pictures is not None:
        draw(pairs, pictures / "char_model_torch.png")
    gap = max(abs(pair.ours - pair.theirs) for pair in pairs)
    ratio = times_as_fast(pairs)
    return [
        Figure(f"largest gap of the losses of {len(pairs)} steps beside PyTorch's", gap, "< 1e-4", gap < 1e-4),
        Figure("times as fast as PyTorch", ratio, "printed", ratio > 0),
    ]


def train_both(text: str, count: int) -> list[Pair]:
    """Train on `count` batches of windows that begin anywhere in the text."""
    letters = sorted(set(text))
    tokens = np.searchsorted(letters, list(text))
    rng = np.random.default_rng(0)
    learner = Learner("lstm", len(letters), UNITS, len(letters), lr=RATE, clip=CLIP)
    peer = Peer(learner)
    pairs = []
    for _ in bar(range(count), "both"):
        begin = rng.integers(len(tokens) - STEPS, size=BATCH)
        window = tokens[begin + np.arange(STEPS + 1)[:, None]]  # (T + 1, B)
        times = [time.perf_counter()]
        ours = learner.learn(window[:-1], window[1:])
        times.append(time.perf_counter())
        theirs = peer.learn(window[:-1], window[1:])
        times.append(time.perf_counter())
        pairs.append(Pair(ours, theirs, *np.diff(times)))
    return pairs


class Peer:
    """A `Learner`'s network, weights and optimiser, in PyTorch."""

    def __init__(self, learner: Learner) -> None:
        import torch  # noqa: PLC0415 - optional

        self.torch = torch
        stack, readout = learner.stack.params, learner.readout
        classes, hidden = readout.weight.shape
        self.layer = torch.nn.LSTM(classes, hidden)
        self.layer.load_state_dict({name: torch.tensor(array) for name, array in stack.items()})
        self.linear = torch.nn.Linear(hidden, classes)
        self.linear.load_state_dict({"weight": torch.tensor(readout.weight), "bias": torch.tensor(readout.bias)})
        self.params = [*self.layer.parameters(), *self.linear.parameters()]
        self.optimizer = torch.optim.Adam(self.params, RATE)

    def learn(self, x: Array, targets: Array) -> float:
        """Take one step on tokens (T, B); return the mean loss."""
        functional = self.torch.nn.functional
        inputs = functional.one_hot(self.torch.from_numpy(x), self.linear.out_features).float()
        logits = self.linear(self.layer(inputs)[0])
        loss = functional.cross_entropy(logits.flatten(0, 1), self.torch.from_numpy(targets).flatten())
        self.optimizer.zero_grad()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.params, CLIP)
        self.optimizer.step()
        return float(loss.detach())


def times_as_fast(pairs: list[Pair]) -> float:
    """Return how many times as long PyTorch took, by the medians of all steps."""
    return float(np.median([pair.their_seconds for pair in pairs]) / np.median([pair.our_seconds for pair in pairs]))


def draw(pairs: list[Pair], file: Path) -> None:
    """Draw both curves."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - optional

    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot([pair.ours for pair in pairs], linewidth=4, alpha=0.4, label="rnnkernels")
    axes.plot([pair.theirs for pair in pairs], linewidth=1, color="black", label="PyTorch")
    axes.set(xlabel="step", ylabel="nats per character")
    axes.legend()
    figure.savefig(file)
    plt.close(figure)


def main() -> None:
    """Train both on a text that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m examples.char_model_torch")
    parser.add_argument("--text", type=Path, default=Path(argparse.__file__), help="default: argparse.py's source")
    parser.add_argument("--steps", type=int, default=300)
    asked = parser.parse_args()
    pairs = train_both(asked.text.read_text(encoding="utf-8"), asked.steps)
    for step in range(0, len(pairs), max(1, len(pairs) // 10)):
        print(f"step {step:5}: {pairs[step].ours:.6f}, PyTorch {pairs[step].theirs:.6f}")
    gap = max(abs(pair.ours - pair.theirs) for pair in pairs)
    print(f"largest gap of {len(pairs)} steps: {gap:.1e}; {times_as_fast(pairs):.2f} times as fast as PyTorch")


if __name__ == "__main__":
    main()
