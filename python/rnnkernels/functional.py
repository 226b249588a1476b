"""One layer as functions: `forward`, `backward`, `step`.

Arrays in, arrays out: nothing that is passed is modified, and what is returned is fresh. Arrays are
time-major, (T, B, ...), all of one call of one dtype, float32 or float64. A call that cannot be served
raises; none falls back to something slower.

Weights that serve many calls are in `rnnkernels.prepared`, layers on layers in `rnnkernels.stack`,
gradients through long sequences in `rnnkernels.bptt`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _cpu, replay
from ._arguments import as_floats, as_input, as_layer, as_parameters, as_states, as_step
from .parameters import NAMES, Array, Params, cell_info, cells
from .schedule import Options, Schedule, Sizes, begin, check_rows, check_states, rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

__all__ = ["Gradients", "Run", "backward", "cells", "forward", "step"]

State = tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class Run:
    """A forward pass: its results, and what its backward needs.

    It refers to the arrays it was called with and does not copy them: change the parameters (an
    optimiser's step) only after `backward`.

    Attributes
    ----------
    output : ndarray, (T, B, H)
        h after every step.
    state : tuple of ndarray, each (B, H)
        The states after each row's last step, h first; the initial states where it has none.
    cell : str
        The cell's name.
    """

    output: Array
    state: State
    cell: str
    _x: Array = field(repr=False)
    _params: Params = field(repr=False)
    _initial: State | None = field(repr=False)
    _reserve: _cpu.Reserve | None = field(repr=False)
    _schedule: Schedule | None = field(default=None, repr=False)
    _term: Array | None = field(default=None, repr=False)
    _replay: replay.Replay | None = field(default=None, repr=False)

    @property
    def reserve_bytes(self) -> int:
        """Memory kept for the backward, beside ``output``; 0 after inference."""
        if self._replay is not None:
            return self._replay.nbytes
        return 0 if self._reserve is None else self._reserve.nbytes

    def __repr__(self) -> str:
        steps, batch, hidden = self.output.shape
        return f"Run(cell={self.cell!r}, T={steps}, B={batch}, H={hidden}, reserve_bytes={self.reserve_bytes})"


@dataclass(frozen=True, eq=False)
class Gradients:
    """What `backward` found.

    Attributes
    ----------
    x : ndarray, (T, B, I), or None
        dL/dx; None where the input was tokens.
    params : dict of str to ndarray
        dL/dparameter, the same keys and shapes as the parameters.
    state : tuple of ndarray, each (B, H)
        dL/d(initial state), one per state of the cell.
    reset_state : tuple of ndarray, each (B, H), or None
        dL/d(reset state), where the run had lengths, resets or ran in reverse; zeros where nothing was reset.
    term : ndarray, (B, Gx·H), or None
        dL/dterm, where the run had a term.
    """

    x: Array | None
    params: Params
    state: State
    reset_state: State | None = None
    term: Array | None = None


def forward(
    cell: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
    *,
    training: bool = True,
    lengths: npt.ArrayLike | None = None,
    resets: npt.ArrayLike | None = None,
    reset_state: Sequence[npt.ArrayLike] | None = None,
    reverse: bool = False,
    term: npt.ArrayLike | None = None,
    memory: str = "all",
) -> Run:
    """Run one layer over a sequence.

    With x_g = W_ih[g] x + b_ih[g] and u_g = W_hh[g] h + b_hh[g] a step is

    - ``rnn_tanh``, ``rnn_relu`` (Elman 1990): h' = f(x_a + u_a)
    - ``lstm`` (Hochreiter, Schmidhuber 1997; Gers et al. 2000): i, f, o = σ(x + u), g = tanh(x_g + u_g),
      c' = f c + i g, h' = o tanh(c')
    - ``gru`` (the form of cuDNN and PyTorch): r, z = σ(x + u), n = tanh(x_n + r u_n), h' = (1-z) n + z h
    - ``gru_reset_before`` (Cho et al. 2014): likewise, with u_n = W_hn (r h) + b_hn and
      n = tanh(x_n + u_n)
    - ``lstm_peephole`` (Greff et al. 2015, V): as ``lstm``, i and f with p c added, o with p c'; its variants
      ``lstm_nig``, ``lstm_nfg``, ``lstm_nog`` (i, f or o = 1), ``lstm_niaf`` (g = x_g + u_g), ``lstm_noaf``
      (h' = o c'), ``lstm_cifg`` (f = 1 - i), ``lstm_fgr`` (i, f, o also see those of the step before)
    - ``mut1``, ``mut2``, ``mut3`` (Jozefowicz et al. 2015): n = tanh(W_hn (r h) + ...), h' = z n + (1-z) h; x itself
      in gate n of ``mut1`` and r of ``mut2`` (I = H), W_ih x in ``mut1_projected`` and ``mut2_projected``
    - ``mgu`` (Zhou et al. 2016): f = σ(x_f + u_f), n = tanh(x_n + W_hn (f h) + b_hn), h' = f n + (1-f) h
    - ``ligru`` (Ravanelli et al. 2018): z = σ(x_z + u_z), a = max(0, x_a + u_a), h' = z h + (1-z) a
    - ``indrnn`` (Li et al. 2018): h' = max(0, x_a + p h)
    - ``lstm_layer_norm`` (Ba et al. 2016), ``gru_layer_norm`` (Haste): as ``lstm`` and ``gru``, with x = LN(W_ih x) and
      u = LN(W_hh h), whose shifts are b_ih and b_hh; the LSTM's h' = o tanh(LN(c'))

    docs/cells.md has them in full.

    Parameters
    ----------
    cell : str
        One of `cells`.
    x : array_like, (T, B, I) of the parameters' dtype, or (T, B) of integers
        Vectors, or tokens in [0, I): a token is the vector that is 1 at its place, 0 elsewhere,
        without that vector ever being made.
    params : mapping of str to array_like
        ``weight_ih``, ``weight_hh``, what else the cell has and, where the layer has biases, ``bias_ih``,
        ``bias_hh``; see `parameter_shapes`.
    state : sequence of array_like, each (B, H), optional
        The states before the first step, h first, one per state of the cell. Default: zeros.
    training : bool, default True
        Keep what `backward` needs. False keeps nothing; the results are the same, bit for bit.
    lengths : array_like of int, (B,), optional
        Steps of each row, 0 to T, in any order. Outputs beyond are zero, ``state`` is that after a row's own last step,
        and no work is done for what lies beyond. Default: T each.
    resets : array_like of bool, (T, B), optional
        Before which steps a row's state is replaced (an episode's end, say). What lies between two resets is run as a
        sequence of its own, beside the others.
    reset_state : sequence of array_like, each (B, H), optional
        What it is replaced by. Default: zeros.
    reverse : bool, default False
        Run from each row's last step to its first; ``output[t]`` still belongs to ``x[t]``, ``state`` is that after
        step 0.
    term : array_like, (B, Gx·H), optional
        Added, in every step, to x_g: W_ih x + b_ih + term, or LN(W_ih x) + term where that is normalised. The product
        of an image with a weight of its own, say, h' = tanh(W_xh x + W_hh h + W_ih v) (Karpathy, Fei-Fei 2015).
    memory : {"all", "replay"}
        What a training run keeps. ``"all"``: every gate and state. ``"replay"``: the states at every k-th step, k near
        √T; the backward runs the steps between them again, which costs one more forward. `training_bytes` says
        beforehand how much each keeps.

    Returns
    -------
    Run
        With ``output`` (T, B, H) and ``state``, a tuple of (B, H).

    Raises
    ------
    TypeError
        If an array has another dtype than the parameters, or is no array of numbers.
    ValueError
        If the cell is unknown, a parameter is missing or unknown, a shape does not fit, or a token
        is out of range. The message names the argument, what was expected and what came.
    """
    info = cell_info(cell)
    arrays = as_parameters(cell, params)
    dtype = arrays["weight_ih"].dtype
    inputs = as_input("x", x, dtype)
    initial = as_states("state", state, info["states"], dtype)
    reset = as_states("reset_state", reset_state, info["states"], dtype)
    layer = as_layer(cell, arrays)
    if replay.check_memory(memory) == "replay" and training and inputs.ndim in (2, 3) and len(inputs) > 1:
        if reset is not None and resets is None:
            raise ValueError("reset_state: expected resets with it, got none")
        steps, batch = inputs.shape[:2]
        valid = check_rows(steps, batch, lengths, resets)
        again = partial(_piece, cell, params=arrays, reset_state=reset, term=term)
        pieces = replay.cut(cell, steps, *valid, reverse=bool(reverse))
        output, final, kept = replay.forward(again, inputs, initial, pieces)
        return Run(output, final, cell, inputs, arrays, initial, None, _replay=kept)
    added = None if term is None else as_floats("term", term, dtype)
    sizes = Sizes(len(info["states"]), layer[1].shape[-1], len(layer[0]) if layer[0].ndim else 0)
    begun = begin(inputs, initial, reset, added, sizes, Options(lengths, resets, reverse, dtype))
    schedule = begun.schedule
    output, ended, reserve = _cpu.forward(
        cell, inputs, layer, begun.state, bool(training), rows_of(schedule), begun.term
    )
    final = ended if schedule is None else schedule.end(ended, initial)
    return Run(output, final, cell, inputs, arrays, begun.state, reserve, schedule, begun.term)


def _piece(
    cell: str,
    x: Array,
    state: State | None,
    *,
    params: Params,
    training: bool,
    resets: Array | None = None,
    reset_state: State | None = None,
    **options: Any,
) -> Run:
    """Run some steps of a longer sequence."""
    reset = None if resets is None else reset_state
    return forward(cell, x, params, state, training=training, resets=resets, reset_state=reset, **options)


def forward_layers(
    cell: str,
    x: npt.ArrayLike,
    layers: Sequence[Mapping[str, npt.ArrayLike]],
    states: Sequence[Sequence[npt.ArrayLike] | None],
    *,
    training: bool = True,
) -> list[Run]:
    """Run layers on layers over a sequence: `forward` for each, on the output of the one before, in one call.

    Small layers then run side by side, each some steps behind the one below it. Results are the same, bit for bit.

    Parameters
    ----------
    cell, x, training
        As in `forward`.
    layers : sequence of mapping
        Each layer's parameters, all of one dtype and one H.
    states : sequence of (sequence of array_like, or None)
        Each layer's states before the first step; None: zeros.

    Returns
    -------
    list of Run
        One per layer.

    Raises
    ------
    TypeError, ValueError
        As `forward`.
    """
    info = cell_info(cell)
    arrays = [as_parameters(cell, params) for params in layers]
    dtype = arrays[0]["weight_ih"].dtype
    inputs = as_input("x", x, dtype)
    initial = [as_states("state", state, info["states"], dtype) for state in states]
    results = _cpu.forward_layers(cell, inputs, [as_layer(cell, params) for params in arrays], initial, bool(training))
    runs: list[Run] = []
    for (output, final, reserve), params, state in zip(results, arrays, initial, strict=True):
        runs.append(Run(output, final, cell, runs[-1].output if runs else inputs, params, state, reserve))
    return runs


def backward(
    run: Run,
    d_output: npt.ArrayLike | None,
    d_state: Sequence[npt.ArrayLike] | None = None,
    *,
    need_x: bool = True,
) -> Gradients:
    """Backpropagate through a run, over all of its steps.

    Parameters
    ----------
    run : Run
        Of `forward` with ``training=True``. It is not used up: it may be differentiated again.
    d_output : array_like, (T, B, H), or None
        dL/d(run.output). None: the loss reads the final states only.
    d_state : sequence of array_like, each (B, H), optional
        dL/d(run.state), one per state of the cell. Default: zeros.
    need_x : bool, default True
        False spares the product for dL/dx; ``Gradients.x`` is then None.

    Returns
    -------
    Gradients
        dL/dx, dL/dparameters, dL/d(initial state).

    Raises
    ------
    TypeError
        If `run` is no Run or an array has another dtype.
    ValueError
        If the run was made for inference, or a shape does not fit.
    """
    if not isinstance(run, Run):
        raise TypeError(f"run: expected what forward returned, got {type(run).__name__}")
    if run._replay is not None:
        d_array = None if d_output is None else as_floats("d_output", d_output, run.output.dtype)
        if d_array is not None and d_array.shape != run.output.shape:
            raise ValueError(f"d_output: expected shape (T, B, H) = {run.output.shape}, got {d_array.shape}")
        d_last = as_states("d_state", d_state, cell_info(run.cell)["states"], run.output.dtype)
        return replay.backward(run._replay, partial(backward, need_x=need_x), d_array, d_last)
    if run._reserve is None:
        raise ValueError("run: expected one made with training=True, got one made for inference")
    dtype, schedule = run.output.dtype, run._schedule
    d_final = as_states("d_state", d_state, cell_info(run.cell)["states"], dtype)
    if schedule is not None:
        check_states("d_state", d_final, *run.output.shape[1:])
    dx, d_layer, d_initial, d_term = _cpu.backward(
        run.cell,
        run._x,
        as_layer(run.cell, run._params),
        run._initial,
        run.output,
        run._reserve,
        None if d_output is None else as_floats("d_output", d_output, dtype),
        d_final if schedule is None else schedule.end_gradient(d_final),
        bool(need_x),
        rows_of(schedule),
        run._term,
    )
    d_reset = None
    if schedule is not None:
        d_initial, d_reset = schedule.begin_gradient(d_initial, d_final)
        d_term = None if d_term is None else schedule.of_rows(d_term)
    found = {name: grad for name, grad in zip(NAMES, d_layer, strict=True) if grad is not None}
    return Gradients(dx, {name: found[name] for name in run._params}, d_initial, d_reset, d_term)


def step(
    cell: str,
    x_t: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
) -> State:
    """Run one layer for one step, for inference.

    Stepping through a sequence gives the bits that `forward` gives for the whole of it.

    Parameters
    ----------
    cell, params, state
        As in `forward`.
    x_t : array_like, (B, I) of the parameters' dtype, or (B,) of integers
        One step's input.

    Returns
    -------
    tuple of ndarray, each (B, H)
        The states after the step, h first.

    Raises
    ------
    TypeError, ValueError
        As `forward`.
    """
    info = cell_info(cell)
    arrays = as_parameters(cell, params)
    dtype = arrays["weight_ih"].dtype
    inputs = as_step(x_t, dtype)
    initial = as_states("state", state, info["states"], dtype)
    final: State = _cpu.forward(cell, inputs, as_layer(cell, arrays), initial, False)[1]
    return final
