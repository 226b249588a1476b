#!/usr/bin/env bash
# torch 2.13.0 (CPU): a bfloat16 LSTM rounds its cell state to bfloat16 in every step, under autocast too.
#
# Guessed: bfloat16 is for the products; the cell state, a sum over all steps, stays float32 inside a call, as a
# product's sums do, and as the state of a GRU does under torch.autocast("cpu", dtype=torch.bfloat16).
# Seen: c' = c + 0.001 (f and i open, g 0.001) stands still from 0.5 on, where half a unit of c's last place is more
# than 0.001; in one call as step by step, in inference as in training, in a converted module as in a float32 one under
# autocast. 2000 steps:
#
#     float32                        2.00
#     autocast, inference            0.50
#     autocast, training             0.50
#     module.to(torch.bfloat16)      0.50
#
# A GRU whose h moves slowly to 1 (z = 0.9933) keeps the float32 value under autocast, 0.996; converted to bfloat16 it
# stops at 0.625.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6 torch==2.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import math

import torch

STEPS, UNITS = 2000, 64
x = torch.zeros(STEPS, 1, UNITS)


def lstm():
    """Return an LSTM whose c grows by 0.001 in every step, whatever it is fed."""
    net = torch.nn.LSTM(UNITS, UNITS)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        for gate, bias in enumerate((20, 20, math.atanh(0.001), 20)):  # i f g o
            net.bias_ih_l0[gate * UNITS : (gate + 1) * UNITS] = bias
    return net


def gru():
    """Return a GRU whose h goes slowly to tanh 3."""
    net = torch.nn.GRU(UNITS, UNITS)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        net.bias_ih_l0[UNITS : 2 * UNITS] = 5
        net.bias_ih_l0[2 * UNITS :] = 3
    return net


def last(state):
    """Return one unit's last state, c of an LSTM."""
    state = state[1] if isinstance(state, tuple) else state
    return state.detach().flatten()[0].item()


def autocast(make, gradient):
    with torch.set_grad_enabled(gradient), torch.autocast("cpu", dtype=torch.bfloat16):
        return last(make()(x)[1])


with torch.no_grad():
    exact, exact_h = last(lstm()(x)[1]), last(gru()(x)[1])
    converted = last(lstm().to(torch.bfloat16)(x.bfloat16())[1])
    converted_h = last(gru().to(torch.bfloat16)(x.bfloat16())[1])
inference, training = autocast(lstm, False), autocast(lstm, True)
h = autocast(gru, False)
print(f"float32                    {exact:.2f}")
print(f"autocast, inference        {inference:.2f}")
print(f"autocast, training         {training:.2f}")
print(f"module.to(torch.bfloat16)  {converted:.2f}")
print(f"GRU: float32 {exact_h:.3f}, autocast {h:.3f}, converted {converted_h:.3f}")
if not (exact > 1.99 and max(inference, training, converted) < 0.51):
    raise SystemExit("changed: c was described as standing still at 0.5")
if not (abs(h - exact_h) < 0.01 and converted_h < 0.65):
    raise SystemExit("changed: a GRU was described as exact under autocast, and as standing still converted")
PYTHON
