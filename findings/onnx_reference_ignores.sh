#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator runs LSTM, GRU and RNN and leaves most of their attributes out, without a word.
#
# onnx.reference.ReferenceEvaluator comes with the standard and is what one holds another runtime against.
# Guessed: it honours `activations`, `clip`, `input_forget` and `sequence_lens`, or refuses a model that has them.
# Seen: Y is, bit for bit, that of the node without them; and a bidirectional RNN's first activation serves both ways:
#
#     LSTM, activations HardSigmoid, Relu, Relu   ignored
#     LSTM, clip 0.5                              ignored
#     LSTM, input_forget 1                        ignored
#     LSTM, sequence_lens 4, 2                    ignored
#     GRU, activations HardSigmoid, Relu          ignored
#     GRU, clip 0.5                               ignored
#     GRU, sequence_lens 4, 2                     ignored
#     RNN, clip 0.5                               ignored
#     RNN, sequence_lens 4, 2                     ignored
#     RNN both ways, Tanh, Affine                 as Tanh, Tanh
#
# An RNN's activation other than Tanh and Affine is refused, which is fair.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6 onnx==1.23.2
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FRAMES, ROWS, INPUTS, UNITS = 4, 2, 3, 5
ALL = np.full(ROWS, FRAMES, np.int32)
SHORT = np.array([4, 2], np.int32)


def run(operator, lengths=ALL, ways=1, **attributes):
    """Y of a node with the same weights in every call and in both directions."""
    random = np.random.default_rng(0)
    x = random.standard_normal((FRAMES, ROWS, INPUTS), np.float32)
    weight_ih = random.standard_normal((1, GATES[operator] * UNITS, INPUTS), np.float32)
    weight_hh = random.standard_normal((1, GATES[operator] * UNITS, UNITS), np.float32)
    bias = np.zeros((1, 2 * GATES[operator] * UNITS), np.float32)
    arrays = {"X": x, "W": weight_ih.repeat(ways, 0), "R": weight_hh.repeat(ways, 0), "B": bias.repeat(ways, 0)}
    arrays["lengths"] = lengths
    types = {"f": TensorProto.FLOAT, "i": TensorProto.INT32}
    node = helper.make_node(operator, list(arrays), ["Y"], hidden_size=UNITS, **attributes)
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info(name, types[array.dtype.kind], array.shape) for name, array in arrays.items()],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, (FRAMES, ways, ROWS, UNITS))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return ReferenceEvaluator(model).run(None, arrays)[0]


changed = []


def row(name, one, other, what):
    same = np.array_equal(one, other)
    print(f"{name:44}{what if same else 'honoured'}")
    if not same:
        changed.append(name)


named = {"LSTM": ["HardSigmoid", "Relu", "Relu"], "GRU": ["HardSigmoid", "Relu"]}
for operator in GATES:
    plain = run(operator)
    if operator in named:
        asked = f"{operator}, activations {', '.join(named[operator])}"
        row(asked, run(operator, activations=named[operator]), plain, "ignored")
    row(f"{operator}, clip 0.5", run(operator, clip=0.5), plain, "ignored")
    if operator == "LSTM":
        row("LSTM, input_forget 1", run(operator, input_forget=1), plain, "ignored")
    row(f"{operator}, sequence_lens 4, 2", run(operator, SHORT), plain, "ignored")

both = {"ways": 2, "direction": "bidirectional", "activation_alpha": [1.0, 1.0], "activation_beta": [0.0, 0.0]}
tanh = run("RNN", activations=["Tanh", "Tanh"], **both)
row("RNN both ways, Tanh, Affine", run("RNN", activations=["Tanh", "Affine"], **both), tanh, "as Tanh, Tanh")
if changed:
    raise SystemExit(f"changed: {changed}")
PYTHON
