"""An interpolated n-gram model of characters: the baseline that a recurrent network has to beat.

Modified Kneser-Ney smoothing, interpolated (Chen and Goodman 1998, "An empirical study of smoothing techniques for
language modeling", section 3.3 and eq. 26):

    p_n(w | h) = max(c(h w) - D(c(h w)), 0) / c(h) + gamma(h) p_{n-1}(w | h'),      p_0 = 1 / V

where h' is h without its first character, c counts occurrences in the highest order and distinct left neighbours
in the lower ones, D(c) is D1, D2 or D3+ for c = 1, 2 or more, and gamma(h) is what the discounts set free. A context
that was never seen gives p_{n-1}.

`python -m rnnkernels.charlm.ngram` measures it on the standard library's source. n-grams are 64-bit numbers in
base V, kept in sorted arrays: no dictionaries, some seconds for ten million characters.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_integer, as_number
from rnnkernels.parameters import as_generator

from .corpus import read_path, standard_library
from .vocabulary import Vocabulary, as_tokens

__all__ = ["NGram"]

Int = npt.NDArray[np.int64]
Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Order:
    """The tables of one order n: its n-grams, and their contexts of n - 1 characters."""

    grams: Int  # (N,) sorted codes of the distinct n-grams
    kept: Float  # (N,) (count - discount) / count of the context
    contexts: Int  # (M,) sorted codes of the distinct contexts
    gamma: Float  # (M,) the mass each context leaves to the order below


class NGram:
    """An interpolated, modified Kneser-Ney n-gram model over tokens.

    Parameters
    ----------
    tokens : (N,) array of int
        The training text.
    vocabulary_size : int
        V; tokens lie in [0, V).
    order : int
        n: a character is predicted from the n - 1 before it.

    Raises
    ------
    ValueError
        If the text is shorter than n, or V**n does not fit 63 bits.
    """

    def __init__(self, tokens: npt.ArrayLike, vocabulary_size: int, order: int = 6) -> None:
        order = as_integer("order", order, 1, 62)
        vocabulary_size = as_integer("vocabulary_size", vocabulary_size, 1)
        if vocabulary_size**order >= 2**63:
            raise ValueError(f"vocabulary_size: expected V >= 1 and V**{order} < 2**63, got V = {vocabulary_size}")
        self.vocabulary_size = vocabulary_size
        self.order = order
        codes = self._codes(_as_tokens(tokens, vocabulary_size), order)
        if not codes.size:
            raise ValueError(f"tokens: expected at least {order}, got fewer")
        grams, counts = np.unique(codes, return_counts=True)
        self._orders: list[_Order] = []  # index n - 1
        for n in range(order, 0, -1):
            self._orders.insert(0, _smooth(grams, counts, vocabulary_size))
            # Each distinct n-gram is one left neighbour of its last n - 1 characters.
            grams, counts = np.unique(grams % vocabulary_size ** (n - 1), return_counts=True)

    def _codes(self, tokens: Int, length: int) -> Int:
        """Return the (N - length + 1,) codes of all windows of `length` tokens, first token most significant."""
        count = max(len(tokens) - length + 1, 0)
        codes = np.zeros(count, dtype=np.int64)
        for i in range(length):
            codes *= self.vocabulary_size
            codes += tokens[i : i + count]
        return codes

    def _probabilities(self, codes: Int, known: int) -> Float:
        """Return p(last | the `known` - 1 tokens before it) for codes of `known` tokens."""
        p = np.full(codes.shape, 1 / self.vocabulary_size)
        for n, table in enumerate(self._orders[:known], start=1):
            gram = codes % self.vocabulary_size**n
            seen, at = _find(table.contexts, gram // self.vocabulary_size)
            p[seen] *= table.gamma[at]
            seen, at = _find(table.grams, gram)
            p[seen] += table.kept[at]
        return p

    def loss(self, tokens: npt.ArrayLike, chunk: int = 1 << 18) -> float:
        """Return the mean negative log probability in nats of every token that has n - 1 tokens before it.

        Raises
        ------
        ValueError
            If there is no such token.
        """
        chunk = as_integer("chunk", chunk, 1)
        codes = self._codes(_as_tokens(tokens, self.vocabulary_size), self.order)
        if not codes.size:
            raise ValueError(f"tokens: expected at least {self.order}, got fewer")
        parts = (codes[i : i + chunk] for i in range(0, len(codes), chunk))
        return float(-sum(np.log(self._probabilities(part, self.order)).sum() for part in parts) / len(codes))

    def distribution(self, context: npt.ArrayLike) -> Float:
        """Return p(. | context), shape (V,); of a long context the last n - 1 tokens count."""
        tail = _as_tokens(context, self.vocabulary_size, "context")
        tail = tail[max(len(tail) - self.order + 1, 0) :]
        code = self._codes(tail, len(tail))[0] * self.vocabulary_size
        return self._probabilities(code + np.arange(self.vocabulary_size), len(tail) + 1)

    def sample(
        self,
        prime: npt.ArrayLike,
        *,
        temperature: float = 1.0,
        length: int = 500,
        seed: int | np.random.Generator | None = None,
    ) -> list[int]:
        """Continue `prime` by `length` tokens; token 0 (unknown) is never drawn.

        Raises
        ------
        ValueError
            If the temperature is not above 0, or a token is out of range.
        """
        temperature = as_number("temperature", temperature)
        if not temperature > 0:
            raise ValueError(f"temperature: expected a number above 0, got {temperature!r}")
        length = as_integer("length", length, 0)
        rng = as_generator("seed", seed)
        tokens: list[int] = _as_tokens(prime, self.vocabulary_size, "prime").tolist()
        start = len(tokens)
        for _ in range(length):
            cumulative = (self.distribution(tokens[-self.order :])[1:] ** (1 / temperature)).cumsum()
            drawn = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
            tokens.append(1 + min(int(drawn), len(cumulative) - 1))
        return tokens[start:]


def _as_tokens(tokens: npt.ArrayLike, vocabulary_size: int, name: str = "tokens") -> Int:
    array = as_tokens(name, tokens, vocabulary_size)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a 1-D array of integers, got {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _find(table: Int, keys: Int) -> tuple[npt.NDArray[np.bool_], Int]:
    """Return which keys are in a sorted table, and where those are."""
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    seen = table[at] == keys
    return seen, at[seen]


def _smooth(grams: Int, counts: Int, vocabulary_size: int) -> _Order:
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    contexts, first = np.unique(grams // vocabulary_size, return_index=True)  # sorted grams: contexts are runs
    total = np.add.reduceat(counts, first).astype(np.float64)
    gamma = np.add.reduceat(discounts, first) / total
    lengths = np.diff(np.append(first, len(grams)))
    return _Order(grams, (counts - discounts) / np.repeat(total, lengths), contexts, gamma)


def _discounts(counts: Int) -> Float:
    """Return D(0), D1, D2, D3+ from the counts of counts (Chen and Goodman 1998, eq. 26)."""
    n1, n2, n3, n4 = (int((counts == i).sum()) for i in (1, 2, 3, 4))
    if not (n1 and n2 and n3):  # too little text to estimate from: absolute discounting by a half
        return np.array([0.0, 0.5, 0.5, 0.5])
    y = n1 / (n1 + 2 * n2)
    estimates = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    return np.array([0.0, *(min(max(d, 0.0), i) for i, d in enumerate(estimates, start=1))])


def main(argv: list[str] | None = None) -> int:
    """Print the validation loss of n-gram models of the standard library's source, or of another text."""
    parser = argparse.ArgumentParser(prog="python -m rnnkernels.charlm.ngram", description=main.__doc__)
    parser.add_argument("--text", help="a text file or folder instead of the standard library")
    parser.add_argument("--order", type=int, nargs="+", default=[6])
    parser.add_argument("--limit", type=int, default=3_000_000, help="characters of training text (0: all)")
    parser.add_argument("--valid-fraction", type=float, default=0.05)
    parser.add_argument("--min-count", type=int, default=10)
    options = parser.parse_args(argv)
    corpus = read_path(options.text) if options.text else standard_library()
    whole = corpus.split(options.valid_fraction)
    text = corpus.split(options.valid_fraction, options.limit or None)
    vocabulary = Vocabulary.from_text(whole.train, options.min_count)  # the network's, whatever the limit
    train, valid = vocabulary.encode(text.train), vocabulary.encode(text.valid)
    sys.stdout.write(
        f"{len(train):,} characters to train on, {len(valid):,} to validate on, vocabulary {vocabulary.size}\n"
    )
    for order in options.order:
        model = NGram(train, vocabulary.size, order)
        sys.stdout.write(f"{order}-gram, modified Kneser-Ney: {model.loss(valid):.4f} nats per character\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
