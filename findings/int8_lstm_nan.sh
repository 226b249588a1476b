#!/usr/bin/env bash
# torch 2.13.0 and onnxruntime 1.32.0 (CPU), models by onnx 1.23.2: a NaN that goes into an int8 LSTM never comes out.
#
# Guessed: 8-bit integers have no NaN, but what quantises activations sees one before it: their largest magnitude. So
# a NaN in frame t of a row makes that row's outputs NaN from t on, as in float32, or the call fails, as
# quantize_dynamic's does with inf.
# Seen: all outputs are finite, and nothing is said. Those of the NaN's row and later are other ones than with a number
# in its place; with torch.ao.quantization.quantize_dynamic those before it and of the other row, too, since all share
# one scale. 6 frames, 2 rows, 64 inputs and units; one NaN in row 1, frame 3; largest change of an output:
#
#                            row 1 from frame 3 on    row 0 and frames before
#     quantize_dynamic       about 0.5                about 0.02
#     DynamicQuantizeLSTM    about 0.1                below 0.01
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check \
  numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 torch==2.13.0
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

warnings.simplefilter("ignore")
FRAMES, ROWS, UNITS = 6, 2, 64
torch.manual_seed(0)
lstm = torch.nn.LSTM(UNITS, UNITS).eval()
x = torch.randn(FRAMES, ROWS, UNITS)


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = lstm

    def forward(self, x):
        return self.lstm(x)[0]


quantised = torch.ao.quantization.quantize_dynamic(Model(), {torch.nn.LSTM}, dtype=torch.qint8)


def node_weights():
    """Return the LSTM's weights as the operator wants them: 8-bit, (1, inputs, 4 units), gates i o f g; and scales."""
    for weight in (lstm.weight_ih_l0, lstm.weight_hh_l0):
        i, f, g, o = np.split(weight.detach().numpy(), 4)
        rows = np.concatenate([i, o, f, g])
        scale = np.abs(rows).max(1) / np.float32(127)
        yield np.rint(rows / scale[:, None]).astype(np.int8).T[None].copy(), scale[None]


(weight_ih, scale_ih), (weight_hh, scale_hh) = node_weights()
zero = np.zeros((1, 4 * UNITS), np.int8)
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
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, (FRAMES, ROWS, UNITS))],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (FRAMES, 1, ROWS, UNITS))],
    [numpy_helper.from_array(array, name) for name, array in constants.items()],
)
opsets = [helper.make_opsetid("", 22), helper.make_opsetid("com.microsoft", 1)]
model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def by_torch(x):
    with torch.no_grad():
        return quantised(x).numpy()


def by_onnxruntime(x):
    return session.run(None, {"X": x.numpy()})[0][:, 0]


for name, run in ("quantize_dynamic", by_torch), ("DynamicQuantizeLSTM", by_onnxruntime):
    with_nan = x.clone()
    with_nan[3, 1, 5] = float("nan")
    after = run(with_nan)
    change = np.abs(after - run(x))
    there, elsewhere = change[3:, 1].max(), max(change[:3].max(), change[:, 0].max())
    finite = np.isfinite(after).all()
    print(f"{name:20} {'no NaN' if finite else 'NaN'}, changes {there:.2f} and {elsewhere:.4f}")
    if not finite or there < 0.01:
        raise SystemExit("changed: outputs were described as finite, and as other ones")
PYTHON
