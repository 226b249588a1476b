"""A standard ONNX backend: RNN, GRU, LSTM and DynamicQuantizeLSTM on the kernels, all else by the reference evaluator.

ONNX's reference evaluator is plain NumPy: a model whose time goes into other operators is slow in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import defs, helper
from onnx.backend import base
from onnx.reference import ReferenceEvaluator

from rnnkernels._scalars import as_items, as_text

from .cells import UnsupportedError
from .dequantize import DequantizeLinear
from .folding import fold
from .operators import ops

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

    Inputs = Mapping[str, Any] | Sequence[Any] | Array

__all__ = ["Backend", "BackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class _Evaluator(ReferenceEvaluator):  # type: ignore[misc]  # onnx is not followed
    """The reference evaluator with our operators, in the bodies of functions, branches and loops too."""

    def __init__(self, proto: Any, *args: Any, new_ops: Sequence[Any] | None = None, **kwargs: Any) -> None:
        own = [*ops, DequantizeLinear]
        super().__init__(proto, *args, new_ops=[*own, *(op for op in new_ops or () if op not in own)], **kwargs)


class BackendRep(base.BackendRep):  # type: ignore[misc]  # onnx is not followed
    """A model that is ready to run; `Backend.prepare` makes one.

    Attributes
    ----------
    input_names : tuple of str
        What `run` must be given, in order: the graph's inputs but for those that have an initializer.
    output_names : tuple of str
    """

    def __init__(self, evaluator: Any, graph: Any) -> None:
        self._evaluator = evaluator
        initialized = {tensor.name for tensor in graph.initializer}
        initialized |= {tensor.values.name for tensor in graph.sparse_initializer}
        self._types = {value.name: value.type for value in graph.input}
        self.input_names = tuple(name for name in self._types if name not in initialized)
        self.output_names = tuple(value.name for value in graph.output)
        self._outputs = base.namedtupledict("Outputs", self.output_names)

    def run(self, inputs: Inputs, **kwargs: Any) -> Any:
        """Run the model.

        Parameters
        ----------
        inputs : mapping of str to array, sequence of array, or array
            By name, in the order of `input_names`, or the only one. By name, an input that has an initializer may be
            given another value.

        Returns
        -------
        namedtuple
            In the order of `output_names`; ``result["name"]`` works too.

        Raises
        ------
        UnsupportedError
            If a node asks for one cell more than a process may have.
        TypeError, ValueError
            If inputs are missing, unknown or of a wrong type, dtype or shape.
        """
        _no_options("run", kwargs)
        feeds = _feeds(inputs, self.input_names, self._types)
        found = self._evaluator.run(None, feeds)
        return self._outputs(*found)


class Backend(base.Backend):  # type: ignore[misc]  # onnx is not followed
    """The backend; see `onnx.backend.base.Backend`. Its device is the CPU."""

    @classmethod
    def is_compatible(cls, model: Any, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether `prepare` takes a valid model."""
        try:
            cls.prepare(model, device, **kwargs)
        except UnsupportedError:
            return False
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """Make a model ready to run.

        Parameters
        ----------
        model : onnx.ModelProto
        device : str
            ``"CPU"``.

        Raises
        ------
        UnsupportedError
            If it holds what is not served: a device, an opset, an operator.
        onnx.checker.ValidationError
            If it is no valid model.
        """
        _no_options("prepare", kwargs)
        _check_device(device)
        if not isinstance(model, onnx.ModelProto):
            raise TypeError(f"model: expected an onnx.ModelProto, got {type(model).__name__}")
        super().prepare(model, device)
        return BackendRep(_evaluate(fold(model)), model.graph)

    @classmethod
    def run_model(cls, model: Any, inputs: Inputs, device: str = "CPU", **kwargs: Any) -> Any:
        """Prepare a model and run it once; see `prepare` and `BackendRep.run`."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: Any,
        inputs: Inputs,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run one node.

        Parameters
        ----------
        node : onnx.NodeProto
        inputs : mapping of str to array, sequence of array, or array
            Of the inputs that the node names, in its order: nothing for a missing one.
        device : str
            ``"CPU"``.
        outputs_info : sequence of (dtype, shape), optional
            Not needed.

        Returns
        -------
        namedtuple
            Of the outputs that the node names.

        Other Parameters
        ----------------
        opset_version : int, optional
            Default: the newest that the installed onnx has.

        Raises
        ------
        UnsupportedError, TypeError, ValueError, onnx.checker.ValidationError
            As `prepare` and `BackendRep.run`.
        """
        opset = kwargs.pop("opset_version", defs.onnx_opset_version())
        _no_options("run_node", kwargs)
        _check_device(device)
        if not isinstance(node, onnx.NodeProto):
            raise TypeError(f"node: expected an onnx.NodeProto, got {type(node).__name__}")
        if node.domain in ("", "ai.onnx"):  # of others there is nothing to check a node by
            super().run_node(node, inputs, device, outputs_info, opset_version=opset)
        names = tuple(dict.fromkeys(name for name in node.input if name))
        feeds = _feeds(inputs, names, {})
        infos = [_info(name, value) for name, value in feeds.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", infos, outputs)
        return BackendRep(_evaluate(graph, opsets={node.domain: 1, "": opset}), graph).run(feeds)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device is the CPU."""
        return as_text("device", device).split(":", maxsplit=1)[0] == "CPU"


def _evaluate(proto: Any, **options: Any) -> Any:
    try:
        return _Evaluator(proto, **options)
    except UnsupportedError:
        raise
    except (NotImplementedError, RuntimeError) as error:  # an operator that the reference evaluator lacks
        raise UnsupportedError(f"model: {error}") from error


def _info(name: str, array: Array) -> Any:
    """Return what a graph says of an input."""
    try:
        element = helper.np_dtype_to_tensor_dtype(array.dtype)
    except (KeyError, ValueError):
        raise TypeError(f"{name}: ONNX has no type for dtype {array.dtype}") from None
    return helper.make_tensor_value_info(name, element, array.shape)


def _check_device(device: str) -> None:
    if not Backend.supports_device(device):
        raise UnsupportedError(f"device: expected 'CPU', got {device!r}")


def _no_options(method: str, options: Mapping[str, Any]) -> None:
    if options:
        raise TypeError(f"{method}: there is no option {', '.join(options)}")


def _feeds(inputs: Inputs, names: tuple[str, ...], types: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs by name; `types` are those that the graph declares."""
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    else:
        values = (inputs,) if isinstance(inputs, np.ndarray) else as_items("inputs", inputs, "arrays, or a mapping")
        if len(values) != len(names):
            raise ValueError(f"inputs: expected {len(names)} ({', '.join(names)}), got {len(values)}")
        given = dict(zip(names, values, strict=True))
    missing = [name for name in names if name not in given]
    unknown = [str(name) for name in given if name not in names and name not in types]
    if missing or unknown:
        found = [f"no {name}" for name in missing] + [f"an unknown {name}" for name in unknown]
        raise ValueError(f"inputs: expected {', '.join(names)}; got {', '.join(found)}")
    return {name: _checked(name, value, types.get(name)) for name, value in given.items()}


def _checked(name: str, value: Any, declared: Any) -> Any:
    """Return an input; a tensor as an array of the declared dtype and number of dimensions."""
    if declared is not None and not declared.HasField("tensor_type"):
        return value
    if value is None:
        raise TypeError(f"{name}: expected an array, got None")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise TypeError(f"{name}: expected an array, got {type(value).__name__}: {error}") from None
    if declared is None or not declared.tensor_type.elem_type:
        return array
    dtype = helper.tensor_dtype_to_np_dtype(declared.tensor_type.elem_type)
    if array.dtype != dtype and dtype.kind != "O":
        raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    if declared.tensor_type.HasField("shape") and array.ndim != len(declared.tensor_type.shape.dim):
        raise ValueError(f"{name}: expected {len(declared.tensor_type.shape.dim)} dimensions, got shape {array.shape}")
    return array


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
