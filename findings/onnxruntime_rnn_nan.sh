#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU), models by onnx 1.23.2: a NaN in a recurrent node's input can leave no trace in its output.
#
# Guessed: a NaN in frame t makes Y[t] and all later frames NaN, as it does with Tanh and as ONNX Runtime's own
# operators Relu and HardSigmoid hand a NaN on.
# Seen: Relu and HardSigmoid inside RNN and GRU map NaN to 0, and the node goes on as if its state had been reset. Y of
# a NaN between two frames of 0.5 (all of W 0.5, all of R 0.1, 2 units alike):
#
#     RNN, Tanh               0.245   nan   nan
#     RNN, Relu               0.25    0     0.25
#     GRU, HardSigmoid, Relu  0.1125  0     0.1125
#     Relu, the operator      0.5     nan   0.5
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

x = np.array([0.5, np.nan, 0.5], np.float32).reshape(3, 1, 1)
nan = np.nan


def run(node, arrays, shape):
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in arrays.items()],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, arrays)[0].reshape(3, -1)[:, 0]


def recurrent(operator, gates, activations):
    """The first unit's output in the three frames."""
    weight_ih = np.full((1, gates * 2, 1), 0.5, np.float32)
    weight_hh = np.full((1, gates * 2, 2), 0.1, np.float32)
    arrays = {"X": x, "W": weight_ih, "R": weight_hh}
    node = helper.make_node(operator, list(arrays), ["Y"], hidden_size=2, activations=activations)
    return run(node, arrays, (3, 1, 1, 2))


rows = [
    ("RNN, Tanh", recurrent("RNN", 1, ["Tanh"]), [0.24492, nan, nan]),
    ("RNN, Relu", recurrent("RNN", 1, ["Relu"]), [0.25, 0, 0.25]),
    ("GRU, HardSigmoid, Relu", recurrent("GRU", 3, ["HardSigmoid", "Relu"]), [0.1125, 0, 0.1125]),
    ("Relu, the operator", run(helper.make_node("Relu", ["X"], ["Y"]), {"X": x}, (3, 1, 1)), [0.5, nan, 0.5]),
]
for name, seen, _ in rows:
    print(f"{name:22}", *(f"{value:.4g}" for value in seen))
for name, seen, described in rows:
    if not np.allclose(seen, described, atol=1e-4, equal_nan=True):
        raise SystemExit(f"changed: {name}: {seen}, described: {described}")
PYTHON
