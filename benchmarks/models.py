"""Models as people train them, with torch.nn's recurrent layers and with ours in their place: losses and speed.

`python -m benchmarks models [--threads N] [--out FILE.jsonl]`

`language_model`: an AWD-LSTM (Merity et al., arXiv 1708.02182) in small: three LSTMs, DropConnect on their recurrent
weights, one dropout mask for all steps, tied embedding. `tagger`: a bidirectional LSTM over packed sentences of many
lengths. `actor_critic`: a GRU over an environment's steps, its state reset where an episode ends; with torch.nn that
is a loop of GRUCell, with ours one call. Data is made here. The two must have the same loss curve before a speed is
printed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import rnnkernels as rk
import rnnkernels.torch as rnn

from . import machine, results
from .arguments import parse
from .measure import alternate

STEPS = 20  # of training, whose losses are compared
# Curves of float32 drift apart by rounding, which training amplifies a little.
TOLERANCE = 1e-3

# One step of training: the loss.
Step = Callable[[], float]


class WeightDropout(nn.Module):  # type: ignore[misc]
    """DropConnect, as a parametrization of a weight; a mask is drawn for each batch."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight))

    def draw(self) -> None:
        self.mask = nn.functional.dropout(torch.ones_like(self.mask), 0.3, self.training)

    def forward(self, weight: Any) -> Any:
        return weight * self.mask


class LanguageModel(nn.Module):  # type: ignore[misc]
    """Tokens (T, B) to logits (T, B, V)."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.layers = nn.ModuleList([nn.LSTM(embedding, hidden), nn.LSTM(hidden, hidden), nn.LSTM(hidden, embedding)])
        for layer in self.layers:
            dropout = WeightDropout(layer.weight_hh_l0)
            nn.utils.parametrize.register_parametrization(layer, "weight_hh_l0", dropout)

    def forward(self, tokens: Any) -> Any:
        x = self.embedding(tokens)
        for layer in self.layers:
            layer.parametrizations["weight_hh_l0"][0].draw()
            mask = nn.functional.dropout(torch.ones_like(x[:1]), 0.2, self.training)
            x, _ = layer(x * mask)
        return x @ self.embedding.weight.T


class Tagger(nn.Module):  # type: ignore[misc]
    """Tokens (B, T) and lengths to logits of the packed rows (N, tags)."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, tags: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.recurrent = nn.LSTM(embedding, hidden, num_layers=2, bidirectional=True, batch_first=True, dropout=0.2)
        self.tags = nn.Linear(2 * hidden, tags)

    def forward(self, tokens: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        return self.tags(self.recurrent(packed)[0].data)


class ActorCritic(nn.Module):  # type: ignore[misc]
    """Observations (T, B, I) and episode ends (T, B) to logits of actions and values."""

    def __init__(self, observation: int, hidden: int, actions: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(observation, hidden)
        self.actor, self.critic = nn.Linear(hidden, actions), nn.Linear(hidden, 1)

    def forward(self, observations: Any, resets: Any) -> Any:
        h = observations.new_zeros(observations.shape[1], self.cell.hidden_size)
        hidden = []
        for x, reset in zip(observations, resets, strict=True):
            h = self.cell(x, h * ~reset[:, None])
            hidden.append(h)
        features = torch.stack(hidden)
        return self.actor(features), self.critic(features)


class ActorCriticAtOnce(ActorCritic):
    """The same with one call of ours for all steps."""

    def __init__(self, observation: int, hidden: int, actions: int) -> None:
        super().__init__(observation, hidden, actions)
        layer = rnn.Recurrent("gru", observation, hidden)
        layer.load_state_dict({f"{name}_l0": value for name, value in self.cell.state_dict().items()})
        self.cell = layer

    def forward(self, observations: Any, resets: Any) -> Any:
        features, _ = self.cell(observations, resets=resets)
        return self.actor(features), self.critic(features)


@dataclass(frozen=True)
class Size:
    """How large a model and its batches are."""

    steps: int
    batch: int
    hidden: int


SIZES = {"language_model": Size(70, 20, 256), "tagger": Size(60, 32, 128), "actor_critic": Size(128, 32, 128)}
SMALL = {"language_model": Size(6, 3, 12), "tagger": Size(7, 4, 6), "actor_critic": Size(9, 4, 8)}


def language_model(ours: bool, size: Size) -> Step:
    model = LanguageModel(500, size.hidden // 2, size.hidden)
    if ours:
        rnn.swap(model)
    torch.manual_seed(1)
    tokens = torch.randint(500, (size.steps + 1, size.batch))
    tokens[1::2] = (tokens[:-1:2] * 7 + 3) % 500  # half of it can be learnt
    return trainer(model, lambda: nn.functional.cross_entropy(model(tokens[:-1]).flatten(0, 1), tokens[1:].flatten()))


def tagger(ours: bool, size: Size) -> Step:
    model = Tagger(1000, size.hidden, size.hidden, 12)
    if ours:
        rnn.swap(model)
    torch.manual_seed(1)
    tokens = torch.randint(1000, (size.batch, size.steps))
    lengths = torch.randint(1, size.steps + 1, (size.batch,))
    pack = nn.utils.rnn.pack_padded_sequence
    tags = pack((tokens % 12).unsqueeze(-1), lengths, batch_first=True, enforce_sorted=False).data.squeeze(-1)
    return trainer(model, lambda: nn.functional.cross_entropy(model(tokens, lengths), tags))


def actor_critic(ours: bool, size: Size) -> Step:
    model = (ActorCriticAtOnce if ours else ActorCritic)(24, size.hidden, 6)
    torch.manual_seed(1)
    observations = torch.randn(size.steps, size.batch, 24)
    resets = torch.rand(size.steps, size.batch) < 0.02
    actions = torch.randint(6, (size.steps, size.batch))
    returns = torch.randn(size.steps, size.batch, 1)

    def loss() -> Any:
        logits, values = model(observations, resets)
        advantages = (returns - values).detach()
        chosen = logits.log_softmax(-1).gather(-1, actions[..., None])
        return (returns - values).square().mean() - (chosen * advantages).mean()

    return trainer(model, loss)


MODELS: dict[str, Callable[[bool, Size], Step]] = {
    "language_model": language_model,
    "tagger": tagger,
    "actor_critic": actor_critic,
}


def trainer(model: Any, loss_of: Callable[[], Any]) -> Step:
    """A function that takes one step of Adam and returns the loss before it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    def step() -> float:
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def build(name: str, ours: bool, size: Size) -> Step:
    """A model's training step; both sides start from the same parameters and data."""
    torch.manual_seed(0)
    return MODELS[name](ours, size)


def curves(name: str, size: Size, steps: int = STEPS) -> tuple[list[float], list[float]]:
    """Losses with torch.nn's layers and with ours."""
    found = []
    for ours in (False, True):
        step = build(name, ours, size)
        torch.manual_seed(1)
        found.append([step() for _ in range(steps)])
    return found[0], found[1]


def main(arguments: Sequence[str]) -> int:
    args = parse("models", "Models, with torch.nn's layers and with ours.", arguments, default_seconds=3.0)
    rk.set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    run = results.new_run(machine.describe())
    lines = [run]
    print("a training step with torch.nn's layers over one with ours")
    for name, size in SIZES.items():
        theirs, ours = curves(name, size)
        apart = max(abs(a - b) / abs(a) for a, b in zip(theirs, ours, strict=True))
        if not apart < TOLERANCE:
            raise RuntimeError(f"{name}: the losses differ by {apart:.1e}")
        timings = alternate({"torch": build(name, False, size), "ours": build(name, True, size)}, seconds=args.seconds)
        times = {who: timing.median for who, timing in timings.items()}
        line = {"kind": "models", "run": run["run"], "what": name, "mode": "training", "threads": args.threads}
        line |= {"shape": [size.steps, size.batch, size.hidden], "instruction_set": rk.instruction_set()}
        line |= {"medians": times, "ratio": times["torch"] / times["ours"], "losses_apart": apart}
        line |= {"losses": [theirs[0], theirs[-1]]}
        lines.append(line)
        print(
            f"{name:15} T{size.steps} B{size.batch} H{size.hidden}: {line['ratio']:.2f}"
            f"  (loss {theirs[0]:.3f} to {theirs[-1]:.3f}, apart by {apart:.0e})",
            flush=True,
        )
    if args.out:
        results.merge(args.out, lines)
    return 0
