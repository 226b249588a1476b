"""DynamicQuantizeLSTM for the tests: nodes, models around one, the LSTM of the same numbers as floats."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx_nodes import OUTPUTS, Array, Node, info

MICROSOFT = "com.microsoft"
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P", "W_scale", "W_zero_point", "R_scale",
          "R_zero_point")  # fmt: skip
KEPT = ("W", "R", "B", "P", *INPUTS[8:])


def quantized(node: Node, dtype: str = "int8", *, columns: bool = True, zero: int = 0) -> dict[str, Array]:
    """The arrays of a node with W and R as a DynamicQuantizeLSTM has them.

    Zero points that are not in the middle leave integers beyond 127 in every row.
    """
    found = dict(node.arrays)
    most, least = (255 - zero, -zero) if dtype == "uint8" else (127 - zero, -127 - zero)
    for name in ("W", "R"):
        turned = node.arrays[name].swapaxes(1, 2)
        axis = 1 if columns else (1, 2)
        scale = np.maximum(np.abs(turned).max(axis=axis), 1e-3) / np.float32(min(most, -least))
        each = scale.reshape(len(scale), 1, -1)
        found[name] = (np.clip(np.rint(turned / each), least, most) + zero).astype(dtype)
        if zero not in (0, 128):
            found[name][:, 0] = 255 if dtype == "uint8" else -128
        found |= {f"{name}_scale": scale.astype(np.float32), f"{name}_zero_point": np.full(scale.shape, zero, dtype)}
    return found


def dynamic_node(arrays: dict[str, Array], attributes: dict[str, Any]) -> Any:
    places = [name if name in arrays else "" for name in INPUTS]
    while not places[-1]:
        places.pop()
    return helper.make_node("DynamicQuantizeLSTM", places, OUTPUTS["LSTM"], domain=MICROSOFT, **attributes)


def dynamic_model(arrays: dict[str, Array], attributes: dict[str, Any]) -> Any:
    tensors = [numpy_helper.from_array(arrays[name], name) for name in KEPT if name in arrays]
    return model_around(dynamic_node(arrays, attributes), tensors, feeds(arrays))


def model_around(node: Any, tensors: list[Any], given: dict[str, Array]) -> Any:
    """A model of a node, its initializers and what else it is given."""
    ranks = {"Y": 4, "Y_h": 3, "Y_c": 3}
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * ranks[name]) for name in node.output]
    graph = helper.make_graph([node], "g", [info(name, array) for name, array in given.items()], results, tensors)
    imports = [helper.make_opsetid("", 14), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def session(model: Any) -> Any:
    """A session of ONNX Runtime with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def floats(node: Node, arrays: dict[str, Array]) -> Node:
    """The LSTM of the same numbers."""
    found = dict(node.arrays)
    for name in ("W", "R"):
        scale, zero = (arrays[f"{name}_{of}"].reshape(len(arrays[name]), 1, -1) for of in ("scale", "zero_point"))
        found[name] = ((arrays[name].astype(np.float32) - zero) * scale).swapaxes(1, 2)
    return Node("LSTM", node.attributes, found)


def feeds(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in arrays.items() if name not in KEPT}


def error_of(found: Any, wanted: Any) -> float:
    """Root mean square, all results together."""
    apart = np.concatenate([(mine - theirs).ravel() for mine, theirs in zip(found, wanted, strict=True)])
    return float(np.sqrt(np.mean(np.square(apart, dtype=np.float64))))
