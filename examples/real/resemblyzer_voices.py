"""Speech to a speaker's vector: Resemblyzer's encoder, an LSTM of three layers in PyTorch, and the same after `swap`.

Resemblyzer 0.1.4 cuts an utterance into windows of 1.6 s and encodes them as a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from resemblyzer import VoiceEncoder

import rnnkernels.torch as rnn

from . import compare

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

# setuptools: the last with pkg_resources, which webrtcvad imports.
PACKAGES = ("Resemblyzer==0.1.4", "setuptools==80.9.0")

RATE = 16000  # samples a second


def utterance(seed: int, seconds: float) -> Array:
    """Return what has a voice's pitch, formants and syllables: a buzz whose pitch glides, through resonances."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(RATE * seconds)) / RATE
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = rng.uniform(300, 3000, size=3)
    sound = np.zeros_like(time)
    for harmonic in range(1, 30):
        strength = np.exp(-(((harmonic * pitch[:, None] - formants) / 200) ** 2)).sum(axis=1) + 0.05
        sound += strength * np.sin(harmonic * phase) / harmonic
    syllables = np.clip(np.sin(2 * np.pi * 4 * time) + 0.6, 0, None)
    return (0.05 * sound * syllables + 0.001 * rng.standard_normal(len(time))).astype(np.float32)


def main() -> None:
    """Compare, and print a row of the table."""
    torch.set_num_threads(1)
    sounds = [utterance(seed, 6.0) for seed in range(3)]
    as_it_is, ours = VoiceEncoder("cpu", verbose=False), VoiceEncoder("cpu", verbose=False)
    rnn.swap(ours)

    def voices(encoder: VoiceEncoder) -> list[Array]:
        return [encoder.embed_utterance(sound) for sound in sounds]

    checked = compare.close("vectors", voices(as_it_is), voices(ours))
    times = compare.ratio(lambda: voices(as_it_is), lambda: voices(ours))
    print(
        compare.row(
            "Resemblyzer 0.1.4", f"{len(sounds)} utterances of 6 s to vectors, spectra included", times, checked
        )
    )


if __name__ == "__main__":
    main()
