#!/usr/bin/env bash
# torch 2.13.0 (CPU; wants a C++ compiler): torch.compile over two chained `scan`s gives a wrong gradient, silently.
#
# Two tanh layers, each a scan over time, in one compiled function; the carry and the emitted state are clones, as the
# rules of scan against aliasing ask. torch._dynamo.config.capture_scalar_outputs is on: the compiler refuses without.
# Guessed: where the compiled loss is the Python loop's, so are its gradients, to rounding.
# Seen: the loss is, the gradient of the last layer's recurrent weight is, that of the first layer's is not; with
# backend="aot_eager" all are. T 4, B 2, H 3, float32; norm of the gradient's error over the norm of the gradient of
# the loop:
#
#     aot_eager  first layer 0, last layer 0
#     inductor   first layer 0.27, last layer 1e-07
#
# scan is a prototype, in torch._higher_order_ops.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6 torch==2.13.0
TORCHINDUCTOR_CACHE_DIR="$folder/cache" "$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch._higher_order_ops.scan import scan

FRAMES, ROWS, UNITS = 4, 2, 3
torch._dynamo.config.capture_scalar_outputs = True


def step(h, x, weight):
    h = torch.tanh(x + h @ weight)
    return h.clone(), h.clone()


def scanned(x, h, weights):
    for weight in weights:
        _, x = scan(lambda carry, frame, weight=weight: step(carry, frame, weight), h, x, dim=0)
    return (x**2).sum()


def looped(x, h, weights):
    for weight in weights:
        carry, states = h, []
        for frame in x:
            carry, state = step(carry, frame, weight)
            states.append(state)
        x = torch.stack(states)
    return (x**2).sum()


def loss_and_gradients(function):
    torch.manual_seed(0)
    x, h = torch.randn(FRAMES, ROWS, UNITS), torch.zeros(ROWS, UNITS)
    weights = [torch.linspace(-1, 1, UNITS * UNITS).reshape(UNITS, UNITS).requires_grad_() for _ in range(2)]
    loss = function(x, h, weights)
    loss.backward()
    return loss.item(), [weight.grad for weight in weights]


loss, gradients = loss_and_gradients(looped)
errors = {}
for backend in ("aot_eager", "inductor"):
    torch._dynamo.reset()
    seen_loss, seen = loss_and_gradients(torch.compile(scanned, backend=backend))
    if abs(seen_loss - loss) > 1e-5:
        raise SystemExit(f"changed: the loss by {backend} is {seen_loss}, the loop's {loss}")
    errors[backend] = [((a - b).norm() / b.norm()).item() for a, b in zip(seen, gradients, strict=True)]
    print(f"{backend:10} first layer {errors[backend][0]:.2g}, last layer {errors[backend][1]:.2g}")
(eager_first, eager_last), (first, last) = errors["aot_eager"], errors["inductor"]
if max(eager_first, eager_last, last) > 1e-5 or first < 0.01:
    raise SystemExit("changed: all but inductor's first layer were described as right")
PYTHON
