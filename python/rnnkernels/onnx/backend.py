"""A standard ONNX backend: RNN, GRU, LSTM and DynamicQuantizeLSTM on the kernels, all else in ONNX Runtime.

Where ONNX Runtime is not installed, or cannot run a part, ONNX's reference evaluator runs it, plain NumPy: a model
whose time goes into other operators is slow in it. `BackendRep.parts` says what runs where.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import defs, helper
from onnx.backend import base

from rnnkernels._scalars import as_items, as_text

from .cells import UnsupportedError
from .engines import NUMPY, engines_of
from .graphs import loaded
from .shapes import dims_of
from .split import Part, Plan

if TYPE_CHECKING:
    from rnnkernels.parameters import Array

    Inputs = Mapping[str, Any] | Sequence[Any] | Array

__all__ = ["Backend", "BackendRep", "is_compatible", "prepare", "run_model", "run_node", "supports_device"]


class BackendRep(base.BackendRep):  # type: ignore[misc]  # onnx is not followed
    """A model that is ready to run; `Backend.prepare` makes one.

    Attributes
    ----------
    input_names : tuple of str
        What `run` must be given, in order: the graph's inputs but for those that have an initializer.
    output_names : tuple of str
    parts : tuple of Part
        What runs where, in the order of a run; `print` of a model shows it. Parts of a branch or a loop have its path.
        A model with branches is made ready once more for the shapes of its first call: where these decide a branch, a
        call of the same shapes does not ask again, and the parts are those of such a call.
    """

    def __init__(self, model: Any, runtime: str | None) -> None:
        graph = model.graph
        initialized = {tensor.name for tensor in graph.initializer}
        initialized |= {tensor.values.name for tensor in graph.sparse_initializer}
        self._name = graph.name
        names = [value.name for value in graph.input]
        self.input_names = tuple(name for name in names if name not in initialized)
        self.output_names = tuple(value.name for value in graph.output)
        self._outputs = base.namedtupledict("Outputs", self.output_names)
        self._engines = engines_of(runtime)
        self._plan = Plan(model, self._engines)
        holds = self._plan.holds_shapes
        self._inputs = {value.name: _Input.of(value.name, value.type, holds) for value in graph.input}
        self._lock = threading.Lock()
        self._plans: dict[frozenset[str], Plan] = {}
        self._model = model if self._plan.undecided or len(self.input_names) < len(names) else None
        self._required = [(name, self._inputs[name]) for name in self.input_names]
        self._names = set(self.input_names)
        self._tensors = [name for name, known in self._required if known.tensor]
        self._seen: list[tuple[int, ...]] | None = None  # the shapes that `_decided` is for: those of the first call
        self._decided = self._plan

    @property
    def parts(self) -> tuple[Part, ...]:
        """What runs where: see the class."""
        return self._decided.parts

    def __repr__(self) -> str:
        lines = [f"BackendRep of {self._name!r}, {len(self.parts)} parts:", *(f"  {part}" for part in self.parts)]
        return "\n".join(lines)

    def run(self, inputs: Inputs, **kwargs: Any) -> Any:
        """Run the model.

        Parameters
        ----------
        inputs : mapping of str to array, sequence of array, or array
            By name, in the order of `input_names`, or the only one. By name, an input that has an initializer may be
            given another value: the model is then made ready once more, at the first call that gives this input.

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
        if type(inputs) is dict and inputs.keys() == self._names:  # most calls: there is nothing to ask about names
            feeds = {name: known.array(inputs[name]) for name, known in self._required}
        else:
            feeds = _feeds(inputs, self.input_names, self._inputs)
        return self._outputs(*self._plan_of(feeds).run(feeds))

    def _plan_of(self, feeds: Mapping[str, Any]) -> Plan:
        """Return the plan for which what is given is no constant, and shapes are what they are."""
        if len(feeds) == len(self._required):
            if not self._plan.undecided:
                return self._plan
            shapes = [feeds[name].shape for name in self._tensors]
            if self._seen is None:
                self._decide(shapes)
            return self._decided if shapes == self._seen else self._plan
        given = frozenset(name for name in feeds if name not in self.input_names)
        with self._lock:
            if given not in self._plans:
                self._plans[given] = Plan(self._model, self._engines, given)
            return self._plans[given]

    def _decide(self, shapes: list[tuple[int, ...]]) -> None:
        """Make a plan for the shapes of the first call, where it has fewer branches."""
        with self._lock:
            if self._seen is None:
                try:
                    plan = Plan(self._model, self._engines, shapes=dict(zip(self._tensors, shapes, strict=True)))
                except (UnsupportedError, TypeError, ValueError):  # shapes that do not fit: the run says so
                    return
                places = {part.where for part in self._plan.parts}
                if plan.undecided < self._plan.undecided and all(part.where in places for part in plan.parts):
                    self._decided = plan
                self._seen = shapes


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
        model : onnx.ModelProto, str or os.PathLike
            A path, where initializers lie in files of their own.
        device : str
            ``"CPU"``.

        Other Parameters
        ----------------
        runtime : {"onnxruntime", "numpy"}, optional
            What runs the operators that are not ours. Default: ONNX Runtime where it is installed, ONNX's reference
            evaluator elsewhere and for what ONNX Runtime refuses; `BackendRep.parts` says which and why. A runtime
            that is named runs all, or the model is refused. ONNX Runtime has as many threads as our kernels now.

        Raises
        ------
        UnsupportedError
            If it holds what is not served: a device, an opset, an operator; if ONNX Runtime is asked for and not
            installed.
        onnx.checker.ValidationError
            If it is no valid model.
        """
        runtime = kwargs.pop("runtime", None)
        _no_options("prepare", kwargs)
        _check_device(device)
        proto = loaded(model)
        if proto is model:
            super().prepare(model, device)
        else:
            onnx.checker.check_model(str(model))
        return BackendRep(proto, runtime)

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
        feeds = _feeds(inputs, names, {name: _Input(name) for name in names})
        infos = [_info(name, value) for name, value in feeds.items()]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", infos, outputs)
        opsets = {node.domain: 1, "": opset}
        imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        return BackendRep(helper.make_model(graph, opset_imports=imports), NUMPY).run(feeds)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a device is the CPU."""
        return as_text("device", device).split(":", maxsplit=1)[0] == "CPU"


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


class _Input(NamedTuple):
    """What is known of an input.

    Attributes
    ----------
    name : str
    tensor : bool
        Whether it is one, and no sequence or optional value.
    dtype : numpy.dtype or None
        None: any, also of texts, which NumPy has several of.
    ndim : int or None
    dims : tuple of (int or None), or None
        What an array's shape must be; None for a dimension that is open.
    """

    name: str
    tensor: bool = True
    dtype: np.dtype[Any] | None = None
    ndim: int | None = None
    dims: tuple[int | None, ...] | None = None

    @classmethod
    def of(cls, name: str, declared: Any, holds: bool) -> _Input:
        """Return what a graph says; `holds`: whether the dimensions must be those that it says."""
        if not declared.HasField("tensor_type"):
            return cls(name, tensor=False)
        element, dims = declared.tensor_type.elem_type, dims_of(declared)
        dtype = helper.tensor_dtype_to_np_dtype(element) if element else None
        fixed = tuple(dims) if holds and dims is not None and any(dim is not None for dim in dims) else None
        kept = None if dtype is None or dtype.kind == "O" else dtype
        return cls(name, True, kept, None if dims is None else len(dims), fixed)

    def array(self, value: Any) -> Any:
        """Return a value as an array of the dtype and number of dimensions that are declared."""
        if not self.tensor:
            return value
        if type(value) is not np.ndarray:
            value = self._made(value)
        if self.dtype is not None and value.dtype != self.dtype:
            raise TypeError(f"{self.name}: expected dtype {self.dtype}, got {value.dtype}")
        if self.ndim is not None and value.ndim != self.ndim:
            raise ValueError(f"{self.name}: expected {self.ndim} dimensions, got shape {value.shape}")
        if self.dims is not None:
            for dim, length in zip(self.dims, value.shape, strict=True):
                if dim is not None and dim != length:
                    expected = ", ".join("any" if dim is None else str(dim) for dim in self.dims)
                    raise ValueError(f"{self.name}: expected shape ({expected}) as the model says, got {value.shape}")
        return value

    def _made(self, value: Any) -> Any:
        if value is None:
            raise TypeError(f"{self.name}: expected an array, got None")
        try:
            return np.asarray(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise TypeError(f"{self.name}: expected an array, got {type(value).__name__}: {error}") from None


def _feeds(inputs: Inputs, names: tuple[str, ...], known: Mapping[str, _Input]) -> dict[str, Any]:
    """Return the inputs by name; `known`: what the graph declares."""
    if isinstance(inputs, Mapping):
        given = inputs
    else:
        values = (inputs,) if isinstance(inputs, np.ndarray) else as_items("inputs", inputs, "arrays, or a mapping")
        if len(values) != len(names):
            raise ValueError(f"inputs: expected {len(names)} ({', '.join(names)}), got {len(values)}")
        given = dict(zip(names, values, strict=True))
    missing = [name for name in names if name not in given]
    unknown = [str(name) for name in given if name not in known]
    if missing or unknown:
        found = [f"no {name}" for name in missing] + [f"an unknown {name}" for name in unknown]
        raise ValueError(f"inputs: expected {', '.join(names)}; got {', '.join(found)}")
    return {name: known[name].array(value) for name, value in given.items()}


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
