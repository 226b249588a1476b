"""A stack of layers of one cell: the output of a layer is the input of the next.

What this is: parameters under PyTorch's names, forward, backward and step over `functional`, dropout between the
layers, and a seed of its own for each layer's masks; on NumPy's arrays, or all of it on a GPU's. What this is not: a
trainer, an embedding or an output layer.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _directions as directions
from . import functional
from ._arguments import DeviceKind, as_floats, as_settings, fits_shape, kind_of_array, settled
from ._arrays import frame_at, frame_of
from ._scalars import as_flag, as_integer, as_items
from ._serve import drop
from ._stacked import Array, StackGradients, StackRun, StackState, State, counted, join, per_layer, seed_of, total
from .memory import OfStack, check_memory
from .noise import Noise, check_rate
from .parameters import as_generator, check_layers, float_dtype, init_params
from .prepared_stack import PreparedStack, StackStepper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import SupportsIndex

    import numpy.typing as npt

__all__ = ["Stack", "StackGradients", "StackRun"]


class Stack:
    """Layers of one cell, each over the output of the one below.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    input_size, hidden_size : int
        I and H; every layer has H units, the layers above the first have H inputs.
    num_layers : int
        At least 1.
    dropout : float
        In [0, 1): the probability with which an element of a layer's output is dropped on its way
        to the next layer (not after the last), in training. What is kept is divided by
        1 - dropout, so that nothing is scaled in inference. Every step has masks of its own.
    zoneout, recurrent_dropout, per_step, weight_dropout
        Masks inside every layer, in training; see `Noise`.
    cell_clip : float, optional
        See `rnnkernels.forward`.
    bias : bool
    proj_size : int, optional
        P, for a cell whose h is projected: the layers above the first have P inputs.
    bidirectional : bool
        Every layer runs over the sequence twice, with parameters of their own (``..._reverse``), the second time from
        the last step to the first; the layer above gets both outputs, (T, B, 2·H).
    dtype : {"float32", "float64"}
        Of the initial parameters.
    recurrent, forget_bias
        See `init_params`, for every layer.
    rng : int, numpy.random.Generator or None
        For the initial parameters, see `init_params`; the layers draw one after the other.

    Attributes
    ----------
    params : dict of str to ndarray
        PyTorch's names: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_ih_l0_reverse (where
        `bidirectional`), ..., weight_ih_l1, ... The arrays may be updated in place, or replaced by others of the
        same shape and dtype; or by arrays of a GPU, halves too, which are served there with all that is passed and
        returned (see `to`).
    num_directions : int
        2 where `bidirectional`, else 1.
    output_size : int
        Of one direction: `hidden_size`, or `proj_size`.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.

    Notes
    -----
    ``h_t^l = f(h_t^(l-1), h_(t-1)^l)`` with ``h_t^0 = x_t``; dropout as in Zaremba, Sutskever &
    Vinyals, arXiv 1409.2329, equation (4), without the dropout at input and output.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        recurrent_dropout: float = 0.0,
        per_step: bool = False,
        weight_dropout: float = 0.0,
        cell_clip: float | None = None,
        bias: bool = True,
        proj_size: int | None = None,
        bidirectional: bool = False,
        dtype: npt.DTypeLike = "float32",
        recurrent: str = "uniform",
        forget_bias: float | None = None,
        rng: int | np.random.Generator | None = None,
    ) -> None:
        cell, cell_clip = settled(cell, cell_clip)
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = as_integer("num_layers", num_layers, 1, 2**23)  # `Noise` numbers them, and both directions
        check_layers(cell, self.num_layers)
        self.dropout = check_rate("dropout", dropout)
        self.noise = Noise(0, zoneout, recurrent_dropout, per_step, weight_dropout)  # each layer's, but for the seed
        self.noise.rates(cell)
        self.cell_clip = cell_clip
        as_settings(cell, cell_clip)
        self.bias = as_flag("bias", bias)
        self.proj_size = proj_size
        self.output_size = hidden_size if proj_size is None else proj_size
        self.num_directions = 2 if as_flag("bidirectional", bidirectional) else 1
        self.dtype = float_dtype("dtype", dtype)
        self.params: dict[str, Array] = {}
        generator = as_generator("rng", rng)
        for end in self._ends:
            size = input_size if end.startswith("_l0") else self.output_size * self.num_directions
            params = init_params(
                *(cell, size, hidden_size),
                rng=generator,
                dtype=self.dtype,
                bias=self.bias,
                proj_size=proj_size,
                recurrent=recurrent,
                forget_bias=forget_bias,
            )
            self._names = tuple(params)
            self.params |= {name + end: array for name, array in params.items()}

    def to(self, place: str, library: str = "torch") -> Stack:
        """Copy the parameters to a GPU, or back.

        Parameters
        ----------
        place : str
            "cuda" (the first GPU), "cuda:1" (the second), ..., or "cpu", where they are NumPy's arrays. What is
            passed to `forward`, `backward` and `step` must lie where the parameters do.
        library : {"torch", "cupy"}
            Whose arrays they become on a GPU.

        Returns
        -------
        Stack
            This one, with new arrays in `params`.

        Raises
        ------
        TypeError, ValueError
            There is no such place, or the parameters are halves, which do not go through NumPy's arrays: replace them
            in `params`.
        ImportError
            The library is not installed.
        """
        frame = frame_at(place, library)
        kind = kind_of_array("params['weight_ih_l0']", self.params["weight_ih_l0"])
        if isinstance(kind, DeviceKind) and kind.frame.name(kind.dtype) not in ("float32", "float64"):
            raise TypeError(f"params: expected dtype float32 or float64 to move them, got {kind.dtype}")
        self.params = {name: frame.from_host(frame_of(w).to_host(w)) for name, w in self.params.items()}
        return self

    def forward(
        self,
        x: npt.ArrayLike,
        state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
        *,
        training: bool = True,
        rng: np.random.Generator | None = None,
        lengths: npt.ArrayLike | None = None,
        resets: npt.ArrayLike | None = None,
        reset_state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
        term: Sequence[npt.ArrayLike | None] | Array | None = None,
        all_states: bool = False,
        memory: str = "all",
        products: str = "full",
    ) -> StackRun:
        """Run the layers over a sequence.

        Parameters
        ----------
        x : array_like, (T, B, I) of the parameters' dtype, or (T, B) of integer tokens in [0, I)
        state : sequence over layers of sequence of array_like, (B, H), optional
            The initial state; zeros by default, also for a layer whose entry is None.
        training : bool
            Keep what `backward` needs, and apply dropout.
        rng : numpy.random.Generator, optional
            Draws the seed of the masks. Needed when `training` and there is something to mask, otherwise left
            untouched.
        lengths, resets
            As in `rnnkernels.forward`, for every layer.
        reset_state : sequence over layers of sequence of array_like, (B, H), optional
            What a state is replaced by at a reset; zeros by default, also for a layer whose entry is None.
        term : sequence over layers of (array_like, (B, Gx·H), or None), or one array, optional
            Added to the product of each layer's input in every step, see `rnnkernels.forward`; one array is the first
            layer's. Of two directions each has its own, in the order of ``StackRun.state``.
        all_states, memory, products
            As in `rnnkernels.forward`, for every layer.

        Returns
        -------
        StackRun

        Raises
        ------
        TypeError, ValueError
            An argument is not what is said here.
        """
        training, all_states = as_flag("training", training), as_flag("all_states", all_states)
        check_memory(memory)
        states = per_layer("state", state, self.num_layers, self.num_directions)
        reset_states = per_layer("reset_state", reset_state, self.num_layers, self.num_directions)
        terms = self._terms(term)
        drops = training and self.dropout > 0 and self.num_layers > 1
        seed = seed_of(rng, self.dropout, needed=training and (drops or self.noise.masks))
        noises = [replace(self.noise, seed=seed, layer=number) for number in range(len(self._ends))]
        options: dict[str, Any] = {"training": training, "cell_clip": self.cell_clip, "products": products}
        ragged = {"lengths": lengths, "resets": resets} if lengths is not None or resets is not None else {}
        plain = not ragged and reset_state is None and term is None and not all_states and memory == "all"
        if not drops and self.num_directions == 1 and plain:
            layers = [self._layer(end) for end in self._ends]
            runs = functional.forward_layers(self.cell, x, layers, states, noises=noises, **options)
            return StackRun(runs[-1].output, tuple(run.state for run in runs), tuple(runs))
        options |= {**ragged, "all_states": all_states, "memory": memory}
        runs = []
        calls: list[directions.Given] = []
        for number, (end, noise) in enumerate(zip(self._ends, noises, strict=True)):
            if number and number % self.num_directions == 0:
                x = join([run.output for run in runs[-self.num_directions :]])
                if drops:
                    x = drop(x, self.dropout, seed, number)
            given = {"reset_state": reset_states[number], "term": terms[number], "noise": noise}
            own = {**options, **given, "reverse": end.endswith("_reverse")}
            calls.append((self.cell, x, self._layer(end), states[number], own))
            if len(calls) == self.num_directions:
                runs += directions.forward(calls)
                calls = []
        output = join([run.output for run in runs[-self.num_directions :]])
        final = tuple(run.state for run in runs)
        return StackRun(output, final, tuple(runs), self.num_directions, seed if drops else None)

    def backward(
        self,
        run: StackRun,
        d_output: npt.ArrayLike | None,
        d_state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
        *,
        d_outputs: Sequence[npt.ArrayLike | None] | None = None,
        need_x: bool = True,
        norms: bool = False,
    ) -> StackGradients:
        """Gradients of a loss with respect to the input, the parameters and the initial state.

        Parameters
        ----------
        run : StackRun
            Of this stack's `forward` with ``training=True``. The parameters must still be what
            they were then; it may be used again.
        d_output : array_like, (T, B, H), or None
            Gradient of the loss with respect to ``run.output``. None: the loss reads states only.
        d_state : sequence over layers of sequence of array_like, (B, H), optional
            The same for ``run.state``; zeros by default, also for a layer whose entry is None.
        d_outputs : sequence over layers of (array_like, or None), optional
            The same for ``run.outputs``, for losses on layers below the top; the top layer's is added to `d_output`.
        need_x : bool
            False spares the work for the gradient of the input, which is None then.
        norms : bool
            Give ``StackGradients.norms``; see `rnnkernels.backward`.

        Returns
        -------
        StackGradients

        Raises
        ------
        TypeError, ValueError
            An argument is not what is said here.
        """
        if not isinstance(run, StackRun):
            raise TypeError(f"run: expected a StackRun, got {type(run).__name__}")
        if len(run._runs) != len(self._ends):
            raise ValueError(f"run: expected one of {self._count}, got {len(run._runs)}")
        need_x, norms = as_flag("need_x", need_x), as_flag("norms", norms)
        d_states = per_layer("d_state", d_state, self.num_layers, self.num_directions)
        if d_outputs is not None:
            d_outputs = as_items("d_outputs", d_outputs, f"{self.num_layers} arrays or None")
            if len(d_outputs) != self.num_layers:
                raise ValueError(f"d_outputs: expected {self.num_layers} arrays or None, got {len(d_outputs)}")
        d_layers = self._d_layers(run, d_output, d_outputs)
        single = self.num_directions == 1 and run._seed is None and d_outputs is None
        with directions.following(run._runs) if single else nullcontext():
            above, params, found = self._down(run, d_layers, d_states, need_x, norms)
        found.reverse()
        resets = [grads.reset_state for grads in found if grads.reset_state is not None]
        terms = tuple(grads.term for grads in found)
        return StackGradients(
            above,
            {name: params[name] for name in self.params},
            tuple(grads.state for grads in found),
            tuple(resets) if len(resets) == len(found) else None,
            tuple(grads.norms or () for grads in found) if norms else None,
            terms if any(term is not None for term in terms) else None,
        )

    def step(
        self,
        x_t: npt.ArrayLike,
        state: Sequence[Sequence[npt.ArrayLike] | None] | None = None,
        *,
        term: Sequence[npt.ArrayLike | None] | Array | None = None,
        products: str = "full",
    ) -> StackState:
        """One step, in inference: no dropout, nothing kept.

        Parameters
        ----------
        x_t : array_like, (B, I) of the parameters' dtype, or (B,) of integer tokens
        state : sequence over layers of sequence of array_like, (B, H), optional
            Before the step; zeros by default, also for a layer whose entry is None.
        term, products
            As in `forward`.

        Returns
        -------
        tuple over layers of tuple of ndarray, (B, H)
            After the step, bitwise what `forward` over the sequence gives; the top layer's output
            is ``state[-1][0]``.

        Raises
        ------
        TypeError, ValueError
            An argument is not what is said here, or the stack is bidirectional.
        """
        if self.num_directions > 1:
            raise ValueError("step: expected a stack of one direction; the reverse one begins with the last step")
        states, terms = per_layer("state", state, self.num_layers, self.num_directions), self._terms(term)
        after: list[State] = []
        options: dict[str, Any] = {"noise": self.noise, "cell_clip": self.cell_clip, "products": products}
        for end, before, added in zip(self._ends, states, terms, strict=True):
            after.append(functional.step(self.cell, x_t, self._layer(end), before, term=added, **options))
            x_t = after[-1][0]
        return tuple(after)

    def training_bytes(self, steps: int, batch: int, *, memory: str = "all", tokens: bool = False) -> int:
        """Return the most memory that `forward` and `backward` take at a time: the part that grows with T or B.

        Parameters
        ----------
        steps, batch : int
            T, B.
        memory : {"all", "states", "replay"}
            As in `forward`.
        tokens : bool, default False
            Whether x is tokens, which have no gradient.

        Returns
        -------
        int
            Bytes of the layers' outputs, of what is kept for `backward`, and of the gradients on their way down. x and
            the gradient of the output are the caller's; parameters, their gradients and scratch memory do not grow.

        Raises
        ------
        TypeError, ValueError
            An argument is not what is said here.
        """
        inputs = 0 if as_flag("tokens", tokens) else self.input_size
        sizes = inputs, self.hidden_size, self.output_size, self.num_layers, self.num_directions
        zoneout = any(self.noise.rates(self.cell))
        return OfStack(self.cell, *sizes, self.dtype, zoneout, self.dropout > 0).bytes(steps, batch, memory)

    def prepare(self, *, weights: str = "full", products: str = "full", tokens: bool = False) -> PreparedStack:
        """Return the layers with their weights packed, for many calls in inference.

        Parameters
        ----------
        weights, products, tokens
            As in `Prepared`; `tokens`: what the first layer is given.

        Returns
        -------
        PreparedStack
            It holds a copy of the parameters as they are now.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As `Prepared`.
        """
        options: dict[str, Any] = {"noise": self.noise, "cell_clip": self.cell_clip}
        return PreparedStack(self.cell, self.params, weights=weights, products=products, tokens=tokens, **options)

    def stepper(
        self, batch_size: SupportsIndex = 1, state: Sequence[Sequence[npt.ArrayLike] | None] | None = None
    ) -> StackStepper:
        """Return the layers, packed as `prepare` does it, with states of their own, to run step by step.

        Parameters
        ----------
        batch_size : int, default 1
            B.
        state : sequence over layers of sequence of array_like, each (B, H), optional
            The states to start from. Default: zeros.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As `prepare` and `StackStepper`: of two directions the second begins with the last step.
        """
        return self.prepare().stepper(batch_size, state)

    def _terms(self, term: Any) -> tuple[npt.ArrayLike | None, ...]:
        """Return what each layer and direction is given as its term."""
        if term is None:
            return (None,) * len(self._ends)
        if hasattr(term, "ndim") and self.num_directions == 1:
            return (term, *[None] * (len(self._ends) - 1))
        terms = as_items("term", term, f"an array for each of {self._count}, or None")
        if len(terms) != len(self._ends):
            raise ValueError(f"term: expected {self._count}, got {len(terms)}")
        return terms

    @property
    def _ends(self) -> tuple[str, ...]:
        """Return what the parameters' names end in, one for each layer and direction."""
        ways = ("", "_reverse")[: self.num_directions]
        return tuple(f"_l{layer}{way}" for layer in range(self.num_layers) for way in ways)

    @property
    def _count(self) -> str:
        return counted(self.num_layers, self.num_directions)

    def _layer(self, end: str) -> Mapping[str, Array]:
        """Parameters of one layer and direction under the names of `functional`."""
        return {name: self.params[name + end] for name in self._names}

    def _d_layers(
        self, run: StackRun, d_output: npt.ArrayLike | None, d_outputs: Sequence[npt.ArrayLike | None] | None
    ) -> list[list[Array]]:
        """Return what the caller says of dL/d(each layer's output): one array, none, or of the top layer two."""
        steps, batch, width = run._runs[-1].output.shape
        shape = (steps, batch, width * self.num_directions)
        kind = kind_of_array("run.output", run.output)

        def known(name: str, value: npt.ArrayLike | None) -> list[Array]:
            if value is None:
                return []
            fits = fits_shape("(T, B, H)" if self.num_directions == 1 else "(T, B, 2·H)", shape)
            array = as_floats(name, value, kind, fits)
            fits(name, array.shape)
            return [array]

        found = [known(f"d_outputs[{layer}]", d) for layer, d in enumerate(d_outputs or [None] * self.num_layers)]
        found[-1] = known("d_output", d_output) + found[-1]
        return found

    def _down(
        self, run: StackRun, d_layers: Any, d_states: Any, need_x: bool, norms: bool
    ) -> tuple[Array | None, dict[str, Array], list[functional.Gradients]]:
        """Return dL/dx, the gradients of the parameters, and what each layer's backward found, from the top down."""
        params: dict[str, Array] = {}
        found: list[functional.Gradients] = []
        above: Array | None = None  # dL/d(a layer's output)
        for layer in reversed(range(self.num_layers)):
            above = total([above, *d_layers[layer]])
            dx: list[Array | None] = []
            numbers = list(reversed(range(layer * self.num_directions, (layer + 1) * self.num_directions)))
            calls = [(run._runs[n], partial(self._direction, above, self._ends[n]), d_states[n]) for n in numbers]
            made = directions.backward(calls, need_x=need_x or layer > 0, norms=norms)
            for number, grads in zip(numbers, made, strict=True):
                end = self._ends[number]
                params |= {name + end: array for name, array in grads.params.items()}
                found.append(replace(grads, x=None))
                dx.append(grads.x)
            del calls, made, grads  # what they hold is gone before the layer below takes its own
            above = total(dx[::-1])
            if above is not None and layer > 0 and run._seed is not None:
                above = drop(above, self.dropout, run._seed, layer * self.num_directions)
        return above, params, found

    def _direction(self, d_output: Array | None, end: str) -> Array | None:
        """Return what of dL/d(a layer's output) belongs to one direction."""
        if d_output is None or self.num_directions == 1:
            return d_output
        size = self.output_size
        return d_output[..., size:] if end.endswith("_reverse") else d_output[..., :size]
