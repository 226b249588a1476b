"""What runs the operators that are not ours: ONNX Runtime where it is installed, or ONNX's reference evaluator.

Arrays go to a session and come from it without a copy. Its threads are as many as ours when it is made, and do not
spin: our calls come in between. Not here: which nodes run together (split.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

import rnnkernels as rk
from rnnkernels._scalars import as_choice

from .cells import UnsupportedError
from .dequantize import DequantizeLinear
from .operators import ops
from .shapes import type_named
from .vectorized import faster

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rnnkernels.parameters import Array

NUMPY, ONNXRUNTIME, OURS = "numpy", "onnxruntime", "rnnkernels"

# Element types that ONNX Runtime and NumPy give each other.
_SHARED = {
    TensorProto.BOOL, TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT16, TensorProto.INT32,
    TensorProto.INT64, TensorProto.INT8, TensorProto.STRING, TensorProto.UINT16, TensorProto.UINT32,
    TensorProto.UINT64, TensorProto.UINT8,
}  # fmt: skip


class Evaluator(ReferenceEvaluator):  # type: ignore[misc]  # onnx is not followed
    """The reference evaluator with our operators, in the bodies of functions, branches and loops too."""

    def __init__(self, proto: Any, *args: Any, new_ops: Sequence[Any] | None = None, **kwargs: Any) -> None:
        own = [*ops, DequantizeLinear, *faster]
        super().__init__(proto, *args, new_ops=[*own, *(op for op in new_ops or () if op not in own)], **kwargs)


class RefusedError(Exception):
    """An engine cannot run a part: the message says why."""


class Numpy:
    """The reference evaluator."""

    name = NUMPY
    title = "NumPy"

    def make(self, model: Any, large: Mapping[str, Array], types: dict[str, Any]) -> Callable[..., Any]:
        """Return what runs a model whose large initializers are given by name; see `OnnxRuntime.make`.

        Raises
        ------
        RefusedError
            If it lacks an operator.
        """
        del types  # arrays have theirs
        kept = onnx.ModelProto()
        kept.CopyFrom(model)
        graph = kept.graph
        small = [tensor for tensor in graph.initializer if tensor.name not in large]
        del graph.initializer[:]
        graph.initializer.extend(small)
        graph.input.extend(onnx.ValueInfoProto(name=name) for name in large)
        fixed = {name: _read_only(array) for name, array in large.items()}
        try:
            evaluator = Evaluator(kept)
        except UnsupportedError:
            raise
        except (NotImplementedError, RuntimeError) as error:
            raise RefusedError(str(error)) from error
        return lambda names, feeds: evaluator.run(names, {**feeds, **fixed})


class OnnxRuntime:
    """Sessions of ONNX Runtime.

    Raises
    ------
    ImportError
        If it is not installed.
    """

    name = ONNXRUNTIME

    def __init__(self) -> None:
        import onnxruntime  # noqa: PLC0415  # an optional package
        from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

        self._package = onnxruntime
        known = (getattr(state, name) for name in dir(state))
        self._errors = tuple(each for each in known if isinstance(each, type) and issubclass(each, Exception))
        self.title = f"ONNX Runtime {onnxruntime.__version__}"

    def make(self, model: Any, large: Mapping[str, Array], types: dict[str, Any]) -> Callable[..., Any]:
        """Return what runs a model, and add the types of its results to `types`.

        Parameters
        ----------
        model : onnx.ModelProto
            Its inputs need no type here.
        large : mapping of str to ndarray
            Initializers whose numbers are not in the model.
        types : dict of str to onnx.TypeProto

        Raises
        ------
        RefusedError
            If it lacks an operator, or a value that comes or goes has a type that is not known, or that NumPy lacks.
        """
        for value in model.graph.input:
            value.type.CopyFrom(_shared(value.name, types))
        options = self._package.SessionOptions()
        options.intra_op_num_threads = rk.num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if large:
            values = [self._package.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(a)) for a in large.values()]
            options.add_external_initializers(list(large), values)
        try:
            session = self._package.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except self._errors as error:
            raise RefusedError(str(error)) from error
        for found in session.get_outputs():
            known = type_named(found.type)
            if known is not None:
                types.setdefault(found.name, known)
            _shared(found.name, types)
        return _Session(session, self._errors)


class _Session:
    """A session that raises ValueError for what does not fit."""

    def __init__(self, session: Any, errors: tuple[type[Exception], ...]) -> None:
        self._session, self._errors = session, errors
        # What a session's `run` calls when it has looked at its arguments for some 4 us.
        inner = getattr(session, "_sess", None)
        self._run = getattr(inner, "run", session.run)

    def __call__(self, names: list[str], feeds: dict[str, Any]) -> Any:
        try:
            return self._run(names, feeds, None)
        except self._errors as error:
            raise ValueError(f"inputs: ONNX Runtime could not run the model on them: {error}") from error


def _shared(name: str, types: Mapping[str, Any]) -> Any:
    """Return the type of a value that ONNX Runtime and NumPy both have."""
    found = types.get(name)
    if found is None:
        raise RefusedError(f"the type of {name!r} is not known")
    inner = found
    while not inner.HasField("tensor_type"):
        kind = inner.WhichOneof("value")
        if kind not in ("sequence_type", "optional_type"):
            raise RefusedError(f"{name!r} is a {kind.removesuffix('_type')}")
        inner = getattr(inner, kind).elem_type
    if inner.tensor_type.elem_type not in _SHARED:
        element = TensorProto.DataType.Name(inner.tensor_type.elem_type)
        raise RefusedError(f"{name!r} is {element}, which NumPy does not have")
    return found


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def engines_of(runtime: str | None) -> tuple[Any, ...]:
    """Return what may run other operators, the first that can.

    Parameters
    ----------
    runtime : {"onnxruntime", "numpy"} or None
        None: ONNX Runtime where it is installed, NumPy for what it cannot run.

    Raises
    ------
    UnsupportedError
        If ONNX Runtime is asked for and not installed.
    """
    if runtime is not None:
        as_choice("runtime", runtime, (ONNXRUNTIME, NUMPY))
    if runtime == NUMPY:
        return (Numpy(),)
    try:
        first = OnnxRuntime()
    except ImportError as error:
        if runtime is None:
            return (Numpy(),)
        raise UnsupportedError("runtime: 'onnxruntime' is not installed: pip install 'rnnkernels[onnx]'") from error
    return (first,) if runtime == ONNXRUNTIME else (first, Numpy())
