"""One layer as functions: `forward`, `backward`, `step`.

Arrays in, arrays out: nothing that is passed is modified, and what is returned is fresh. Arrays are
time-major, (T, B, ...), all of one call of one dtype, float32 or float64. A call that cannot be served
raises; none falls back to something slower. Arrays of a GPU (CUDA tensors of PyTorch, arrays of CuPy; halves
too) are served there, and results are of the same library: `rnnkernels.cuda`.

Weights that serve many calls are in `rnnkernels.prepared`, layers on layers in `rnnkernels.stack`,
gradients through long sequences in `rnnkernels.bptt`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from . import _cpu, _serve
from ._arguments import (
    FULL,
    as_floats,
    as_input,
    as_layer,
    as_parameters,
    as_settings,
    as_states,
    as_step,
    check_products,
    fits_batch,
    fits_layer,
    fits_shape,
    kind_of_array,
    of_step,
    settled,
    x_shape,
)
from ._arrays import frame_of
from ._asked import Asked
from ._call import Ahead, Call
from ._parts import Parts, at_once
from ._scalars import as_flag, as_items
from .memory import check_memory, replay
from .memory.states import States
from .noise import Noise, check_noise
from .parameters import Array, Layer, cell_info, cells, state_widths
from .run import Gradients, Kept, Run, State, Whole
from .schedule import Like, begin, check_reset_state, check_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

__all__ = ["Gradients", "Run", "backward", "cells", "forward", "run_layer", "step"]


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
    noise: Noise | None = None,
    cell_clip: float | None = None,
    all_states: bool = False,
    memory: str = "all",
    products: str = "full",
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
    - ``janet`` (van der Westhuizen, Lasenby 2018): s = x_f + u_f, n = tanh(x_n + u_n), h' = σ(s) h + (1 - σ(s - 1)) n
    - ``indrnn`` (Li et al. 2018): h' = max(0, x_a + p h)
    - ``slstm`` (Beck et al. 2024, one head): z = tanh(x_z + u_z), o = σ(x_o + u_o), l = log σ(x_f + u_f) + m (in
      ``slstm_exp`` x_f + u_f + m), m' = max(l, x_i + u_i), i = exp(x_i + u_i - m'), f = exp(l - m'),
      c' = f c + i z, n' = f n + i, h' = o c' / n'; a state n is not negative
    - ``lstm_layer_norm`` (Ba et al. 2016), ``gru_layer_norm`` (Haste): as ``lstm`` and ``gru``, with x = LN(W_ih x) and
      u = LN(W_hh h), whose shifts are b_ih and b_hh; the LSTM's h' = o tanh(LN(c'))

    docs/cells.md has them in full.

    Parameters
    ----------
    cell : str
        One of `cells`.
    x : array_like, (T, B, I) of the parameters' dtype, or (T, B) of integers
        Vectors, or tokens in [0, I): a token is the vector that is 1 at its place, 0 elsewhere,
        without that vector ever being made. Of a cell with E element-wise inputs (T, B, I + E·H): these stand behind
        the I numbers, in the order of the cell's table.
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
    noise : Noise, optional
        Random masks inside the recurrence, drawn in training, their expectation otherwise.
    cell_clip : float, optional
        For the cells that have it: c is kept in [-cell_clip, cell_clip], as in cuDNN.
    all_states : bool, default False
        Give ``Run.states``, every state after every step.
    memory : {"all", "states", "replay"}
        What a training run keeps. ``"all"``: every gate and state. ``"states"``: the states, of which the backward
        makes the gates again, many steps at once. ``"replay"``: the states at every k-th step, k near √T; the backward
        runs the steps between them again. Either costs one more forward. `training_bytes` says beforehand how much
        each keeps.
    products : {"full", "bfloat16"}
        What products multiply, in this call and in its `backward`. ``"full"``: operands as they are. ``"bfloat16"``
        (float32 parameters, on the CPU): both operands are rounded to the nearest bfloat16, sums, states and the cell
        stay float32; where the processor has no instruction for it, ``"full"`` is what serves. See
        docs/low_precision.md.

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
    training = as_flag("training", training)
    if cell_clip is not None:
        cell, cell_clip = settled(cell, cell_clip)
    check_noise(noise)
    drawn = None if noise is None else noise._drawn(cell, expected=not training)
    reverse, all_states = as_flag("reverse", reverse), as_flag("all_states", all_states)
    asked = Asked(cell, reverse, None, lengths, resets, drawn, cell_clip, all_states, memory, products)
    return run_layer(asked, x, params, state, reset_state, term, training=training)


def run_layer(
    asked: Asked,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None,
    reset_state: Sequence[npt.ArrayLike] | None,
    term: npt.ArrayLike | None,
    *,
    training: bool,
) -> Run:
    """Run what is asked for on arrays that are yet to be checked; `forward` says what each is."""
    return at_once(layer_parts(asked, x, params, state, reset_state, term, training=training))


def layer_parts(
    asked: Asked,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None,
    reset_state: Sequence[npt.ArrayLike] | None,
    term: npt.ArrayLike | None,
    *,
    training: bool,
) -> Parts[Run]:
    """Do what `run_layer` does, but for the call of a backend, which is the caller's.

    Whether masks are drawn or their expectation is taken, the noise says.
    """
    cell = asked.cell
    names = cell_info(cell)["states"]
    check_memory(asked.memory)
    arrays = as_parameters(cell, params)
    dtype = kind_of_array("params['weight_ih']", arrays["weight_ih"])
    if asked.products is not FULL:
        check_products(asked.products, dtype)
    inputs = as_input("x", x, dtype, x_shape(cell, arrays["weight_ih"]))
    initial = reset = added = None
    if state is not None or reset_state is not None:
        fits = fits_layer(cell, arrays, inputs)
        initial = as_states("state", state, names, dtype, fits)
        reset = as_states("reset_state", reset_state, names, dtype, fits)
    if term is not None:
        added = _as_term(term, dtype, inputs, arrays)
    check_reset_state(reset, asked.resets)
    layer, settings = as_layer(cell, arrays), as_settings(cell, asked.cell_clip)
    if training and asked.memory == "replay" and inputs.ndim in (2, 3) and len(inputs) > 1:
        steps, batch = inputs.shape[:2]
        length, cut = check_rows(steps, batch, asked.lengths, asked.resets)
        run = partial(_run, layer, added, settings, reset)
        return replay.forward(run, asked._replace(lengths=length, resets=cut), inputs, initial)
    return (yield from _run_parts(layer, added, settings, reset, asked, inputs, initial, training))


def _as_term(term: npt.ArrayLike, dtype: Any, x: Array, params: Mapping[str, Array]) -> Array:
    """Return what is added to the input's product in every step."""
    rows = (*x.shape[1:2], *params["weight_ih"].shape[:1])
    return as_floats("term", term, dtype, fits_shape("(B, G*H)", rows))


def _run(*given: Any) -> Run:
    """Run a sequence or a piece of one, as `_run_parts` has it: `keep` what a backward needs."""
    return at_once(_run_parts(*given))


def _run_parts(
    layer: Layer,
    term: Array | None,
    settings: tuple[float, ...],
    reset_state: State | None,
    asked: Asked,
    x: Array,
    state: State | None,
    keep: bool,
) -> Parts[Run]:
    """Do what `_run` does, but for the call of a backend."""
    cell, schedule, begun, rows, noise = asked.cell, None, state, None, asked.noise
    if asked.ragged:
        weight = layer.weight_ih
        widths = state_widths(cell, weight, layer.weight_hh)
        like = Like(widths, len(weight) if weight.ndim else 0, weight.dtype, frame_of(weight))
        schedule, begun, term = start = begin(asked, x, state, reset_state, term, like)
        rows = start.rows
    if noise is not None:
        noise = noise._replace(batch=x.shape[1] if x.ndim > 1 else 0)
    call = Call(cell, x, layer, begun, rows, term, noise, settings, asked.products)
    states_alone = keep and asked.memory == "states"
    kept_whole, all_states = keep and not states_alone, asked.all_states or states_alone
    output, final, reserve, later = yield partial(_serve.forward, call, kept_whole, all_states)
    states = None if later is None else (output, *later)
    kept: Whole | States | None = None
    if states_alone and states is not None:
        kept = States(call, states, schedule)
    elif reserve is not None:
        kept = Whole(call, output, reserve, schedule)
    ended = final if schedule is None else schedule.end(final, state)
    return Run(output, ended, cell, states if asked.all_states else None, _kept=kept)


def forward_layers(
    cell: str,
    x: npt.ArrayLike,
    layers: Sequence[Mapping[str, npt.ArrayLike]],
    states: Sequence[Sequence[npt.ArrayLike] | None],
    *,
    training: bool = True,
    noises: Sequence[Noise | None] | None = None,
    cell_clip: float | None = None,
    products: str = "full",
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
    noises : sequence of (Noise or None), optional
        Each layer's.
    cell_clip : float, optional
    products : {"full", "bfloat16"}
        As in `forward`.

    Returns
    -------
    list of Run
        One per layer.

    Raises
    ------
    TypeError, ValueError
        As `forward`.
    """
    cell, cell_clip = settled(cell, cell_clip)
    info = cell_info(cell)
    arrays = [as_parameters(cell, params) for params in layers]
    dtype = kind_of_array("params['weight_ih']", arrays[0]["weight_ih"])
    inputs = as_input("x", x, dtype, x_shape(cell, arrays[0]["weight_ih"]))
    if products is not FULL:
        check_products(products, dtype)
    if _serve.on_gpu(inputs):
        _serve.check_products_on_gpu(products)
        with _serve.together(inputs):
            return _one_by_one(cell, inputs, layers, states, training, noises, cell_clip)
    initial = [
        as_states("state", state, info["states"], dtype, fits_layer(cell, params, inputs))
        for state, params in zip(states, arrays, strict=True)
    ]
    batch = inputs.shape[1] if inputs.ndim > 1 else 0
    drawn = [
        None if noise is None else noise._drawn(cell, batch, expected=not training)
        for noise in noises or [None] * len(arrays)
    ]
    settings = as_settings(cell, cell_clip)
    layered = [as_layer(cell, params) for params in arrays]
    results = _cpu.forward_layers(cell, inputs, layered, initial, bool(training), drawn, settings, products)
    runs: list[Run] = []
    for (output, final, reserve, _), layer, begun, masks in zip(results, layered, initial, drawn, strict=True):
        call = Call(cell, runs[-1].output if runs else inputs, layer, begun, None, None, masks, settings, products)
        runs.append(Run(output, final, cell, _kept=None if reserve is None else Whole(call, output, reserve)))
    return runs


def _one_by_one(
    cell: str, x: Any, layers: Any, states: Any, training: bool, noises: Any, cell_clip: float | None
) -> list[Run]:
    """Run layers on layers on a GPU, where streams keep it busy."""
    runs: list[Run] = []
    for params, state, noise in zip(layers, states, noises or [None] * len(layers), strict=True):
        runs.append(forward(cell, x, params, state, training=training, noise=noise, cell_clip=cell_clip))
        x = runs[-1].output
    return runs


def backward(
    run: Run,
    d_output: npt.ArrayLike | None,
    d_state: Sequence[npt.ArrayLike] | None = None,
    *,
    d_states: Sequence[npt.ArrayLike | None] | None = None,
    need_x: bool = True,
    norms: bool = False,
) -> Gradients:
    """Backpropagate through a run, over all of its steps.

    Parameters
    ----------
    run : Run
        Of `forward` with ``training=True``. It is not used up: it may be differentiated again.
    d_output : array_like, (T, B, H), or None
        dL/d(run.output). None: the loss reads no output.
    d_state : sequence of array_like, each (B, H), optional
        dL/d(run.state), one per state of the cell. Default: zeros.
    d_states : sequence of (array_like, (T, B, H), or None), optional
        dL/d(the states after every step), one per state of the cell; None: zeros. That of h is `d_output`: its place
        holds None.
    need_x : bool, default True
        False spares the product for dL/dx; ``Gradients.x`` is then None.
    norms : bool, default False
        Give ``Gradients.norms``, readings of the gradient's flow through time.

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
    kept, ahead = checked_ahead(run, d_output, d_state, d_states)
    return kept.backward(ahead, need_x=as_flag("need_x", need_x), norms=as_flag("norms", norms))


def checked_ahead(
    run: Run,
    d_output: npt.ArrayLike | None,
    d_state: Sequence[npt.ArrayLike] | None,
    d_states: Sequence[npt.ArrayLike | None] | None = None,
) -> tuple[Kept, Ahead]:
    """Return what a run keeps and what its backward is given."""
    if not isinstance(run, Run):
        raise TypeError(f"run: expected what forward returned, got {type(run).__name__}")
    if run._kept is None:
        raise ValueError("run: expected one made with training=True, got one made for inference")
    kind = kind_of_array("run.output", run.output)
    ahead = Ahead(
        None if d_output is None else _as_sequence("d_output", d_output, run.output.shape, kind),
        None if d_state is None else as_states("d_state", d_state, cell_info(run.cell)["states"], kind, _fits(run)),
        () if d_states is None else _as_sequences(d_states, run, cell_info(run.cell)["states"]),
    )
    return run._kept, ahead


def _fits(run: Run) -> Callable[[int, str, tuple[int, ...]], None]:
    """Return what is asked of gradients of a run's final states."""
    return partial(fits_batch, lambda: run._widths, run.output)


def _as_sequences(
    d_states: Sequence[npt.ArrayLike | None], run: Run, names: tuple[str, ...]
) -> tuple[Array | None, ...]:
    """Return the gradients of the states after h at every step."""
    d_states = as_items("d_states", d_states, f"a tuple of arrays or None ({', '.join(names)})")
    if len(d_states) != len(names):
        raise ValueError(f"d_states: expected {len(names)} arrays or None ({', '.join(names)}), got {len(d_states)}")
    if d_states[0] is not None:
        raise ValueError("d_states[0]: expected None, as h's gradient is d_output, got an array")
    steps, batch, _ = run.output.shape
    kind = kind_of_array("run.output", run.output)
    return tuple(
        None if d is None else _as_sequence(f"d_states[{k}]", d, (steps, batch, width), kind)
        for k, (d, width) in enumerate(zip(d_states, run._widths, strict=True))
        if k > 0
    )


def _as_sequence(name: str, value: npt.ArrayLike, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a gradient of what has a value at every step."""
    if getattr(value, "shape", None) == shape:
        return as_floats(name, value, dtype)
    fits = fits_shape("(T, B, H)", shape)
    array = as_floats(name, value, dtype, fits)
    fits(name, array.shape)
    return array


def step(
    cell: str,
    x_t: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
    *,
    term: npt.ArrayLike | None = None,
    noise: Noise | None = None,
    cell_clip: float | None = None,
    products: str = "full",
) -> State:
    """Run one layer for one step, for inference.

    Stepping through a sequence gives the bits that `forward` gives for the whole of it.

    Parameters
    ----------
    cell, params, state, term, noise, cell_clip, products
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
    if cell_clip is not None:
        cell, cell_clip = settled(cell, cell_clip)
    info = cell_info(cell)
    arrays = as_parameters(cell, params)
    dtype = kind_of_array("params['weight_ih']", arrays["weight_ih"])
    inputs = as_step(x_t, dtype, x_shape(cell, arrays["weight_ih"]))
    initial = None
    if state is not None:
        initial = as_states("state", state, info["states"], dtype, fits_layer(cell, arrays, inputs))
    added = None if term is None else _as_term(term, dtype, inputs, arrays)
    check_noise(noise)
    drawn = None if noise is None else noise._drawn(cell, inputs.shape[1], expected=True)
    settings = as_settings(cell, cell_clip)
    if products is not FULL:
        check_products(products, dtype)
    call = Call(cell, inputs, as_layer(cell, arrays), initial, None, added, drawn, settings, products)
    try:
        _, after, _, _ = _serve.forward(call, False)
    except (TypeError, ValueError) as error:
        raise of_step(error) from None
    return after
