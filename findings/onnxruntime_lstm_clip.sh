#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU), models by onnx 1.23.2: an LSTM's `clip` clips the input of f and g, and not that of h.
#
# The standard: clipping "bounds the elements of a tensor in the range of [-threshold, +threshold] and is applied to the
# input of activations". The LSTM has three: f on the gates, g on the candidate, h on C (Ht = ot (.) h(Ct)).
# Guessed: the input of h is clipped as that of f and of g, so with h = Tanh no |Y| is above tanh(clip).
# Seen: the C that h takes is not clipped. One step, all gates 0.5, candidate 6, C before it 6, clip 1:
#
#     h = Tanh    C 3.5, Y 0.4991, not 0.5 tanh(1) = 0.3808
#     h = Affine  C 3.5, Y 1.75, not 0.5 * 1 = 0.5
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper


def lstm(activations, **attributes):
    """Y and C after one step of one unit: the gates i, o, f see 0, the candidate g sees 6, C was 6."""
    arrays = {
        "X": np.zeros((1, 1, 1)),
        "W": np.zeros((1, 4, 1)),
        "R": np.zeros((1, 4, 1)),
        "B": np.array([[0, 0, 0, 6, 0, 0, 0, 0]]),  # i o f c, for W and for R
        "lens": np.ones(1, np.int32),
        "h": np.zeros((1, 1, 1)),
        "c": np.full((1, 1, 1), 6),
    }
    types = {"f": TensorProto.FLOAT, "i": TensorProto.INT32}
    arrays = {name: a if name == "lens" else a.astype(np.float32) for name, a in arrays.items()}
    node = helper.make_node("LSTM", list(arrays), ["Y", "", "C"], hidden_size=1, activations=activations, **attributes)
    graph = helper.make_graph(
        [node],
        "lstm",
        [helper.make_tensor_value_info(name, types[array.dtype.kind], array.shape) for name, array in arrays.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1,) * axes) for name, axes in (("Y", 4), ("C", 3))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [float(value.item()) for value in session.run(None, arrays)]


affine = {"activation_alpha": [1.0, 1.0], "activation_beta": [0.0, 0.0]}
seen = {
    "no clip": lstm(["Sigmoid", "Affine", "Affine"], **affine),
    "h = Tanh": lstm(["Sigmoid", "Affine", "Tanh"], clip=1.0, activation_alpha=[1.0], activation_beta=[0.0]),
    "h = Affine": lstm(["Sigmoid", "Affine", "Affine"], clip=1.0, **affine),
}
described = {"no clip": [3.0, 6.0], "h = Tanh": [0.5 * np.tanh(3.5), 3.5], "h = Affine": [1.75, 3.5]}
for name, (y, c) in seen.items():
    print(f"{name:10}  C {c:.4g}, Y {y:.4g}")
if not all(np.allclose(seen[name], described[name], atol=1e-5) for name in described):
    raise SystemExit(f"changed: {seen}, described: {described}")
PYTHON
