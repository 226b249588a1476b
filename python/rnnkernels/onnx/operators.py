"""The operators RNN, GRU, LSTM and DynamicQuantizeLSTM for `onnx.reference.ReferenceEvaluator`, on the kernels.

`ops` are the classes that an evaluator takes as ``new_ops=``; the rest of a model runs as it does without them. An
evaluator does not hand them to a model's local functions; `rnnkernels.onnx.Backend` does. Not here: nodes whose weights
are known before the first call (steps.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from onnx.reference.op_run import OpRun

from rnnkernels.parameters import Array, Params
from rnnkernels.prepared import Prepared

from .cells import UnsupportedError
from .nodes import MICROSOFT, SCALES, WEIGHTS, Attributes, check_opset, of_node, read_attributes
from .quantized import from_inputs, shapes_of, to_quantized
from .weights import check_shapes, to_params

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    State = tuple[Array, ...]

__all__ = ["ops"]

COMPUTED = (np.dtype(np.float32), np.dtype(np.float64))


class Given(NamedTuple):
    """What a node is given beside its weights, by ONNX's names."""

    X: Array
    sequence_lens: Array | None
    initial_h: Array | None
    initial_c: Array | None


class _Kept(NamedTuple):
    """Packed weights, and the arrays they were made of."""

    weights: tuple[Array | None, ...]
    layers: list[Prepared]


class _Recurrent(OpRun):  # type: ignore[misc]  # onnx is not followed
    """A node. Weights that nobody can write to, as an evaluator's initializers are, are packed once."""

    op_domain = ""

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
        super().__init__(onnx_node, run_params, schema)
        self.operator = type(self).__name__
        check_opset(self.operator, run_params["opsets"])
        self._given = {attribute.name for attribute in onnx_node.attribute}
        self._settings: Attributes | None = None  # None: of a function that is told some by its caller
        self._kept: _Kept | None = None
        if not self.has_linked_attribute:
            self._settings = read_attributes(self.operator, {name: getattr(self, name) for name in self._given})

    def run(self, *args: Any, **kwargs: Any) -> tuple[Array | None, ...]:
        """Run the node: an evaluator calls this.

        A result without a name is None. An evaluator keeps it under the name "", from where the nodes that follow take
        an input that is missing; for the same reason an input without a name is taken for None, whatever comes.
        """
        inputs = [value if name else None for name, value in zip(self.onnx_node.input, args, strict=True)]
        try:
            found = super().run(*inputs, **kwargs)
        except UnsupportedError as error:
            raise of_node(error, self.onnx_node) from None
        except TypeError as error:  # the base class puts one without what was wrong before ours
            if isinstance(error.__cause__, TypeError):
                raise error.__cause__ from None
            raise
        return tuple(value if name else None for name, value in zip(self.onnx_node.output, found, strict=False))

    def _run(
        self,
        X: Array,
        W: Array,
        R: Array,
        B: Array | None = None,
        sequence_lens: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        P: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        settings = self._asked(attributes)
        weights = {"W": W, "R": R, "B": B, "P": P}
        given = Given(X, sequence_lens, initial_h, initial_c)
        check_shapes(settings, {**weights, **given._asdict()})
        return results(settings, self._layers(settings, weights), given)

    def _asked(self, attributes: Mapping[str, Any]) -> Attributes:
        """Return the node's settings, those that its caller tells among them."""
        if self._settings is not None:
            return self._settings
        return read_attributes(self.operator, {name: attributes[name] for name in self._given})

    def _layers(self, settings: Attributes, weights: Mapping[str, Array | None]) -> list[Prepared]:
        """Return each direction's layer: that of the last call where it must be the same."""
        arrays, kept = tuple(weights.values()), self._kept
        if kept is not None and all(new is old for new, old in zip(arrays, kept.weights, strict=True)):
            return kept.layers
        layers = layers_of(settings, weights)
        if self._settings is not None and all(array is None or _constant(array) for array in arrays):
            self._kept = _Kept(arrays, layers)
        return layers


class RNN(_Recurrent):
    """RNN, opset 7 and later."""


class GRU(_Recurrent):
    """GRU, opset 7 and later."""


class LSTM(_Recurrent):
    """LSTM, opset 7 and later."""


class DynamicQuantizeLSTM(_Recurrent):
    """ONNX Runtime's LSTM of integers.

    Weights that are int8 with a scale for each row keep to our own arithmetic of these: activations are quantised for
    each row of the batch and each step. Others are computed with as floats.
    """

    op_domain = MICROSOFT

    def _run(
        self,
        X: Array,
        W: Array,
        R: Array,
        B: Array | None = None,
        sequence_lens: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        P: Array | None = None,
        W_scale: Array | None = None,
        W_zero_point: Array | None = None,
        R_scale: Array | None = None,
        R_zero_point: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        settings = self._asked(attributes)
        scales = (W_scale, W_zero_point, R_scale, R_zero_point)
        weights = {"W": W, "R": R, "B": B, "P": P, **dict(zip(SCALES, scales, strict=True))}
        given = Given(X, sequence_lens, initial_h, initial_c)
        others = {"B": B, "P": P, **given._asdict()}
        check_shapes(settings, {**shapes_of(settings, {**weights, **others}), **others})
        return results(settings, self._layers(settings, weights), given)


ops = [RNN, GRU, LSTM, DynamicQuantizeLSTM]


def layers_of(settings: Attributes, weights: Mapping[str, Array | None], *, tokens: bool = False) -> list[Prepared]:
    """Return each direction's layer, its weights packed; of a DynamicQuantizeLSTM `weights` have its scales, too.

    They take vectors, or tokens, which pick columns of W.

    Raises
    ------
    UnsupportedError
        If the node asks for one cell more than a process may have.
    """
    dynamic = SCALES[0] in weights
    stored = from_inputs(weights) if dynamic else {}
    floats = {**weights, **{name: each.floats() for name, each in stored.items()}}
    found = []
    for at, cell in enumerate(settings.cells(peepholes=weights["P"] is not None)):
        one = {name: None if (a := floats[name]) is None else _compute(a[at]) for name in WEIGHTS}
        params: Params = to_params(settings.operator, cell, one)
        integers = to_quantized(settings.operator, cell, stored, at, params) if dynamic else None
        found.append(Prepared(cell, integers or params, tokens=tokens))
    return found


def results(settings: Attributes, layers: Sequence[Prepared], given: Given) -> tuple[Array, ...]:
    """Return what a node gives for arrays that fit together: Y, Y_h and, of an LSTM, Y_c; X may be tokens (T, B)."""
    X, sequence_lens, initial_h, initial_c = given
    x = X if X.ndim == 2 else _compute(X)  # tokens, or vectors
    if settings.layout:
        x = x.swapaxes(0, 1)
        initial_h, initial_c = (None if a is None else a.swapaxes(0, 1) for a in (initial_h, initial_c))
    runs = []
    for at, (layer, reverse) in enumerate(zip(layers, settings.reverse, strict=True)):
        state = states_of(settings.operator, initial_h, initial_c, at)
        runs.append(layer.forward(x, state, lengths=sequence_lens, reverse=reverse))
    Y = _together([output for output, _ in runs], 1)  # (T, directions, B, H)
    ends = [_together(parts, 0) for parts in zip(*(state for _, state in runs), strict=True)]  # (directions, B, H)
    if settings.layout:
        Y, ends = Y.transpose(2, 0, 1, 3), [end.swapaxes(0, 1) for end in ends]
    dtype = Y.dtype if X.ndim == 2 else X.dtype
    return tuple(np.ascontiguousarray(found, dtype) for found in (Y, *ends))


def states_of(operator: str, initial_h: Array | None, initial_c: Array | None, at: int) -> State | None:
    """Return a direction's initial states, each (B, H); None: zeros."""
    h, c = (None if array is None else _compute(array[at]) for array in (initial_h, initial_c))
    if operator != "LSTM":
        return None if h is None else (h,)
    if h is None:
        return None if c is None else (np.zeros_like(c), c)
    return h, np.zeros_like(h) if c is None else c


def _together(parts: Sequence[Array], axis: int) -> Array:
    """Return arrays along a new axis; no copy of a single one."""
    return np.expand_dims(parts[0], axis) if len(parts) == 1 else np.stack(parts, axis)


def _compute(array: Array) -> Array:
    """Return an array as the kernels take it: half precisions become float32, exactly."""
    return array if array.dtype in COMPUTED else array.astype(np.float32)


def _constant(array: Array) -> bool:
    """Whether nobody can change an array: it is read-only, down to the memory it looks at."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return base is None or isinstance(base, bytes)
