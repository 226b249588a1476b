"""Layers on layers whose weights are packed once, for inference: `PreparedStack`, and steps on it, `StackStepper`.

Each layer, and each direction of it, is a `Prepared`. Training, and layers whose weights change, are `Stack`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import _cpu
from ._alone import Alone
from ._arguments import DeviceKind, fits_rows, of_step, settled
from ._on_gpu import device_layers
from ._scalars import as_flag, as_items, check_mapping, shown
from ._stacked import join
from .parameters import cell_info, check_layers
from .prepared import Prepared, Stepper, read_step
from .quantized import layers_of, of_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import SupportsIndex

    import numpy.typing as npt

    from ._stacked import StackState
    from .noise import Noise
    from .parameters import Array

__all__ = ["PreparedStack", "StackStepper"]


class PreparedStack:
    """Layers on layers with their weights packed, for inference.

    What `Prepared` is to a layer: it holds a copy, calls do not change it, threads may share it, copies share the
    weights, and a pickle has the packed weights. `Stack.prepare` makes one of a stack's parameters.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    params : mapping of str to array_like
        As `Stack.params` has them, whose names say how many layers and directions there are; or what `quantize_params`
        gives of these, whose `weights` are then ``"int8"``.
    weights, products, tokens, cell_clip, noise
        As in `Prepared`, for every layer; `tokens` for the first.

    Attributes
    ----------
    layers : tuple of Prepared
        One for each layer and direction: layer 0 forward, layer 0 in reverse, layer 1 forward, ...
    num_layers, num_directions : int

    Raises
    ------
    TypeError, ValueError
        As `Prepared`; also where the layers do not fit on each other, or some are missing.
    """

    __slots__ = ("layers", "num_directions", "num_layers")

    def __init__(
        self,
        cell: str,
        params: Mapping[str, npt.ArrayLike],
        *,
        weights: str = "full",
        products: str = "full",
        tokens: bool = False,
        noise: Noise | None = None,
        cell_clip: float | None = None,
    ) -> None:
        cell, cell_clip = settled(cell, cell_clip)
        cell_info(cell)
        tokens = as_flag("tokens", tokens)
        of_layers = _in_order(params)
        made: list[Prepared] = []
        for end, layer in of_layers.items():
            options: dict[str, Any] = {"noise": noise, "cell_clip": cell_clip}
            options["tokens"] = tokens and end.startswith("_l0")
            try:
                made.append(Prepared(cell, layer, weights=weights, products=products, **options))
            except (TypeError, ValueError) as error:
                raise of_layer(error, end) from None
        self.num_directions = 2 if any(end.endswith("_reverse") for end in of_layers) else 1
        self.num_layers = len(made) // self.num_directions
        check_layers(cell, self.num_layers)
        self.layers = tuple(made)
        self._check_widths(tuple(of_layers))

    def _check_widths(self, ends: tuple[str, ...]) -> None:
        """Raise where a layer does not fit on the one below, or beside the other direction."""
        width = self.output_size
        for end, layer in zip(ends, self.layers, strict=True):
            first, (_, *rest) = end.startswith("_l0"), layer._like.widths
            wanted = self.layers[0].input_size if first else width * self.num_directions
            if (layer.input_size, layer._like.widths[0]) != (wanted, width) or rest != list(self._widths[1:]):
                raise ValueError(
                    f"params['weight_ih{end}']: expected {wanted} inputs and {width} outputs, by the layers below, "
                    f"got {layer.input_size} and {layer._like.widths[0]}"
                )

    @property
    def _widths(self) -> tuple[int, ...]:
        return self.layers[0]._like.widths

    @property
    def cell(self) -> str:
        """The cell."""
        return self.layers[0].cell

    @property
    def output_size(self) -> int:
        """Numbers of h, of one direction."""
        return int(self._widths[0])

    @property
    def nbytes(self) -> int:
        """Memory held by the packed weights, in bytes."""
        return sum(layer.nbytes for layer in self.layers)

    def forward(
        self,
        x: npt.ArrayLike,
        state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
        *,
        lengths: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
        term: Sequence[npt.ArrayLike | None] | None = None,
    ) -> tuple[Array, StackState]:
        """Run the layers over a sequence.

        Parameters
        ----------
        x : array_like, (T, B, I) of float32 or float64, or (T, B) of integers where the first layer takes tokens
        state, lengths, resets, reset_state
            As in `Stack.forward`.
        term : sequence over layers of (array_like, (B, Gx·H), or None), optional
            As in `Stack.forward`.

        Returns
        -------
        output : ndarray, (T, B, H), of two directions (T, B, 2·H)
            Of the top layer.
        state : tuple over layers of tuple of ndarray, (B, H)
            After each row's last step, in the order of `layers`.

        Raises
        ------
        TypeError, ValueError
            As `Prepared.forward`.
        """
        states, resetting = self._each("state", state), self._each("reset_state", reset_state)
        terms = self._each("term", term)
        ragged: dict[str, Any] = {"lengths": lengths, "resets": resets}
        outputs: list[Array] = []
        final = []
        for k, layer in enumerate(self.layers):
            if k and k % self.num_directions == 0:
                x, outputs = join(outputs), []
            options = {"reset_state": resetting[k], "term": terms[k], "reverse": k % self.num_directions == 1}
            output, after = layer.forward(x, states[k], **ragged, **options)
            outputs.append(output)
            final.append(after)
        return join(outputs), tuple(final)

    def stepper(
        self, batch_size: SupportsIndex = 1, state: Sequence[Sequence[npt.ArrayLike] | None] | None = None
    ) -> StackStepper:
        """Return a `StackStepper`: the layers with states of their own, to run step by step.

        Parameters
        ----------
        batch_size : int, default 1
            B.
        state : sequence over layers of sequence of array_like, each (B, H), optional
            The states to start from. Default: zeros.
        """
        return StackStepper(self, batch_size, state)

    def _each(self, name: str, given: Any) -> tuple[Any, ...]:
        """Return what is given for each layer and direction."""
        count = len(self.layers)
        if given is None:
            return (None,) * count
        found = as_items(name, given, f"a tuple over {count} layers and directions")
        if len(found) != count:
            raise ValueError(f"{name}: expected {count}, one for each layer and direction, got {len(found)}")
        return found

    def __copy__(self) -> PreparedStack:
        """Return another with the same packed weights, which nothing changes."""
        return _stacked(type(self), self.layers, self.num_directions)

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedStack:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        return _stacked, (type(self), self.layers, self.num_directions)

    def __repr__(self) -> str:
        first = self.layers[0]
        return (
            f"PreparedStack({self.cell!r}, I={first.input_size}, H={first.hidden_size}, layers={self.num_layers}, "
            f"directions={self.num_directions}, {first.dtype}, weights={first.weights!r}, {self.nbytes} bytes)"
        )


class StackStepper:
    """A prepared stack and its states: call it with one step's input after another.

    All layers of a step are one call of the kernels' module, on a GPU one CUDA graph. One thread at a time may use
    it. A copy goes on by itself from the states of the moment.

    Parameters
    ----------
    stack : PreparedStack
        Of one direction.
    batch_size : int, default 1
        B.
    state : sequence over layers of sequence of array_like, each (B, H), optional
        The states to start from. Default: zeros.

    Raises
    ------
    TypeError, ValueError
        As `Stepper`; also where the stack has two directions, the second of which begins with the last step.
    """

    __slots__ = ("_alone", "_step", "_steppers", "stack")

    def __init__(
        self,
        stack: PreparedStack,
        batch_size: SupportsIndex = 1,
        state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
    ) -> None:
        if not isinstance(stack, PreparedStack):
            raise TypeError(f"stack: expected a PreparedStack, got {shown(stack)}")
        if stack.num_directions > 1:
            raise ValueError("stack: expected one direction; the reverse one begins with the last step")
        self.stack = stack
        self._alone = Alone()  # a second thread between two layers would be in no layer's stepper
        states = stack._each("state", state)
        self._steppers = tuple(
            Stepper(layer, batch_size, begun) for layer, begun in zip(stack.layers, states, strict=True)
        )
        steps = [stepper._stepper for stepper in self._steppers]
        self._step: Any
        if type(stack.layers[0]._kind) is DeviceKind:
            self._step = device_layers().DeviceStackStepper(steps).step
        else:
            self._step = _cpu.stack_stepper(steps).step

    def __call__(self, x_t: npt.ArrayLike) -> Array:
        """Take one step.

        Parameters
        ----------
        x_t : array_like, (B, I), or (B,) of integers where the first layer takes tokens

        Returns
        -------
        ndarray, (B, H)
            h of the top layer, in memory that the step after the next one overwrites: copy what is to be kept.

        Raises
        ------
        TypeError, ValueError
            As a `Stepper`'s call.
        RuntimeError
            If another thread is in a call of this stepper.
        """
        alone, first = self._alone, self._steppers[0]
        if not alone.enter(False):
            raise alone.refused()
        try:
            h = self._step(x_t)
            found: Array = read_step(self._step, first._readable(x_t), first.layer.dtype) if h is None else h
            return found
        except (TypeError, ValueError) as error:
            raise of_step(error) from None
        finally:
            alone.leave()

    @property
    def state(self) -> StackState:
        """The states after the last step, of each layer: copies."""
        with self._alone:
            return tuple(stepper.state for stepper in self._steppers)

    def reset(self, state: Sequence[Sequence[npt.ArrayLike] | None] | None = None) -> None:
        """Go on from other states.

        Parameters
        ----------
        state : sequence over layers of sequence of array_like, each (B, H), optional
            Default: zeros.

        Raises
        ------
        TypeError, ValueError
            If they do not fit; nothing is changed then.
        """
        states = self.stack._each("state", state)
        checked = [stepper._checked(begun) for stepper, begun in zip(self._steppers, states, strict=True)]
        for k, (stepper, begun) in enumerate(zip(self._steppers, checked, strict=True)):
            for i, part in enumerate(begun or ()):  # an array that is taken in place has yet to be looked at
                fits_rows(stepper.layer._like.widths, stepper.batch_size, i, f"state[{k}][{i}]", part.shape)
        with self._alone:
            for stepper, begun in zip(self._steppers, checked, strict=True):
                stepper.reset(begun)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.stack, self._steppers[0].batch_size, self.state)

    def __repr__(self) -> str:
        return f"StackStepper({self.stack!r}, batch_size={self._steppers[0].batch_size})"


def _stacked(kind: type[PreparedStack], layers: tuple[Prepared, ...], directions: int) -> PreparedStack:
    """Return a stack of layers that are packed."""
    made = object.__new__(kind)
    made.layers, made.num_directions, made.num_layers = layers, directions, len(layers) // directions
    return made


def _in_order(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each layer's and direction's parameters, from the first layer on; raise where one is missing."""
    check_mapping("params", params)
    found = layers_of(params)
    if "" in found:
        raise ValueError("params: expected weight_ih_l0 and what else a Stack has; a layer alone is a Prepared")
    ways = ("", "_reverse") if any(end.endswith("_reverse") for end in found) else ("",)
    count = 1 + max(int(re.findall(r"\d+", end)[0]) for end in found)
    ends = [f"_l{layer}{way}" for layer in range(count) for way in ways]
    missing = [end for end in ends if end not in found]
    if missing:
        raise ValueError(f"params: expected weight_ih{missing[0]}, of {count} layers, got none")
    return {end: found[end] for end in ends}
