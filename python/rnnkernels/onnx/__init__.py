"""ONNX's RNN, GRU and LSTM, opset 7 and later, and DynamicQuantizeLSTM on the kernels: a backend and a converter.

    from rnnkernels.onnx import prepare

    outputs = prepare(onnx.load("model.onnx")).run([x])

`Backend` is a standard ONNX backend, and its methods are functions here, as tools that take a backend's module expect.
`ops` is what any `onnx.reference.ReferenceEvaluator` takes as ``new_ops=``. `layers` lists a model's recurrent nodes;
`from_node` and `to_node` turn a node and its initializers into cells and parameters and back. docs/onnx.md says what is
refused, and what runs where.
"""

try:
    import onnx as _onnx  # noqa: F401  # the package of that name, not this one
except ImportError as error:
    raise ImportError("rnnkernels.onnx needs onnx: pip install 'rnnkernels[onnx]'") from error

from .backend import Backend, BackendRep, is_compatible, prepare, run_model, run_node, supports_device
from .cells import UnsupportedError
from .check import CheckedNode, CheckReport, DifferenceError, check
from .convert import Direction, Layer, from_node, to_node
from .decomposed import Decomposed
from .listing import FoundNode, FoundNodes, layers
from .operators import ops
from .split import Part

__all__ = [
    "Backend",
    "BackendRep",
    "CheckReport",
    "CheckedNode",
    "Decomposed",
    "DifferenceError",
    "Direction",
    "FoundNode",
    "FoundNodes",
    "Layer",
    "Part",
    "UnsupportedError",
    "check",
    "from_node",
    "is_compatible",
    "layers",
    "ops",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
    "to_node",
]
