"""Chinese text to pinyin: g2pM's bidirectional LSTM, its own NumPy against ours over all sentences at once.

g2pM 0.1.2.5 looks a character's reading up, and asks a network where there are several. Its weights lie as
PyTorch's do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from g2pM import G2pM

import rnnkernels as rk

from . import compare
from .ragged import together

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

PACKAGES = ("g2pM==0.1.2.5",)

TEXTS = [
    "今天早上下了一场大雨，所以我撑着伞走到车站。",
    "新的图书馆明年春天将会建在河的对面。",
    "奶奶家的院子里有一棵很老的柿子树，秋天会飞来很多鸟。",
    "这台计算机一秒钟能做几百万次乘法。",
    "从夜里火车的窗户看出去，远处城镇的灯光显得很小。",
    "她每天早上烤面包，分给附近的孩子们。",
    "山上的天文台收集星光，研究宇宙的历史。",
    "开完长会以后，我们一边喝热茶，一边讨论下一步的计划，觉得还得重新考虑。",
]


class Batched:
    """g2pM's reading of several sentences in one call of its network."""

    def __init__(self, g2pm: Any) -> None:
        params = {
            f"{name}_l0{way}": getattr(g2pm, f"{name}{way}")
            for way in ("", "_reverse")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        self.g2pm, self.stack = g2pm, rk.PreparedStack("lstm", params)

    def __call__(self, sentences: list[str]) -> list[list[str]]:
        """Return the pinyin of each sentence's characters, as ``g2pm(sentence, char_split=True)`` does of one."""
        g2pm, ids = self.g2pm, self.g2pm.char2idx
        # Each sentence stands between a sign for its begin and one for its end.
        rows = [[ids["시"], *(ids.get(char, ids["<UNK>"]) for char in text), ids["끝"]] for text in sentences]
        tokens, lengths = together(rows)  # (T, B)
        output, _ = self.stack.forward(g2pm.embeddings[tokens], lengths=lengths)  # (T, B, 2·H)
        read: list[list[str]] = [[g2pm.cedict.get(char, [char])[0] for char in text] for text in sentences]
        asked = [(k, n) for k, text in enumerate(sentences) for n, char in enumerate(text) if self._is_open(char)]
        where = tuple(np.transpose(asked))
        for (k, n), reading in zip(asked, self._readings(output[where[1] + 1, where[0]]), strict=True):
            read[k][n] = reading
        return read

    def _is_open(self, char: str) -> bool:
        return len(self.g2pm.cedict.get(char, ())) > 1

    def _readings(self, hidden: Array) -> list[str]:
        return [self.g2pm.idx2class[k] for k in self.g2pm.fc_layer(hidden).argmax(axis=1)]


def main() -> None:
    """Compare, and print a row of the table."""
    g2pm = G2pM()
    batched = Batched(g2pm)

    def theirs() -> list[list[str]]:
        return [g2pm(text, char_split=True) for text in TEXTS]

    checked = compare.same("pinyin", theirs(), batched(TEXTS))
    times = compare.ratio(theirs, lambda: batched(TEXTS))
    print(compare.row("g2pM 0.1.2.5", f"{len(TEXTS)} sentences to pinyin (bidirectional LSTM)", times, checked))


if __name__ == "__main__":
    main()
