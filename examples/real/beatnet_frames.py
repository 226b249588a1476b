"""Sound to chances of a beat, a frame at a time: BeatNet's network, an LSTM of two layers, as it is and after `swap`.

BeatNet 1.1.3 follows music as it is played, 50 frames a second. Its network alone runs here: its features are madmom's,
which pip does not build by itself, so the program makes its own, of the same kind and size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import compare

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

# Without what it needs, which is madmom, and a Numba for Python 3.9.
PACKAGES = ("BeatNet==1.1.3", "--no-deps")

RATE, HOP, WINDOW, BANDS = 22050, 441, 1411, 136
SECONDS = 6


def frames() -> Array:
    """Return the features (T, 272) of 120 beats a minute under a held chord: log spectra and what they gained."""
    rng, time = np.random.default_rng(0), np.arange(RATE * SECONDS) / RATE
    beat = np.exp(-30 * (time % 0.5)) * np.sin(2 * np.pi * 60 * time)
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 277, 330))
    sound = 0.5 * beat + 0.05 * chord + 0.001 * rng.standard_normal(len(time))
    cut = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP] * np.hanning(WINDOW)  # (T, samples)
    places = np.geomspace(30, 17000, BANDS + 2) / RATE * WINDOW
    lower, centre, upper = (places[k : k + BANDS, None] for k in range(3))
    bins = np.arange(WINDOW // 2 + 1)
    triangles = np.clip(np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)), 0, None)
    spectrum = np.log10(1 + np.abs(np.fft.rfft(cut)) @ triangles.T)  # (T, 136)
    gained = np.clip(np.diff(spectrum, axis=0, prepend=spectrum[:1]), 0, None)
    return np.hstack([spectrum, gained]).astype(np.float32)


def main() -> None:
    """Compare, and print a row of the table."""
    from pathlib import Path

    import BeatNet.model
    import torch

    import rnnkernels.torch as rnn

    torch.set_num_threads(1)
    weights = torch.load(Path(BeatNet.model.__file__).parent / "models" / "model_1_weights.pt")
    as_it_is, ours = BeatNet.model.BDA(272, 150, 2, "cpu"), BeatNet.model.BDA(272, 150, 2, "cpu")
    for model in (as_it_is, ours):
        model.load_state_dict(weights, strict=False)
        model.eval()
    rnn.swap(ours)
    heard = torch.from_numpy(frames())

    def chances(model: Any) -> Array:
        """Return the chances of beat, downbeat and neither after each frame, (T, 3)."""
        model.hidden, model.cell = torch.zeros(2, 1, 150), torch.zeros(2, 1, 150)  # or it goes on from the last call
        with torch.no_grad():
            return np.stack([model.final_pred(model(frame[None, None])[0])[:, 0].numpy() for frame in heard])

    checked = compare.close("chances", chances(as_it_is), chances(ours))
    times = compare.ratio(lambda: chances(as_it_is), lambda: chances(ours))
    print(
        compare.row(
            "BeatNet 1.1.3", f"{len(heard)} frames one by one to chances of a beat (LSTM of two layers)", times, checked
        )
    )


if __name__ == "__main__":
    main()
