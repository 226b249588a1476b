"""Sound to chances of a beat, a frame at a time: BeatNet's network, as it is, after `swap`, and with a `Stepper`.

BeatNet 1.1.3 follows music as it is played, 50 frames a second. Its network alone runs here: its features are madmom's,
which pip does not build by itself, so the program makes its own, of the same kind and size.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import BeatNet.model
import numpy as np
import torch

import rnnkernels as rk
import rnnkernels.torch as rnn
from rnnkernels import convert

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


class Stepped(torch.nn.Module):  # type: ignore[misc]
    """An LSTM's layers as a `rnnkernels.StackStepper`, which takes a frame and keeps the states."""

    def __init__(self, lstm: torch.nn.LSTM) -> None:
        super().__init__()
        self.stepper = rk.PreparedStack("lstm", convert.from_torch("lstm", lstm.state_dict())).stepper()

    def forward(self, x: torch.Tensor, states: Any) -> tuple[torch.Tensor, Any]:
        """Return the output (1, 1, H) after x (1, 1, I)."""
        return torch.from_numpy(self.stepper(x[0].numpy()))[None], states


def load() -> Any:
    """Return BeatNet's network as `BeatNet.BeatNet` has it."""
    model = BeatNet.model.BDA(272, 150, 2, "cpu")
    file = Path(BeatNet.model.__file__).parent / "models" / "model_1_weights.pt"
    model.load_state_dict(torch.load(file), strict=False)
    return model.eval()


def main() -> None:
    """Compare, and print two rows of the table."""
    torch.set_num_threads(1)
    as_it_is, swapped, stepped = load(), load(), load()
    rnn.swap(swapped)
    stepped.lstm = Stepped(stepped.lstm)
    heard = torch.from_numpy(frames())

    def chances(model: Any) -> Array:
        """Return the chances of beat, downbeat and neither after each frame, (T, 3)."""
        model.hidden, model.cell = torch.zeros(2, 1, 150), torch.zeros(2, 1, 150)  # or it goes on from the last call
        if model is stepped:
            model.lstm.stepper.reset()
        with torch.no_grad():
            return np.stack([model.final_pred(model(frame[None, None])[0])[:, 0].numpy() for frame in heard])

    for way, ours in (("`swap`", swapped), ("its LSTM in a `Stepper`", stepped)):
        checked = compare.close("chances", chances(as_it_is), chances(ours))
        times = compare.ratio(partial(chances, as_it_is), partial(chances, ours))
        print(
            compare.row("BeatNet 1.1.3", f"{len(heard)} frames one by one to chances of a beat, {way}", times, checked)
        )


if __name__ == "__main__":
    main()
