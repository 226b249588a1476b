"""Japanese text to words with their parts of speech: nagisa's LSTMs against ours over all sentences at once.

nagisa 0.3.0 cuts a text by a bidirectional LSTM over its characters and names parts of speech by another over the
words. They were trained in DyNet; nagisa reads DyNet's file without it, and `convert.from_dynet` takes what it reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nagisa_utils as utils
import numpy as np
from nagisa.dynet_loader import load_dynet_text_model, map_nagisa_params
from nagisa.tagger import Tagger, base

import rnnkernels as rk
from rnnkernels import convert

from . import compare
from .ragged import one_after_another, together

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

PACKAGES = ("nagisa==0.3.0",)

TEXTS = [
    "今日は朝から雨が降っていたので、駅まで傘を差して歩きました。",
    "新しい図書館は来年の春に川の向こう側に建てられる予定です。",
    "祖母の家の庭には古い柿の木があり、秋になると鳥がたくさん集まってくる。",
    "この計算機は一秒間に何百万回も掛け算をすることができる。",
    "夜の電車の窓から、遠くの町の明かりが小さく見えた。",
    "山の上の天文台では、星の光を集めて宇宙の歴史を調べています。",
    "長い会議のあとで、私たちは温かいお茶を飲みながら次の計画を話し合った。",
]


class Batched:
    """A tagger's two LSTMs over all sentences at once; what stands around them stays nagisa's."""

    def __init__(self, tagger: Any, file: str) -> None:
        arrays = map_nagisa_params(load_dynet_text_model(file), tagger._hp)
        self.tagger, self.model = tagger, tagger._model
        self.cutter, self.namer = stack(arrays["ws_lstms"]), stack(arrays["pos_lstms"])
        self.lengths: list[int] = []
        tagger._model = self  # whose `POStagging` the tagger calls

    def __call__(self, texts: list[str]) -> list[str]:
        """Return each text as ``str(tagger.tagging(text))`` has it: ``"今日/名詞 は/助詞 ..."``."""
        tagger, model = self.tagger, self.model
        vocabularies = tagger._uni2id, tagger._bi2id, tagger._word2id, tagger._hp["WINDOW_SIZE"]
        embeddings = model.UNI, model.BI, model.CTYPE, model.WORD
        texts = [utils.preprocess(text) for text in texts]
        features = [utils.feature_extraction(text.lower(), *vocabularies) for text in texts]
        x, lengths = together([utils.build_ws_input(*feature, *embeddings) for feature in features])
        output, _ = self.cutter.forward(x, lengths=lengths)  # (T, B, 2·H)
        scores = output @ model.w_wsT + model.b_ws
        cuts = [utils.np_viterbi(model.trans_array, list(scores[:n, k])) for k, n in enumerate(lengths)]
        words = [utils.segmenter_for_bmes(text, cut) for text, cut in zip(texts, cuts, strict=True)]
        self.lengths = [len(each) for each in words]
        tags = iter(tagger._postagging([word for each in words for word in each]))
        return [" ".join(f"{word}/{next(tags)}" for word in each) for each in words]

    def POStagging(self, asked: list[Any]) -> list[int]:  # noqa: N802 - nagisa's name
        """Return the numbers of the words' parts of speech, one sentence after the other."""
        model, (letters, words, choices) = self.model, asked
        vectors = utils.build_pos_input(words, choices, model.WORD, model.POS, model.dim_uni)  # (N, I)
        vectors[:, model.dim_word : model.dim_word + model.dim_uni] = model._char_vecs(letters)
        x, lengths = together(np.split(vectors, np.cumsum(self.lengths)[:-1]))
        output, _ = self.namer.forward(x, lengths=lengths)
        hidden = one_after_another(output, lengths)
        return [int(k) for k in (hidden @ model.w_posT + model.b_pos).argmax(axis=1)]


def stack(layers: list[tuple[dict[str, Array], dict[str, Array]]]) -> rk.PreparedStack:
    """Return a bidirectional LSTM of what nagisa reads from DyNet's file: of each layer both directions."""
    params = {
        f"{name}_l{number}{way}": array
        for number, directions in enumerate(layers)
        for way, lstm in zip(("", "_reverse"), directions, strict=True)
        for name, array in convert.from_dynet([[lstm["Wx"], lstm["Wh"], lstm["b"]]]).items()
    }
    return rk.PreparedStack("lstm", params)


def main() -> None:
    """Compare, and print a row of the table."""
    tagger, batched = Tagger(), Batched(Tagger(), f"{base}/data/nagisa_v001.model")

    def theirs() -> list[str]:
        return [str(tagger.tagging(text)) for text in TEXTS]

    checked = compare.same("words and tags", theirs(), batched(TEXTS))
    times = compare.ratio(theirs, lambda: batched(TEXTS))
    print(
        compare.row("nagisa 0.3.0", f"{len(TEXTS)} sentences to tagged words (two bidirectional LSTMs)", times, checked)
    )


if __name__ == "__main__":
    main()
