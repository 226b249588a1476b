#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU), models by onnx 1.23.2: DynamicQuantizeLSTM reads the future and the batch's other rows.
#
# A forward LSTM is causal, and rows of a batch have nothing to do with each other.
# Guessed: so with 8-bit weights and activations quantised as they come; a row alone and a row in a batch agree.
# Seen: the input is quantised with one scale over all frames and rows, so a louder last frame changes the outputs
# before it, and a louder second row changes the first row's. 6 frames, 8 inputs within ±1, 8 units; largest change of
# an output that should not change at all:
#
#     the same run again               0
#     a second row like the first      0
#     last frame 100 times louder      about 0.08, in the 5 frames before it
#     a second row 100 times louder    about 0.07, in the first row
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FRAMES, INPUTS, UNITS = 6, 8, 8
random = np.random.default_rng(0)


def quantised():
    """Weights within ±0.5, of one direction as the operator wants them (1, inputs, 4 units), and their one scale."""
    return random.integers(-127, 128, (1, 8, 4 * UNITS), dtype=np.int8), np.array([0.5 / 127], np.float32)


(weight_ih, scale_ih), (weight_hh, scale_hh) = quantised(), quantised()
zero = np.zeros(1, np.int8)
constants = {"W": weight_ih, "R": weight_hh, "Ws": scale_ih, "Wz": zero, "Rs": scale_hh, "Rz": zero}
node = helper.make_node(
    "DynamicQuantizeLSTM",
    ["X", "W", "R", "", "", "", "", "", "Ws", "Wz", "Rs", "Rz"],
    ["Y"],
    domain="com.microsoft",
    hidden_size=UNITS,
)
graph = helper.make_graph(
    [node],
    "lstm",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, (FRAMES, "B", INPUTS))],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (FRAMES, 1, "B", UNITS))],
    [numpy_helper.from_array(array, name) for name, array in constants.items()],
)
opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
onnx.checker.check_model(model)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(x):
    return session.run(None, {"X": x})[0][:, 0]  # (T, B, H)


def largest(a, b):
    return float(np.abs(a - b).max())


x = random.uniform(-1, 1, (FRAMES, 1, INPUTS)).astype(np.float32)
louder_end = x.copy()
louder_end[-1] *= 100
other = 100 * random.uniform(-1, 1, x.shape).astype(np.float32)

y = run(x)
again = largest(run(x), y)
alike = largest(run(np.concatenate([x, x], 1))[:, :1], y)
before_the_end = largest(run(louder_end)[:-1], y[:-1])
first_row = largest(run(np.concatenate([x, other], 1))[:, :1], y)
print(f"the same run again               {again:.2g}")
print(f"a second row like the first      {alike:.2g}")
print(f"last frame 100 times louder      {before_the_end:.2f}, in the 5 frames before it")
print(f"a second row 100 times louder    {first_row:.2f}, in the first row")
if again or alike or before_the_end < 0.01 or first_row < 0.01:
    raise SystemExit("changed: the first two were described as 0, the others as above 0.01")
PYTHON
