"""min-char-rnn twice: on rnnkernels and on plain NumPy, side by side.

    python -m examples min_char_rnn                                             # on this file, and on four letters
    python -m examples.min_char_rnn [--text FILE] [--iterations N] [--apart]    # on any text, with losses and samples

The setting is that of Andrej Karpathy's min-char-rnn ("The Unreasonable Effectiveness of Recurrent
Neural Networks", 2015): a vanilla network of 100 units reads a text character by character, 25 at a
time, and predicts the next one; weights begin as 0.01 times normal numbers, biases as zeros; each
element of the gradient is clipped to [-5, 5]; Adagrad with learning rate 0.1 and 1e-8 under the
root; the state is carried from one window to the next and reset at the end of the text. What the
network writes is drawn before a window, from its state and first character on, 200 characters.

Both programs begin with the same float64 weights, read the same windows and take turns. After each
window their losses and their new weights are compared, and the NumPy one takes over the other's, so
that every window compares two full training steps from the same point. With --apart each goes on
from its own weights. On a natural text they then part after some ten windows, as the NumPy program
parts from itself when one weight is moved by one rounding: Adagrad's first steps are almost 0.1 in
every weight however small its gradient, they throw the network far into saturation, and there
training is chaotic. On a calm text (four different letters, say) both go the same way for as long
as one likes.

The NumPy program is a careful one: it looks up columns instead of multiplying one-hot vectors, and
keeps whatever it can out of its loop over steps.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

import rnnkernels as rk
from rnnkernels import optim

from .figures import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = npt.NDArray[Any]

ROWS = ("min-char-rnn",)

UNITS = 100  # H
STEPS = 25  # T
RATE = 0.1
UNDER_THE_ROOT = 1e-8
CLIP = 5.0


class Step(NamedTuple):
    """One training step: the loss before it, and seconds for the recurrence and for all of it."""

    loss: float
    recurrence: float
    total: float


class Pair(NamedTuple):
    """Both programs' step on one window, and how far apart their weights are after it."""

    kernels: Step
    plain: Step
    gap: float
    sample: str = ""  # what the network on the kernels writes before the step, where it was asked


class MinCharRNN(ABC):
    """What the two programs share: the output layer, and the order of things. V characters."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.params = {
            "weight_ih": 0.01 * rng.normal(size=(UNITS, vocabulary)),  # (H, V)
            "weight_hh": 0.01 * rng.normal(size=(UNITS, UNITS)),  # (H, H)
            "weight_ho": 0.01 * rng.normal(size=(vocabulary, UNITS)),  # (V, H)
            "bias_h": np.zeros(UNITS),  # (H,)
            "bias_o": np.zeros(vocabulary),  # (V,)
        }
        self.h = np.zeros(UNITS)

    def reset(self) -> None:
        """Forget the text read so far."""
        self.h = np.zeros(UNITS)

    def train(self, inputs: Array, targets: Array) -> Step:
        """Learn from one window of tokens (T,)."""
        times = [time.perf_counter()]
        h = self._forward(inputs)  # (T, H)
        times.append(time.perf_counter())
        logits = h @ self.params["weight_ho"].T + self.params["bias_o"]  # (T, V)
        loss, d_logits = cross_entropy(logits, targets)
        d_h = d_logits @ self.params["weight_ho"]  # (T, H)
        times.append(time.perf_counter())
        gradient = self._backward(d_h)
        times.append(time.perf_counter())
        gradient["weight_ho"] = d_logits.T @ h
        gradient["bias_o"] = d_logits.sum(axis=0)
        self._update(gradient)
        times.append(time.perf_counter())
        return Step(loss, times[1] - times[0] + times[3] - times[2], times[4] - times[0])

    @abstractmethod
    def _forward(self, inputs: Array) -> Array:
        """Read tokens (T,) on from the state: h (T, H) after each."""

    @abstractmethod
    def _backward(self, d_h: Array) -> dict[str, Array]:
        """Give the gradients of weight_ih, weight_hh and bias_h from that of h (T, H)."""

    @abstractmethod
    def _update(self, gradient: dict[str, Array]) -> None:
        """Clip and take Adagrad's step."""

    @abstractmethod
    def squares(self) -> dict[str, Array]:
        """Adagrad's sums of squares."""


class OnKernels(MinCharRNN):
    """The recurrence and its gradient, clipping and Adagrad by rnnkernels."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        super().__init__(vocabulary, seed)
        self.layer = {
            "weight_ih": self.params["weight_ih"],
            "weight_hh": self.params["weight_hh"],
            "bias_ih": self.params["bias_h"],
            "bias_hh": np.zeros(UNITS),  # min-char-rnn has one bias: this one is not trained
        }
        self.optimizer = optim.Adagrad(self.params, RATE, eps=0, initial_accumulator_value=UNDER_THE_ROOT)

    def _forward(self, inputs: Array) -> Array:
        self.run = rk.forward("rnn_tanh", inputs[:, None], self.layer, (self.h[None],))
        self.h = self.run.state[0][0]
        return self.run.output[:, 0]

    def _backward(self, d_h: Array) -> dict[str, Array]:
        found = rk.backward(self.run, d_h[:, None]).params
        return {"weight_ih": found["weight_ih"], "weight_hh": found["weight_hh"], "bias_h": found["bias_ih"]}

    def _update(self, gradient: dict[str, Array]) -> None:
        optim.clip_by_value(gradient, CLIP)
        self.optimizer.step(gradient)

    def sample(self, first: int, count: int, rng: np.random.Generator) -> list[int]:
        """Write tokens, each drawn from the softmax of the logits after the one before, from the state on."""
        stepper = rk.Prepared("rnn_tanh", self.layer, tokens=True).stepper(1, (self.h[None],))
        readout = rk.Readout.of(self.params["weight_ho"], self.params["bias_o"])
        token, written = np.array([first]), []
        for _ in range(count):
            token = readout.sample(stepper(token), rng=rng)
            written.append(int(token[0]))
        return written

    def squares(self) -> dict[str, Array]:
        """Copy the optimiser's."""
        state = self.optimizer.state_dict()
        return {name: state[f"sum.{name}"] for name in self.params}


class OnNumPy(MinCharRNN):
    """The same from the equations: h_t = tanh(W_ih e_x + W_hh h_(t-1) + b)."""

    def __init__(self, vocabulary: int, seed: int) -> None:
        super().__init__(vocabulary, seed)
        self._squares = {name: np.full_like(p, UNDER_THE_ROOT) for name, p in self.params.items()}

    def _forward(self, inputs: Array) -> Array:
        from_input = self.params["weight_ih"].T[inputs] + self.params["bias_h"]  # (T, H)
        weight = self.params["weight_hh"]
        self.inputs = inputs
        self.states = np.empty((len(inputs) + 1, UNITS))  # [t] comes before step t
        self.states[0] = self.h
        for t in range(len(inputs)):
            self.states[t + 1] = np.tanh(from_input[t] + weight @ self.states[t])
        self.h = self.states[-1]
        return self.states[1:]

    def _backward(self, d_h: Array) -> dict[str, Array]:
        slope = 1 - self.states[1:] ** 2  # of tanh, (T, H)
        transposed = np.ascontiguousarray(self.params["weight_hh"].T)
        d_sum = np.empty_like(d_h)  # gradient of what tanh is applied to
        carried = np.zeros(UNITS)
        for t in reversed(range(len(d_h))):
            d_sum[t] = slope[t] * (d_h[t] + carried)
            carried = transposed @ d_sum[t]
        weight_ih = np.zeros_like(self.params["weight_ih"])
        np.add.at(weight_ih.T, self.inputs, d_sum)
        return {"weight_ih": weight_ih, "weight_hh": d_sum.T @ self.states[:-1], "bias_h": d_sum.sum(axis=0)}

    def _update(self, gradient: dict[str, Array]) -> None:
        for name, g in gradient.items():
            clipped = np.clip(g, -CLIP, CLIP)
            self._squares[name] += clipped * clipped
            self.params[name] -= RATE * clipped / np.sqrt(self._squares[name])

    def squares(self) -> dict[str, Array]:
        """Give them as they are."""
        return self._squares

    def take_over(self, other: MinCharRNN) -> None:
        """Go on from where the other one is."""
        self.params = {name: p.copy() for name, p in other.params.items()}
        self._squares = {name: s.copy() for name, s in other.squares().items()}
        self.h = other.h.copy()


def cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Sum the loss of all steps; also its gradient with respect to the logits (T, V)."""
    rows = np.arange(len(targets))
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(shifted)
    total = p.sum(axis=1, keepdims=True)
    loss = float((np.log(total[:, 0]) - shifted[rows, targets]).sum())
    p /= total
    p[rows, targets] -= 1
    return loss, p


def race(
    text: str, iterations: int, *, apart: bool = False, seed: int = 0, every: int = 0, length: int = 200
) -> Iterator[Pair]:
    """Train both programs on a text of at least 26 characters; each so many windows there is a sample of a length."""
    if len(text) <= STEPS:
        raise ValueError(f"text: expected at least {STEPS + 1} characters, got {len(text)}")
    characters = sorted(set(text))
    number = {character: k for k, character in enumerate(characters)}
    drawing = np.random.default_rng(seed)
    tokens = np.array([number[character] for character in text])
    kernels, plain = OnKernels(len(number), seed), OnNumPy(len(number), seed)
    at = 0
    for k in range(iterations):
        if at + STEPS >= len(tokens):
            at = 0
            kernels.reset()
            plain.reset()
        inputs, targets = tokens[at : at + STEPS], tokens[at + 1 : at + STEPS + 1]
        written = kernels.sample(inputs[0], length, drawing) if every and k % every == 0 else []
        steps = kernels.train(inputs, targets), plain.train(inputs, targets)
        gap = max(float(np.abs(p - plain.params[name]).max()) for name, p in kernels.params.items())
        yield Pair(*steps, gap, "".join(characters[token] for token in written))
        if not apart:
            plain.take_over(kernels)
        at += STEPS


def run(*, quick: bool = False, pictures: Path | None = None) -> list[Figure]:
    """Race on this file window by window, and on four letters drawn at random with each program left alone."""
    del pictures
    iterations = 100 if quick else 1000
    text = Path(__file__).read_text(encoding="utf-8")
    calm = "".join(np.random.default_rng(0).choice(list("acgt"), 20_001))
    natural, alone = list(race(text, iterations)), list(race(calm, iterations, apart=True, seed=1))
    first, uniform = natural[0].kernels.loss, STEPS * math.log(len(set(text)))
    ours, plain = (np.median([getattr(pair, of).total for pair in natural]) for of in Pair._fields[:2])
    gaps = [max(abs(pair.kernels.loss - pair.plain.loss) for pair in pairs) for pairs in (natural, alone)]
    return [
        Figure(f"largest gap of losses in {iterations} windows of source", gaps[0], "< 1e-9", gaps[0] < 1e-9),
        Figure(f"the same, {iterations} windows of four letters, left alone", gaps[1], "< 1e-9", gaps[1] < 1e-9),
        Figure("first loss", first, f"25 ln V = {uniform:.3f} within 0.01", abs(first - uniform) < 0.01),
        Figure("times as fast as NumPy, a whole step", float(plain / ours), "printed", True),
    ]


def main() -> None:
    """Run the race and print it."""
    parser = argparse.ArgumentParser(description="min-char-rnn on rnnkernels and on plain NumPy, side by side")
    parser.add_argument("--text", type=Path, default=Path(argparse.__file__), help="default: argparse.py's source")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--sample", type=int, default=200, help="characters of the samples; 0: none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--apart", action="store_true", help="each program goes on from its own weights")
    arguments = parser.parse_args()
    if arguments.iterations < 1:
        parser.error("--iterations: expected at least 1")
    if arguments.sample < 0:
        parser.error("--sample: expected at least 0")
    every = max(1, arguments.iterations // 10)
    try:
        text = arguments.text.read_text(encoding="utf-8")
        sampling = {"every": every if arguments.sample else 0, "length": arguments.sample}
        steps = race(text, arguments.iterations, apart=arguments.apart, seed=arguments.seed, **sampling)
        expected = STEPS * math.log(len(set(text)))
        print(f"{arguments.text}: {len(text)} characters, {len(set(text))} different; 25 ln V = {expected:.4f}")
        print("                 loss of 25 characters             weights")
        print("iteration   kernels     NumPy   difference   largest difference")
        done = []
        for k, pair in enumerate(steps):
            done.append(pair)
            if pair.sample:
                print(f"----\n{pair.sample}\n----")
            if k % every == 0 or k == arguments.iterations - 1:
                ours, plain = pair.kernels.loss, pair.plain.loss
                print(f"{k:9d}  {ours:8.4f}  {plain:8.4f}   {abs(ours - plain):10.2e}   {pair.gap:18.2e}", flush=True)
    except (OSError, ValueError) as error:
        sys.exit(f"{arguments.text}: {error}")
    worst, gap = max(abs(p.kernels.loss - p.plain.loss) for p in done), max(p.gap for p in done)
    print(f"  largest                       {worst:10.2e}   {gap:18.2e}")
    recent = [pair.kernels.loss / STEPS for pair in done[-200:]]
    print(f"loss per character over the last {len(recent)} windows: {np.mean(recent):.3f} nats")
    for title, of in (("recurrence, both ways", "recurrence"), ("whole training step", "total")):
        ours = np.median([getattr(pair.kernels, of) for pair in done]) * 1e6
        plain = np.median([getattr(pair.plain, of) for pair in done]) * 1e6
        print(f"{title}: kernels {ours:.0f} us, NumPy {plain:.0f} us, {plain / ours:.1f} times as fast (medians)")


if __name__ == "__main__":
    main()
