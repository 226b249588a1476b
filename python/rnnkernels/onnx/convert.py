"""An ONNX node and its initializers as cells and parameters, and back; the numbers are moved, never computed with.

Parameters of int8 become a `DynamicQuantizeLSTM`: ONNX Runtime has such an operator for LSTM alone.

Not here: running a node (operators.py), and what is around it in a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper, numpy_helper

from rnnkernels._scalars import as_items, as_text, check_mapping
from rnnkernels.parameters import Array, Params, parameter_shapes
from rnnkernels.quantized import opened

from .cells import BUILT_IN, DEFAULTS, UnsupportedError, form_of
from .constants import Constants
from .listing import FoundNode
from .nodes import DYNAMIC, INPUTS, MICROSOFT, STORED, WEIGHTS, Attributes, computed_by, of_node, read_attributes
from .quantized import from_inputs, shapes_of, to_inputs, to_quantized
from .weights import check_shapes, from_params, to_params

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .quantized import Stored

__all__ = ["Direction", "Layer", "from_node", "to_node"]

_OUTPUTS = ("Y", "Y_h", "Y_c")


@dataclass(frozen=True, eq=False)
class Direction:
    """One direction of a layer.

    Attributes
    ----------
    cell : str
        As `rnnkernels.forward` takes it.
    params : dict of str to ndarray
        See `rnnkernels.parameter_shapes`. `to_node` also takes those of int8 that `rnnkernels.quantize_params` makes.
    reverse : bool
        As `rnnkernels.forward` takes it.
    quantized : dict of str to ndarray, or None
        The same parameters with the node's own int8 matrices and the scale of each row, as `rnnkernels.Prepared` takes
        them and `rnnkernels.quantize_params` makes them. None where the node has no such matrices: it keeps floats,
        scales that serve less than a row, or zero points that leave more than 127 on one side.
    """

    cell: str
    params: Params
    reverse: bool = False
    quantized: Params | None = None


@dataclass(frozen=True, eq=False)
class Layer:
    """What a node computes: ``rk.forward(d.cell, x, d.params, reverse=d.reverse)`` for each direction d.

    Attributes
    ----------
    directions : tuple of Direction
        One, or first forward, then in reverse.
    layout : {0, 1}
        1: the node's arrays begin with the batch, X (B, T, I), Y (B, T, directions, H), states (B, directions, H).
        0: X (T, B, I), Y (T, directions, B, H), states (directions, B, H).
    """

    directions: tuple[Direction, ...]
    layout: int = 0


def from_node(node: Any, initializers: Any = None) -> Layer:
    """Return the cells and parameters of an RNN, GRU or LSTM node, or of a DynamicQuantizeLSTM.

    Parameters
    ----------
    node : onnx.NodeProto or FoundNode
        What `layers` found needs no `initializers`.
    initializers : mapping of str to array, onnx.ModelProto, onnx.GraphProto, or iterable
        What W, R, and B, P, scales and zero points where the node names them, are found in: a graph's ``initializer``,
        say. A model or a graph is searched for what its nodes compute from constants, too, whatever the operators are.
        Of a node in a branch or a loop, the model, or an iterable of the graph that it is in and those around it. An
        iterable may hold tensors, nodes and graphs; of two of one name the first counts.

    Returns
    -------
    Layer
        Its cells are built-in ones where these compute the same, else cells made of the node's equations.
        float32 or float64 as the initializers are; half precisions become float32, exactly. Integers become float32
        as DequantizeLinear makes them; where they are int8 with a scale for each row, `Direction.quantized` has them.

    Raises
    ------
    UnsupportedError
        If the node asks for one cell more than a process may have.
    TypeError, ValueError
        If the node is of another operator, an initializer is missing or depends on an input of the model, or shapes or
        dtypes do not fit.
    """
    constants = None
    if isinstance(node, FoundNode):
        node, constants = node.node, node.constants if initializers is None else None
    operator = computed_by(node)
    if operator is None:
        what = getattr(node, "op_type", None) or type(node).__name__
        raise ValueError(f"node: expected an RNN, GRU, LSTM or DynamicQuantizeLSTM, got {what}")
    settings = read_attributes(node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute})
    given, stored = _weights(settings, node, constants or Constants(initializers, node))
    check_shapes(settings, given)
    try:
        cells = settings.cells(peepholes=given["P"] is not None)
    except UnsupportedError as error:
        raise of_node(error, node) from None
    directions = []
    for at, (cell, reverse) in enumerate(zip(cells, settings.reverse, strict=True)):
        one = {name: None if array is None else array[at] for name, array in given.items()}
        params = to_params(operator, cell, one)
        directions.append(Direction(cell, params, reverse, to_quantized(operator, cell, stored, at, params)))
    return Layer(tuple(directions), settings.layout)


def _weights(
    settings: Attributes, node: Any, constants: Constants
) -> tuple[dict[str, Array | None], dict[str, Stored | None]]:
    """Return W, R, B and P as floats, and W and R as integers where a node has them so."""
    dynamic = node.op_type not in DEFAULTS
    given: dict[str, Array | None] = dict.fromkeys(STORED if dynamic else WEIGHTS)
    names = {role: name for role, name in zip(INPUTS, node.input, strict=False) if role in given and name}
    given |= {role: _wide(constants.find(role, name)) for role, name in names.items()}
    if not dynamic:
        return given, {role: constants.stored(role, names[role]) for role in ("W", "R") if role in names}
    shapes_of(settings, given)
    stored = from_inputs(given)
    floats = {role: each.floats() for role, each in stored.items()}
    return {"W": floats["W"], "R": floats["R"], "B": given["B"], "P": given["P"]}, dict(stored)


def to_node(
    layer: Layer,
    name: str = "",
    *,
    inputs: Mapping[str, str] | None = None,
    outputs: Sequence[str] = _OUTPUTS,
) -> tuple[Any, list[Any]]:
    """Return a node and its initializers.

    Parameters
    ----------
    layer : Layer
        Of the cells `rnn_tanh`, `rnn_relu`, `gru`, `gru_reset_before`, `lstm`, `lstm_peephole`, `lstm_cifg`,
        `lstm_niaf` and `lstm_noaf`, and of those that `from_node` made in this process. Two directions may differ in
        their activation functions only.
    name : str
        Of the node; the initializers are called ``{name}.W`` and so on, ``W`` where it is empty.
    inputs : mapping of str to str, optional
        The names of its inputs in the graph, by ONNX's: ``X`` (default ``"X"``), and ``sequence_lens``, ``initial_h``,
        ``initial_c`` where the node has them.
    outputs : sequence of str
        The names of Y, Y_h and, of an LSTM, Y_c; ``""`` for one that is not wanted.

    Returns
    -------
    node : onnx.NodeProto
        Of parameters of int8 (`rnnkernels.quantize_params`, `Direction.quantized`) a DynamicQuantizeLSTM, whose model
        needs ``onnx.helper.make_opsetid("com.microsoft", 1)`` beside its opset.
    initializers : list of onnx.TensorProto
        W, R and, where there are such, B and P, of the parameters' dtype; of integers their scales and zero points, 0,
        for each row too. `from_node` gives the same parameters again, integers as `Direction.quantized`; a bias that is
        missing beside another comes back as zeros.

    Raises
    ------
    UnsupportedError
        If ONNX has no operator for a cell, or ONNX Runtime none with weights of int8: it has LSTM's, of layout 0.
    TypeError, ValueError
        If the directions, the parameters or the names do not fit.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"layer: expected a Layer, got {type(layer).__name__}")
    as_text("name", name)
    if inputs is not None:
        check_mapping("inputs", inputs, "names to names")
    wanted = [as_text("outputs", output) for output in as_items("outputs", outputs, "a tuple of names")]
    settings, parts = _settings(layer)
    dynamic = "W_scale" in parts[0]
    operator = DYNAMIC + settings.operator if dynamic else settings.operator
    names = {"X": "X", **(inputs or {})}
    states = ("initial_h", "initial_c") if settings.operator == "LSTM" else ("initial_h",)
    wrong = sorted(set(names) - {"X", "sequence_lens", *states})
    if wrong:
        raise ValueError(f"inputs: {operator} has no input {', '.join(wrong)}")
    arrays = {role: np.stack([part[role] for part in parts]) for role in STORED if role in parts[0]}
    if dynamic:
        arrays = to_inputs(arrays)
    names |= {role: f"{name}.{role}" if name else role for role in arrays}
    places = [names.get(role, "") for role in INPUTS[: max(INPUTS.index(role) for role in names) + 1]]
    wanted = wanted[: 3 if settings.operator == "LSTM" else 2]
    while wanted and not wanted[-1]:
        wanted.pop()
    if not wanted:
        raise ValueError("outputs: expected at least one name, got none")
    domain = MICROSOFT if dynamic else None
    node = helper.make_node(operator, places, wanted, name=name, domain=domain, **_attributes(settings))
    return node, [numpy_helper.from_array(arrays[role], names[role]) for role in STORED if role in arrays]


def _settings(layer: Layer) -> tuple[Attributes, list[dict[str, Array]]]:
    """Return the attributes of a layer's node, and each direction's weights in ONNX's order."""
    reverse = tuple(bool(direction.reverse) for direction in layer.directions)
    if reverse not in ((False,), (True,), (False, True)):
        raise ValueError(f"layer: expected one direction, or one forward and one in reverse, got {len(reverse)}")
    if layer.layout not in (0, 1):
        raise ValueError(f"layer: expected layout 0 or 1, got {layer.layout!r}")
    forms, parameters = [], []
    for direction in layer.directions:
        form = form_of(direction.cell)
        if form is None:
            raise UnsupportedError(
                f"cell: ONNX has no operator for {direction.cell!r}; it has for "
                f"{', '.join(BUILT_IN.values())}, and for what from_node returned in this process"
            )
        forms.append(form)
        parameters.append(_checked(direction))
    operator = forms[0].operator
    for direction, params in zip(layer.directions, parameters, strict=True):
        if "weight_ih_scale" in params:
            _check_dynamic(operator, direction.cell, layer.layout)
    if len({form._replace(functions=()) for form in forms}) > 1:
        one, other = (direction.cell for direction in layer.directions)
        raise UnsupportedError(f"layer: one node cannot have a direction of {one:s} and one of {other:s}")
    parts = [from_params(operator, d.cell, p) for d, p in zip(layer.directions, parameters, strict=True)]
    if any("B" in part for part in parts):
        dtype = next(part["B"].dtype for part in parts if "B" in part)
        for part in parts:
            part.setdefault("B", np.zeros(2 * len(part["R"]), dtype))
    for role in parts[0]:
        first, last = parts[0][role], parts[-1][role]
        if first.shape != last.shape or first.dtype != last.dtype:
            raise ValueError(
                f"layer: expected both directions alike, got {role} of {first.shape} {first.dtype} "
                f"and {last.shape} {last.dtype}"
            )
    settings = Attributes(
        operator,
        reverse,
        tuple(form.functions for form in forms),
        parts[0]["R"].shape[-1],
        forms[0].clip,
        layer.layout,
        forms[0].linear_before_reset,
        forms[0].input_forget,
    )
    return settings, parts


def _check_dynamic(operator: str, cell: str, layout: int) -> None:
    """Raise where no operator has weights of int8."""
    if operator != "LSTM":
        raise UnsupportedError(
            f"params: no ONNX operator has {operator}'s weights as int8, {DYNAMIC}LSTM has LSTM's alone: "
            f"expected floats for {cell:s}"
        )
    if layout:
        raise UnsupportedError(f"layer: {DYNAMIC}LSTM has no layout: expected 0 for params of int8, got {layout}")


def _attributes(settings: Attributes) -> dict[str, Any]:
    """Return a node's attributes: the size, and what is not the default."""
    found: dict[str, Any] = {"hidden_size": settings.hidden_size}
    if settings.reverse != (False,):
        found["direction"] = "reverse" if settings.reverse == (True,) else "bidirectional"
    functions = [function for each in settings.functions for function in each]
    if functions != [*DEFAULTS[settings.operator]] * len(settings.reverse):
        found["activations"] = [function.name for function in functions]
        for at, name in enumerate(("activation_alpha", "activation_beta")):
            constants = [function.constants[at] for function in functions if len(function.constants) > at]
            if constants:
                found[name] = constants
    if settings.clip is not None:
        found["clip"] = settings.clip
    flags = ("layout", "linear_before_reset", "input_forget")
    return found | {flag: 1 for flag in flags if getattr(settings, flag)}


def _checked(direction: Direction) -> Params:
    """Return a direction's parameters, whose shapes fit together: floats, or integers and their scales."""
    params, scales = opened(direction.cell, direction.params)
    weights = params["weight_ih"], params["weight_hh"]
    if any(weight.ndim != 2 for weight in weights):
        raise ValueError(f"weight_ih, weight_hh: expected 2 dimensions, got {weights[0].shape} and {weights[1].shape}")
    expected = parameter_shapes(direction.cell, weights[0].shape[1], weights[1].shape[1])
    for name, array in params.items():
        if array.shape != expected[name]:
            raise ValueError(f"params[{name!r}]: expected shape {expected[name]}, got {array.shape}")
    if scales is None:
        return params
    integers = [name + end for name in ("weight_ih", "weight_hh") for end in ("", "_scale")]
    return params | {name: np.asarray(direction.params[name]) for name in integers}


def _wide(array: Array) -> Array:
    """Return half precisions as float32, exactly."""
    return array.astype(np.float32) if array.dtype.name in ("float16", "bfloat16") else array
