"""Models around recurrent nodes for the tests, and what others compute of them."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_nodes import GATES, Array

import rnnkernels.onnx as ro

HAVE_RUNTIME = importlib.util.find_spec("onnxruntime") is not None

RUNTIMES = [
    pytest.param("onnxruntime", marks=pytest.mark.skipif(not HAVE_RUNTIME, reason="needs onnxruntime")),
    "numpy",
]
ELEMENTS = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL, "s": TensorProto.STRING}
H = 4


def value(name: str, *dims: Any, kind: str = "f") -> Any:
    return helper.make_tensor_value_info(name, ELEMENTS[kind], dims)


def tensor(name: str, array: Any) -> Any:
    return numpy_helper.from_array(np.asarray(array), name)


def constant(name: str, array: Any) -> Any:
    return helper.make_node("Constant", [], [name], value=tensor(name, array))


def weights(name: str, inputs: int = H, operator: str = "LSTM", seed: int = 0, directions: int = 1) -> list[Any]:
    """W, R and B of a node, as initializers."""
    rng, G = np.random.default_rng(seed), GATES[operator]
    shapes = {"W": (directions, G * H, inputs), "R": (directions, G * H, H), "B": (directions, 2 * G * H)}
    return [tensor(f"{name}.{k}", rng.uniform(-0.6, 0.6, s).astype(np.float32)) for k, s in shapes.items()]


def recurrent(name: str, x: str, *outputs: str, operator: str = "LSTM", inputs: Any = (), **more: Any) -> Any:
    given = [x, f"{name}.W", f"{name}.R", f"{name}.B", *inputs]
    return helper.make_node(operator, given, list(outputs), name=name, hidden_size=H, **more)


def model(nodes: Any, inputs: Any, outputs: Any, tensors: Any = (), opset: int = 17, **options: Any) -> Any:
    sparse = options.pop("sparse", None)
    graph = helper.make_graph(
        list(nodes), "graph", list(inputs), list(outputs), list(tensors), sparse_initializer=sparse
    )
    imports = [helper.make_opsetid("", opset), *options.pop("imports", ())]
    made = helper.make_model(graph, opset_imports=imports, **{"ir_version": 8, **options})
    onnx.checker.check_model(made)
    return made


def whole(proto: Any, feeds: dict[str, Any]) -> list[Any]:
    """What ONNX Runtime gives for a whole model, or the reference evaluator where it is not installed."""
    if not HAVE_RUNTIME:
        return list(ReferenceEvaluator(proto, new_ops=ro.ops).run(None, feeds))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, list):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
    elif wanted is None:
        assert found is None
    elif np.asarray(wanted).dtype.kind in "OUS":
        assert np.asarray(found).tolist() == np.asarray(wanted).tolist()
    else:
        assert np.asarray(found).dtype == np.asarray(wanted).dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)


def agrees(proto: Any, feeds: dict[str, Any], runtime: str, wanted: Any = None) -> Any:
    """The model as it is prepared, after it gave what others give."""
    rep = ro.prepare(proto, runtime=runtime)
    expected = whole(proto, feeds) if wanted is None else wanted
    for _ in range(2):
        same(list(rep.run(feeds)), expected)
    assert {part.where for part in rep.parts} <= {"rnnkernels", runtime}
    return rep


def draw_x(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)
