#!/usr/bin/env bash
# BeatNet 1.1.3 (network alone, torch 2.13.0): what a model says of a song depends on the song before.
#
# The network keeps the state of its LSTM after a call, for `stream` and `realtime`, which feed it frame by frame; the modes
# `online` and `offline`, which give it a whole song at once, do so too, and nothing sets the state back.
# Guessed: a model in eval mode gives the same for the same input; a second song begins where the first one began.
# Seen: the same song's frames twice into one model, as `activation_extractor_online` feeds them. The chances of a beat, a
# downbeat and neither differ by up to 0.33 in the first second, by less than 0.02 from the fourth on:
#
#     second        0      1      2      3      4      5
#     difference    0.33   0.07   0.05   0.01   0.005  0.001
#
# Zeros in model.hidden and model.cell give the first call's numbers again.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6 torch==2.13.0
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps BeatNet==1.1.3
"$folder/venv/bin/python" - <<'PYTHON'
from pathlib import Path

import BeatNet.model
import numpy as np
import torch

FPS = 50
rng = np.random.default_rng(0)
beat = np.exp(-0.3 * (np.arange(6 * FPS) % (FPS // 2)))[:, None]  # two a second
spectrum = (0.2 + beat * np.linspace(1, 0, 136) + 0.05 * rng.random((6 * FPS, 136))).astype(np.float32)
gained = np.clip(np.diff(spectrum, axis=0, prepend=spectrum[:1]), 0, None)
song = torch.from_numpy(np.hstack([spectrum, gained]))[None]  # (1, T, 272), log spectra and what they gained

model = BeatNet.model.BDA(272, 150, 2, "cpu")
model.load_state_dict(torch.load(Path(BeatNet.model.__file__).parent / "models" / "model_1_weights.pt"), strict=False)
model.eval()


def chances():
    with torch.no_grad():
        return model.final_pred(model(song)[0]).numpy()  # (3, T)


first, second = chances(), chances()
model.hidden, model.cell = torch.zeros(2, 1, 150), torch.zeros(2, 1, 150)
again = chances()
gap = np.abs(first - second).max(axis=0)
differences = gap.reshape(6, FPS).max(axis=1)
print("difference in each second", *(f"{difference:.4f}" for difference in differences))
print("after zeros", np.abs(first - again).max())
if not (differences[0] > 0.1 and differences[3:].max() < 0.02):
    raise SystemExit("changed: the second song was described as beginning in the state of the first")
if not np.array_equal(first, again):
    raise SystemExit("changed: zeros were described as giving the first call's numbers")
PYTHON
