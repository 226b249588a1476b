"""REINFORCE's term: the sum that its docstring says, what moves its baseline, and a place that it makes be found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import rnnkernels.torch as rnn  # noqa: E402

T, B, L = 4, 3, 5


def looked(seed: int = 0, lengths: Any = None) -> Any:
    torch.manual_seed(seed)
    layer = rnn.AttentionRecurrent("gru", 2, 3, 4, hard=True).double()
    x, features = torch.randn(T, B, 2).double(), torch.randn(B, L, 3).double()
    return layer, layer(x, features, seed=seed, lengths=lengths)[2]


@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_it_is_the_sum_that_is_said(lengths: Any) -> None:
    layer, attention = looked(lengths=lengths)
    reward = torch.randn(T, B).double()
    reinforce = rnn.Reinforce(T + 2, discount=0.3, momentum=0.8)
    reinforce.average += torch.arange(T + 2) / 4
    before = reinforce.average.clone().numpy()
    term = reinforce(attention, reward, entropy=0.7)
    there = np.ones((T, B), bool) if lengths is None else np.arange(T)[:, None] < np.array(lengths)
    alpha, log_p, r = attention.weights.detach().numpy(), attention.log_probs.detach().numpy(), reward.numpy() * there
    wanted, means = 0.0, np.zeros(T)
    for t in range(T):
        gains = []
        for b in range(B):
            if not there[t, b]:
                continue
            gains.append(sum(0.3 ** (k - t) * r[k, b] for k in range(t, T)) - before[t])
            some = alpha[t, b][alpha[t, b] > 0]
            wanted -= gains[-1] * log_p[t, b] - 0.7 * (some * np.log(some)).sum()
        means[t] = np.mean(gains) if gains else 0
    assert term.item() == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(reinforce.average[:T], before[:T] + 0.2 * means, rtol=1e-5)
    np.testing.assert_array_equal(reinforce.average[T:], before[T:])
    term.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())


def test_its_baseline_rests_in_eval_mode_and_is_saved() -> None:
    _, attention = looked()
    reinforce = rnn.Reinforce(T)
    reinforce(attention, torch.ones(T, B).double())
    other = rnn.Reinforce(T).eval()
    other.load_state_dict(reinforce.state_dict())
    other(attention, torch.zeros(T, B).double())
    assert bool((other.average == reinforce.average).all())
    assert float(reinforce.average[0]) > 0


def test_a_step_that_is_masked_counts_nothing() -> None:
    _, attention = looked()
    reward, mask = torch.randn(T, B).double(), torch.ones(T, B, dtype=torch.bool)
    mask[1] = False
    other = reward.clone()
    other[1] = torch.nan
    terms = [rnn.Reinforce(T)(attention, r, entropy=0.1, mask=mask) for r in (reward, other)]
    assert terms[0] == terms[1]


def test_it_finds_the_place_that_pays() -> None:
    """One place of five has what the reward is for."""
    torch.manual_seed(3)
    layer, reinforce = rnn.AttentionRecurrent("rnn_tanh", 0, 2, 4, hard=True), rnn.Reinforce(1)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    right = torch.arange(16) % L
    features = torch.nn.functional.one_hot((torch.arange(L) == right[:, None]).long(), 2).float()  # (B, L, 2)
    for _ in range(60):
        _, _, attention = layer(torch.zeros(1, 16, 0), features)
        term = reinforce(attention, (attention.places == right).float(), entropy=0.01)
        optimizer.zero_grad()
        term.backward()
        optimizer.step()
    assert float((attention.places == right).float().mean()) > 0.9


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reward": torch.zeros(T, B + 1)}, ValueError, r"reward: expected shape \(T, B\) = \(4, 3\), got \(4, 4\)"),
        ({"mask": torch.ones(T, B)}, TypeError, "mask: expected booleans, got torch.float32"),
        ({"attention": rnn.Attention(torch.zeros(1), torch.zeros(1))}, ValueError, "attention: expected that of hard"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], error: type[Exception], message: str) -> None:
    _, attention = looked()
    given = {"attention": attention, "reward": torch.zeros(T, B).double()} | change
    with pytest.raises(error, match=f"^{message}"):
        rnn.Reinforce(T)(**given)
    with pytest.raises(ValueError, match=r"^reward: expected at most steps = 2 steps, got 4"):
        rnn.Reinforce(2)(attention, torch.zeros(T, B))
    with pytest.raises(ValueError, match=r"^discount: expected 0 to 1, got 2"):
        rnn.Reinforce(2, discount=2)
