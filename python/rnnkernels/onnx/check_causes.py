"""In what words a direction of a node differs from the direction of a layer that it should be.

Attributes, weights, initial states, lengths and layout are compared; what is found says which it is: rows in another
order of gates, a bias on the forget gate, the reset on the other side of the product. Not here: running either side.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from rnnkernels.convert._layouts import gates_of
from rnnkernels.parameters import cell_info

from .cells import Form, form_of
from .weights import GATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rnnkernels.parameters import Array

    from .check_model import Half
    from .check_module import Part

_MATRICES: dict[str, str] = {"weight_ih": "W", "weight_hh": "R"}
_MOST_PERMUTED = 4  # gates
_ROUNDED = 0.01  # of the largest weight: more than int8 or a half rounds off
_ONNX = {"n": "h", "g": "c"}  # what ONNX calls the gates that have other names here


def differences(half: Half, part: Part, tolerance: float) -> Iterator[str]:
    """Yield, in words, how a node's direction differs from a layer's in what both say of themselves."""
    if half.direction is not None:
        theirs, ours = form_of(half.direction.cell), form_of(part.cell)
        if theirs is not None and ours is not None:
            yield from _of_forms(theirs, ours, half)
        elif half.direction.cell != part.cell:
            yield f"it is {half.direction.cell:s}, the layer is {part.cell:s}, for which ONNX has no operator"
    reverse = half.settings.reverse[half.at]
    if reverse != part.reverse:
        ways = {False: "forward", True: "in reverse"}
        yield f"direction: it runs {ways[reverse]}, the layer's weights run {ways[part.reverse]}"
    yield from _of_weights(half, part, tolerance)
    yield from _of_run(half, part, tolerance)


def remarks(half: Half, part: Part) -> Iterator[str]:
    """Yield, in words, what is the same at these inputs and may not be at others."""
    if half.direction is None:
        yield f"its weights were not compared: {half.fault}"
    if half.at:
        return  # said of the node's first direction
    batch, steps = part.x.shape[1], part.x.shape[0]
    for role in ("initial_h", "initial_c"):
        if role in half.constants and role in half.arrays:
            rows, zero = len(half.arrays[role]), not half.arrays[role].any()
            yield f"{role} is a constant{' of zeros' if zero else ''} for a batch of {rows}: no other batch runs"
            if part.state is not None and any(state.any() for state in part.state):
                yield f"{role} is a constant, and the layer was given a state: right only if it is always the same"
    if "sequence_lens" in half.constants:
        yield "sequence_lens is a constant: rows of other lengths run as those"
    for name, shape in half.reshaped:
        baked = [f"{what} {n}" for what, n in (("time", steps), ("batch", batch)) if n > 1 and n in shape[:-1]]
        if baked:
            yield f"{name} behind it has the constant shape {shape}: {' and '.join(baked)} may be baked in"
    if half.direction is not None and half.direction.quantized is not None:
        yield "its weights are int8 in the file"


def _of_forms(theirs: Form, ours: Form, half: Half) -> Iterator[str]:
    """Yield how the equations differ."""
    if theirs.linear_before_reset != ours.linear_before_reset:
        yield (
            f"linear_before_reset = {int(theirs.linear_before_reset)}, the layer's equations need "
            f"{int(ours.linear_before_reset)}"
        )
    if theirs.functions != ours.functions:
        named = [", ".join(map(str, form.functions)) for form in (theirs, ours)]
        yield f"activations = {named[0]}; the layer has {named[1]}"
    if theirs.clip != ours.clip:
        yield f"clip = {theirs.clip}, the layer has {'none' if ours.clip is None else ours.clip}"
    if theirs.input_forget != ours.input_forget:
        yield f"input_forget = {int(theirs.input_forget)}, the layer's equations need {int(ours.input_forget)}"
    peepholes = None if half.direction is None else half.direction.params.get("weight_diagonal")
    largest = 0.0 if peepholes is None else float(np.abs(peepholes).max())
    if largest and not ours.peepholes:
        yield f"P: it has peepholes, up to {largest:.2g}, the layer has none"
    if ours.peepholes and not largest:
        yield "P: it has no peepholes, the layer has them"


def _of_weights(half: Half, part: Part, tolerance: float) -> Iterator[str]:
    """Yield how the parameters differ."""
    direction = half.direction
    if direction is None:
        return
    mine, other = direction.params, part.params
    sizes = [(p["weight_hh"].shape[1], p["weight_ih"].shape[1]) for p in (mine, other)]
    if sizes[0] != sizes[1]:
        said = f"hidden_size = {sizes[0][0]} and {sizes[0][1]} inputs, the layer has {sizes[1][0]} and {sizes[1][1]}"
        if part.projection == sizes[0][0]:
            said += f" ({part.projection} is its proj_size: ONNX's operators have no projection)"
        yield said
        return
    ours, gates = gates_of(part.cell), gates_of(direction.cell)
    if ours != gates:  # of lstm_cifg, say: said by its attributes
        return
    scale = tolerance * max(1.0, *(float(np.abs(array).max(initial=0)) for array in other.values()))
    first, second = ({name: of[name] for name in _MATRICES if name in of} for of in (mine, other))
    same = all(np.allclose(first[n], second[n], rtol=0, atol=scale) for n in first)
    order = None if same else _permutation(first, second, len(ours), scale)
    if order is not None:
        theirs = list(GATES[half.operator])
        found = [ours[order[gates.index(gate)]] for gate in theirs]
        yield f"gate order: where ONNX has {_named(theirs)} its rows are those of {_named(found)}"
    elif not same:
        yield from _of_matrices(first, second, ours, scale)
    yield from _of_biases(mine, other, ours, order, scale)
    if "weight_diagonal" in other and "weight_diagonal" in mine:
        off = float(np.abs(mine["weight_diagonal"] - other["weight_diagonal"]).max())
        if off > scale:
            yield f"P: its peepholes differ by up to {off:.2g}"


def _of_matrices(first: Mapping[str, Array], second: Mapping[str, Array], gates: str, scale: float) -> Iterator[str]:
    """Yield how matrices differ that are no permutation of each other."""
    found: dict[str, list[str]] = {}  # by what is wrong: the inputs of which it is
    for name, role in _MATRICES.items():
        pairs = list(zip(*(np.split(of[name], len(gates)) for of in (first, second)), strict=True))
        off = [float(np.abs(a - b).max(initial=0)) for a, b in pairs]
        wrong = [k for k, size in enumerate(off) if size > scale]
        if not wrong:
            continue
        said = f"gate {', '.join(_ONNX.get(gates[k], gates[k]) for k in wrong)} " if len(gates) > 1 else ""
        if all(np.allclose(pairs[k][0], -pairs[k][1], rtol=0, atol=scale) for k in wrong):
            said += "has the opposite sign" + (": z lets the new state in" if gates[wrong[0]] == "z" else "")
        elif all(a.shape == a.T.shape and np.allclose(a, b.T, rtol=0, atol=scale) for a, b in pairs):
            said += "is transposed, gate by gate"
        else:
            largest = max(float(np.abs(b).max()) for _, b in pairs)
            what = "other weights" if max(off) > largest * _ROUNDED else "rounded to fewer digits"
            said += f"differs by up to {max(off):.2g}, of numbers up to {largest:.2g}: {what}"
        found.setdefault(said, []).append(role)
    yield from (f"{', '.join(roles)}: {said}" for said, roles in found.items())


def _of_biases(
    mine: Mapping[str, Array], other: Mapping[str, Array], gates: str, order: tuple[int, ...] | None, scale: float
) -> Iterator[str]:
    """Yield how biases differ; `order`: in which the rows of the matrices lie, where they lie wrong."""
    of_file, of_layer = _biases(mine, len(gates)), _biases(other, len(gates))
    if order is not None and any(np.abs(b).max() > scale for b in of_layer):
        of_layer = [each[list(order)] for each in of_layer]
    apart = [gates == gates_of("gru") and gate == "n" for gate in gates]  # what the reset stands between
    summed = [each[0] + each[1] for each in (of_file, of_layer)]
    for k, gate in enumerate(gates):
        difference = summed[0][k] - summed[1][k]
        name = _ONNX.get(gate, gate)
        of_gate = f"gate {name}" if len(gates) > 1 else "the gate"
        if np.abs(difference).max(initial=0) > scale:
            constant = float(difference.mean())
            if not of_file[0].any() and not of_file[1].any():
                yield f"B: it has no bias for {of_gate}, the layer has one of up to {np.abs(summed[1][k]).max():.2g}"
            elif np.abs(difference - constant).max() <= scale:
                what = "forget bias: " if gate == "f" else ""
                yield f"{what}B: the bias of {of_gate} is {abs(constant):.4g} {'more' if constant > 0 else 'less'}"
            else:
                yield f"B: the bias of {of_gate} differs by up to {np.abs(difference).max():.2g}"
        elif apart[k] and np.abs(of_file[1][k] - of_layer[1][k]).max(initial=0) > scale:
            yield f"B: both biases of gate {name} are added on one side: the reset has to keep them apart"


def _biases(params: Mapping[str, Array], gates: int) -> list[Array]:
    """Return both biases by gate, (G, H) each, zeros where there are none."""
    hidden = params["weight_hh"].shape[1]
    zeros = np.zeros(gates * hidden, params["weight_hh"].dtype)
    return [params.get(name, zeros).reshape(gates, hidden) for name in ("bias_ih", "bias_hh")]


def _permutation(
    first: Mapping[str, Array], second: Mapping[str, Array], gates: int, scale: float
) -> tuple[int, ...] | None:
    """Return which gate of the layer stands where in the file; None where they are not the same rows."""
    if not 1 < gates <= _MOST_PERMUTED:
        return None
    blocks = [{n: np.split(of[n], gates) for n in first} for of in (first, second)]
    for order in permutations(range(gates)):
        pairs = ((blocks[0][n][k], blocks[1][n][order[k]]) for n in first for k in range(gates))
        if all(np.allclose(a, b, rtol=0, atol=scale) for a, b in pairs):
            return order
    return None


def _named(gates: list[str]) -> str:
    return " ".join(_ONNX.get(gate, gate) for gate in gates)


def _of_run(half: Half, part: Part, tolerance: float) -> Iterator[str]:
    """Yield how states, lengths and layout differ."""
    states = len(cell_info(part.cell)["states"])
    batch, hidden = part.x.shape[1], part.params["weight_hh"].shape[1]
    zeros = np.zeros((batch, hidden), np.float32)
    for k, role in enumerate(("initial_h", "initial_c")[:states]):
        given = part.state[k] if part.state is not None else zeros
        found = half.arrays.get(role, None if role in half.given else zeros)
        if found is None or found.shape[-1:] != given.shape[-1:]:  # another hidden_size: that is said
            continue
        what = f"{role}: " + ("it is a constant, " if role in half.constants else "")
        if found.shape != given.shape:
            yield f"{what}its shape is {found.shape}, the layer's {given.shape}"
        elif (off := float(np.abs(found - given).max(initial=0))) > tolerance:
            begins = "is missing: zeros" if role not in half.given else "differs"
            yield f"{what}the state before the first step {begins}, off by up to {off:.2g}"
    yield from _of_lengths(half, part)
    x = half.arrays.get("X")
    if x is not None and x.shape != part.x.shape and x.swapaxes(0, 1).shape == part.x.shape:
        yield f"layout = {half.settings.layout}: its X has batch and time the other way round than the layer's"


def _of_lengths(half: Half, part: Part) -> Iterator[str]:
    steps = part.x.shape[0]
    if part.lengths is not None and (part.lengths != steps).any():
        if "sequence_lens" not in half.given:
            yield f"sequence_lens is missing: the layer ran rows of {_range(part.lengths)} of {steps} steps"
        elif "sequence_lens" in half.arrays and not np.array_equal(half.arrays["sequence_lens"], part.lengths):
            yield f"sequence_lens: {_range(half.arrays['sequence_lens'])}, the layer ran {_range(part.lengths)}"
    elif part.lengths is None and "sequence_lens" in half.arrays:
        lengths = half.arrays["sequence_lens"]
        if (lengths != steps).any():
            yield f"sequence_lens: {_range(lengths)} of {steps} steps, the layer ran all"


def _range(lengths: Array) -> str:
    return f"{lengths.min()} to {lengths.max()}" if len(set(lengths.tolist())) > 1 else f"{lengths.min()}"
