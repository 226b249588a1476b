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
import math
import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnkernels._scalars import as_integer

from .checks import as_integers, as_number, check_seed
from .command_line import Parser, named, number, say_error, whole
from .corpus import read_path, standard_library
from .vocabulary import Vocabulary

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
        If n is out of range (V**n has to fit 63 bits), or the text is shorter than n.
    """

    def __init__(self, tokens: npt.ArrayLike, vocabulary_size: int, order: int = 6) -> None:
        order = as_integer("order", order, 1)
        vocabulary_size = as_integer("vocabulary_size", vocabulary_size, 1)
        most = _longest(vocabulary_size)
        if order > most:
            raise ValueError(f"order: expected at most {most} for a vocabulary of {vocabulary_size}, got {order}")
        self.vocabulary_size = vocabulary_size
        self.order = order
        codes = self._codes(_as_tokens("tokens", tokens, vocabulary_size), order)
        if not codes.size:
            raise ValueError(f"tokens: expected at least {order} for that order, got {np.size(tokens)}")
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
        codes = self._codes(_as_tokens("tokens", tokens, self.vocabulary_size), self.order)
        if not codes.size:
            raise ValueError(f"tokens: expected at least {self.order} for that order, got {np.size(tokens)}")
        parts = (codes[i : i + chunk] for i in range(0, len(codes), chunk))
        return float(-sum(np.log(self._probabilities(part, self.order)).sum() for part in parts) / len(codes))

    def distribution(self, context: npt.ArrayLike) -> Float:
        """Return p(. | context), shape (V,); of a long context the last n - 1 tokens count."""
        tail = _as_tokens("context", context, self.vocabulary_size)
        tail = tail[max(len(tail) - self.order + 1, 0) :]
        code = (self._codes(tail, len(tail))[0] if len(tail) else 0) * self.vocabulary_size
        return self._probabilities(code + np.arange(self.vocabulary_size), len(tail) + 1)

    def sample(
        self,
        prime: npt.ArrayLike,
        *,
        temperature: float = 1.0,
        length: int = 500,
        seed: int | np.random.Generator | None = None,
    ) -> list[int]:
        """Continue `prime` by `length` tokens, at temperature 0 by the most likely; token 0 (unknown) is never drawn.

        Raises
        ------
        ValueError
            If the temperature is negative or not finite, or a token is out of range.
        """
        temperature = as_number("temperature", temperature, 0, math.inf, "a number of at least 0")
        length = as_integer("length", length, 0)
        check_seed("seed", seed)
        rng = np.random.default_rng(seed)
        tokens: list[int] = _as_tokens("prime", prime, self.vocabulary_size).tolist()
        start = len(tokens)
        for _ in range(length):
            p = self.distribution(tokens[-self.order :])[1:]
            if temperature == 0:
                tokens.append(1 + int(p.argmax()))
                continue
            with np.errstate(over="ignore", under="ignore"):  # at a temperature near 0: all but the highest are 0
                cumulative = ((p / p.max()) ** np.divide(1, temperature)).cumsum()
            drawn = np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")
            tokens.append(1 + min(int(drawn), len(cumulative) - 1))
        return tokens[start:]


def _longest(vocabulary_size: int) -> int:
    """Return the highest order whose n-grams fit 63 bits; of a vocabulary of one token, the number of those bits."""
    order = 1
    while order < 63 and vocabulary_size ** (order + 1) < 2**63:
        order += 1
    return order


def _as_tokens(name: str, tokens: npt.ArrayLike, vocabulary_size: int) -> Int:
    return as_integers(name, tokens, vocabulary_size).astype(np.int64)


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
    parser = Parser(prog="python -m rnnkernels.charlm.ngram", description=main.__doc__)
    parser.add_argument("--text", help="a text file or folder instead of the standard library")
    parser.add_argument("--order", type=whole, nargs="+", default=[6])
    parser.add_argument("--limit", type=whole, default=3_000_000, help="characters of training text (0: all)")
    parser.add_argument("--valid-fraction", type=number, default=0.05)
    parser.add_argument("--min-count", type=whole, default=10)
    options = parser.parse_args(argv)
    try:
        _measure(options)
    except ValueError as error:
        say_error(parser.prog, named(error, vars(options)))
        return 2
    return 0


def _measure(options: argparse.Namespace) -> None:
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


if __name__ == "__main__":
    raise SystemExit(main())
