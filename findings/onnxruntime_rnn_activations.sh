#!/usr/bin/env bash
# onnxruntime 1.32.0 (CPU), models by onnx 1.23.2: an activation named in an RNN node is not the operator of that name.
#
# The standard names the functions and says of activation_alpha: "Default values are the same as of corresponding ONNX
# operators." ThresholdedRelu's default is 1.
# Guessed: with W = 1 and R = 0 an RNN node gives what ONNX Runtime's own operator gives.
# Seen, float32:
#
#     ThresholdedRelu, no alpha   x     0.25  0.5  1  2
#         operator                      0     0    0  2
#         in RNN                        0.25  0.5  1  2      the threshold is 0
#     ThresholdedRelu, alpha 1    x     1                    the standard's RNN: "x if x >= alpha else 0"
#         in RNN                        0                    the standard's operator: "y = x for x > alpha"
#     Softplus                    x     -20        20  88  89   1000
#         operator                      2.061e-09  20  88  89   1000
#         in RNN                        0          20  88  inf  inf
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
    return session.run(None, arrays)[0].ravel()


def operator(name, x):
    return run(helper.make_node(name, ["X"], ["Y"]), {"X": np.array(x, np.float32)}, (len(x),))


def in_rnn(name, x, **attributes):
    """The same function as an RNN node's: the values of x are rows of the batch, W = 1, R = 0, no bias."""
    one = np.ones((1, 1, 1), np.float32)
    arrays = {"X": np.array(x, np.float32).reshape(1, -1, 1), "W": one, "R": 0 * one}
    node = helper.make_node("RNN", list(arrays), ["Y"], hidden_size=1, activations=[name], **attributes)
    return run(node, arrays, (1, 1, len(x), 1))


inf = float("inf")
rows = [
    ("ThresholdedRelu, operator", operator("ThresholdedRelu", [0.25, 0.5, 1, 2]), [0, 0, 0, 2]),
    ("ThresholdedRelu, in RNN", in_rnn("ThresholdedRelu", [0.25, 0.5, 1, 2]), [0.25, 0.5, 1, 2]),
    ("the same, alpha 1, x = 1", in_rnn("ThresholdedRelu", [1], activation_alpha=[1.0]), [0]),
    ("Softplus, operator", operator("Softplus", [-20, 20, 88, 89, 1000]), [2.0611537e-9, 20, 88, 89, 1000]),
    ("Softplus, in RNN", in_rnn("Softplus", [-20, 20, 88, 89, 1000]), [0, 20, 88, inf, inf]),
]
for name, seen, _ in rows:
    print(f"{name:26}", *(f"{value:.4g}" for value in seen))
for name, seen, described in rows:
    if not np.allclose(seen, described, rtol=1e-3, atol=1e-12):
        raise SystemExit(f"changed: {name}: {seen}, described: {described}")
PYTHON
