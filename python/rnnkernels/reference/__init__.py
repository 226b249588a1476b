"""The cells a second time: NumPy, forward only, written from the papers.

What this is: the statement that the kernels are tested against. One function
per cell, in the notation of its paper, on float64 or complex128 arrays. No
derivative is written here: gradients are complex steps, Im f(p + i*h*v) / h,
which have no cancellation and are exact to rounding because h can be 1e-100
(Squire & Trapp, SIAM Review 40(1), 1998). So the only hand-written derivatives
of the package are the kernels', and what checks them cannot share a mistake.

What it is not: fast, or used by anything but tests, benchmarks and readers.

A cell function maps (x, states, p) of one step to the new states, the first of
which is the output. Every array may carry leading axes "..." (many perturbed
copies at once); ``p.weight_*`` are called, ``p.bias_*`` are added:

    x                 (..., B, I)
    a state           (..., B, H)
    p.weight_ih(x)    (..., B, G*H)    = x @ weight_ih.T
    p.bias_ih         (..., 1, G*H)    or the number 0 when there is none
    p.weight_diagonal (..., 1, D*H)    element-wise weights: an array, not called
    p.cell_clip       a number, or infinity

The functions are in `rnnkernels.reference.cells`, random masks in `rnnkernels.reference.masks`. A cell from equations
(``rk.cell``) needs no function: its graph is one, which `rnnkernels.reference.equations` evaluates.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnkernels._scalars import as_flag, check_mapping
from rnnkernels.equations.cell import equations_of
from rnnkernels.noise import check_noise

from .arguments import as_input, as_parameters, as_positive, as_states, exact, find_cell, state_widths
from .cells import CELLS, Array, State, StepFunction, relu, sigmoid, tanh
from .masks import Masks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from rnnkernels.noise import Noise

__all__ = ["cells", "directional_derivative", "forward", "gradients", "relu", "sigmoid", "tanh"]

STEP = 1e-100
"""The h of the complex step: h**2 is lost in any sum, also beside the 1e-24 that a cell with exponential gates may
divide by; h times a slope of 1e-200 is still normal."""

BLOCK_BYTES = 32 << 20
"""How large one array of perturbed gates may become in `gradients`."""

# --- running them ---------------------------------------------------------------------------------


def cells() -> tuple[str, ...]:
    """Names of the cells that have a function here; beside them every cell from equations has a reference."""
    return tuple(CELLS)


def forward(
    cell: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None = None,
    *,
    noise: Noise | None = None,
    cell_clip: float = np.inf,
    training: bool = True,
) -> tuple[Array, State]:
    """Run a cell over a sequence.

    Parameters
    ----------
    cell : str
        One of `cells`, or a cell from equations (``rk.cell``), whose graph is evaluated.
    x : array_like, (..., T, B, I) of floats or complex numbers, or (T, B) of integer tokens
        A token k is the unit vector e_k.
    params : mapping of str to array_like
        weight_ih (..., G*H, I), weight_hh (..., G*H, H), of a cell with heads (..., G*H, H / heads), and, or not,
        bias_ih and bias_hh (..., G*H); what else the cell has.
    state : sequence of array_like, (..., B, H), optional
        One per state of the cell; zeros by default.
    noise : Noise, optional
        Its masks where `training`, else their expectation.
    cell_clip : float
        Of an LSTM's c.
    training : bool

    Returns
    -------
    output : ndarray, (..., T, B, H)
        float64, or complex128 when anything that came in was complex.
    state : tuple of ndarray, (..., B, H)
        After the last step.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here; what parameters of wrong shapes are, their products say.
    """
    step, x, arrays, state = _prepare(cell, x, params, state)
    check_noise(noise)
    take = _Steps(step, noise, state, training=as_flag("training", training))
    p = _namespace(take.weights(arrays), clip=as_positive("cell_clip", cell_clip))
    outputs = []
    for t in range(x.shape[-3]):
        state = take(t, x[..., t, :, :], state, p)
        outputs.append(state[0])
    if not outputs:
        return np.zeros((0, *state[0].shape), state[0].dtype), state
    return np.stack(outputs, axis=-3), state


def directional_derivative(
    cell: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None,
    d_output: npt.ArrayLike,
    d_state: Sequence[npt.ArrayLike] | None,
    direction: Mapping[str, npt.ArrayLike],
    *,
    noise: Noise | None = None,
    cell_clip: float = np.inf,
) -> float:
    """Slope of f = sum(d_output * output) + sum(d_state * state) along `direction`.

    One complex step, so one forward run for any size; also what `gradients` is tested with.

    Parameters
    ----------
    cell, x, params, state, d_output, d_state, noise, cell_clip
        As for `gradients`.
    direction : mapping of str to array_like
        Keys: any names of `params`, "x" (vectors only), and "state0", "state1", ...; shapes:
        those of the arrays named.

    Raises
    ------
    TypeError, ValueError
        As for `gradients`, or a direction is none of an array that is there.
    """
    _, x, arrays, state = _prepare(cell, x, params, state)
    d_output, d_state = _ahead(cell, x, state, d_output, d_state)
    check_mapping("direction", direction)
    shift = {name: 1j * STEP * exact(f"direction[{name!r}]", value) for name, value in direction.items()}
    x = x + shift.pop("x", 0.0)
    state = tuple(s + shift.pop(f"state{k}", 0.0) for k, s in enumerate(state))
    arrays = {name: value + shift.pop(name, 0.0) for name, value in arrays.items()}
    if shift:
        raise ValueError(f"direction: no array is named {', '.join(map(str, shift))}")
    output, final = forward(cell, x, arrays, state, noise=noise, cell_clip=cell_clip)
    value = (d_output * output).sum()
    for weight, s in zip(d_state, final, strict=True):
        value = value + (weight * s).sum()
    return float(value.imag / STEP)


def gradients(
    cell: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None,
    d_output: npt.ArrayLike,
    d_state: Sequence[npt.ArrayLike] | None = None,
    *,
    noise: Noise | None = None,
    cell_clip: float = np.inf,
) -> tuple[Array | None, dict[str, Array], State]:
    """Gradients of f = sum(d_output * output) + sum(d_state * state) by complex steps.

    For small sizes. Two facts keep the count of steps down, and neither is a derivative of a
    cell: rows of the batch do not see each other, so one run perturbs the same place of every
    row; and a weight enters by products only, so its gradient is the sum, over steps t and rows,
    of (slope of f in the product) x (what was multiplied), and that slope needs the steps from t
    on only.

    Parameters
    ----------
    cell, params, state
        As for `forward`, real, without leading axes.
    x : array_like, (T, B, I) of floats or (T, B) of integer tokens
    d_output : array_like, (T, B, H)
    d_state : sequence of array_like, (B, H), optional
        One per state; zeros by default.
    noise : Noise, optional
        The masks of a training run.
    cell_clip : float
        Of an LSTM's c.

    Returns
    -------
    dx : ndarray, (T, B, I), or None for tokens
    d_params : dict of ndarray
        Keys and shapes of `params`.
    d_state : tuple of ndarray, (B, H)
        With respect to the initial state.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.
    """
    step, vectors, arrays, initial = _prepare(cell, x, params, state)
    tokens, x = np.asarray(x).dtype.kind in "iu", vectors
    d_out, d_final = _ahead(cell, x, initial, d_output, d_state)
    check_noise(noise)
    cell_clip = as_positive("cell_clip", cell_clip)
    steps, batch, input_size = x.shape
    weights = [name for name in arrays if _is_product(name)]
    take = _Steps(step, noise, initial)
    arrays = take.weights(arrays)
    p = _namespace(arrays, clip=cell_clip)

    def slopes(t: int, x_t: Array, states: State, first: Any, later: Any) -> Array:
        """Im f / h per row (P, B) of what lies in steps t, t+1, ...; `first` serves step t."""
        states = take(t, x_t, states, first)
        value = (d_out[t] * states[0]).sum(-1)
        for s in range(t + 1, steps):
            states = take(s, x[s], states, later)
            value = value + (d_out[s] * states[0]).sum(-1)
        for weight, final in zip(d_final, states, strict=True):
            value = value + (weight * final).sum(-1)
        return np.asarray(value.imag / STEP)

    dx = np.zeros_like(x)
    d_params = {name: np.zeros_like(value) for name, value in arrays.items()}
    d_initial = tuple(np.zeros_like(s) if steps else d.copy() for s, d in zip(initial, d_final, strict=True))
    rows = batch * max(len(arrays[name]) for name in weights)

    states = initial
    for t in range(steps):
        noting = {name: _Probe(arrays[name]) for name in weights}
        after = take(t, x[t], states, _namespace(arrays, noting, cell_clip))
        for part, unit in _units(input_size if not tokens else 0, rows):
            dx[t, :, part] = slopes(t, x[t] + unit, states, p, p).T
        for name in weights:
            for part, unit in _units(len(d_params[name]), rows):
                shifted = _namespace(arrays, {name: _Probe(arrays[name], unit)}, cell_clip)
                slope = slopes(t, x[t], states, shifted, p)  # (P, B)
                _outer(d_params[name], part, slope, noting[name].operands)
        states = after

    for k, s in enumerate(initial if steps else ()):
        for part, unit in _units(s.shape[-1], rows):
            start = (*initial[:k], s + unit, *initial[k + 1 :])
            d_initial[k][:, part] = slopes(0, x[0], start, p, p).T
    for name in d_params.keys() - set(weights) if steps else ():
        for part, unit in _units(len(d_params[name]), rows):
            shifted = _namespace({**arrays, name: arrays[name] + unit[:, 0]}, clip=cell_clip)
            d_params[name][part] = slopes(0, x[0], initial, shifted, shifted).sum(-1)
    return (None if tokens else dx), take.weights(d_params), d_initial


# --- pieces ---------------------------------------------------------------------------------------


class _Steps:
    """The steps of a call, with its masks: s' = d s + (1 - d) step(s), products with recurrent weights of m v."""

    def __init__(self, step: StepFunction, noise: Noise | None, state: State, *, training: bool = True) -> None:
        self.step, self.training = step, training
        self.masks = None if noise is None else Masks(noise, state[0].shape[-2], [s.shape[-1] for s in state])

    def weights(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Weights with their dropped elements, or gradients of such weights as those of the weights themselves."""
        if self.masks is None or not self.training:
            return dict(arrays)
        names = ("weight_hh", "weight_gg")
        return {
            name: value * self.masks.weight(name, value.shape[-2:]) if name in names else value
            for name, value in arrays.items()
        }

    def __call__(self, t: int, x: Array, states: State, p: Any) -> State:
        if self.masks is None:
            return self.step(x, states, p)
        if not self.training:
            after = self.step(x, states, p)
            return tuple(d * s + (1 - d) * n for d, s, n in zip(self.masks.rates, states, after, strict=True))
        after = self.step(x, states, _masked(p, self.masks.recurrent(t)))
        kept = self.masks.kept(t)
        return tuple(np.where(d, s, n) for d, s, n in zip(kept, states, after, strict=True))


def _masked(p: Any, mask: Array) -> Any:
    """`p` whose recurrent products multiply mask * v."""
    both = vars(p).copy()
    both |= {name: _Masked(both[name], mask) for name in ("weight_hh", "weight_gg") if name in both}
    return SimpleNamespace(**both)


class _Product:
    """Product with a weight (..., R, K), or some of its rows: (..., B, K) to (..., B, R)."""

    def __init__(self, weight: Array) -> None:
        self.transposed = np.swapaxes(weight, -1, -2)

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        transposed = self.transposed[..., rows]
        if np.iscomplexobj(vector) and not np.iscomplexobj(transposed):  # half the work of a complex product
            return np.asarray(vector.real @ transposed + 1j * (vector.imag @ transposed))
        return np.asarray(vector @ transposed)

    def of_heads(self, vector: Array, rows: slice, heads: int) -> Array:
        """Return the product of a gate's rows (R, H / heads), each of which multiplies its own head's units alone."""
        size = (rows.stop - rows.start) // heads
        cuts = [slice(head * size, (head + 1) * size) for head in range(heads)]
        parts = [self(vector[..., cut], slice(rows.start + cut.start, rows.start + cut.stop)) for cut in cuts]
        return np.concatenate(parts, axis=-1)


class _Masked:
    """A product of mask * v; v may be several vectors side by side."""

    def __init__(self, product: _Product, mask: Array) -> None:
        self.product, self.mask = product, mask

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        return self.product(vector * np.tile(self.mask, vector.shape[-1] // self.mask.shape[-1]), rows)

    def of_heads(self, vector: Array, rows: slice, heads: int) -> Array:
        return self.product.of_heads(vector * self.mask, rows, heads)


class _Probe(_Product):
    """A product that notes what it multiplies and adds a shift (P, 1, R), if any, to the result."""

    def __init__(self, weight: Array, shift: Array | None = None) -> None:
        super().__init__(weight)
        self.shift = shift
        self.operands: list[tuple[slice, Array]] = []

    def __call__(self, vector: Array, rows: slice = slice(None)) -> Array:
        self.operands.append((rows, vector))
        result = super().__call__(vector, rows)
        return result if self.shift is None else result + self.shift[..., rows]


def _outer(gradient: Array, part: slice, slope: Array, operands: list[tuple[slice, Array]]) -> None:
    """gradient[j] += sum over b of slope[j, b] * (what row j multiplied for b), for j in `part`."""
    count = len(gradient)
    used = np.zeros(count, int)
    for rows, vector in operands:  # vector (B, K)
        used[rows] += 1
        mine = [j for j in range(*part.indices(count)) if j in range(*rows.indices(count))]
        gradient[mine] += slope[[j - part.start for j in mine]] @ vector
    if (used > 1).any():
        raise NotImplementedError("a row of a weight multiplies two vectors in one step")


def _units(count: int, rows: int) -> Iterator[tuple[slice, Array]]:
    """Yield the shifts i*h*e_j (P, 1, count) of `count` places, in blocks under BLOCK_BYTES."""
    block = max(1, BLOCK_BYTES // (16 * max(rows, 1)))
    for start in range(0, count, block):
        part = slice(start, min(start + block, count))
        yield part, 1j * STEP * np.eye(count)[part, None, :]


def _is_product(name: str) -> bool:
    """Whether a parameter is called in the cell functions; the others are arrays there."""
    return name.startswith("weight_") and name != "weight_diagonal"


def _namespace(arrays: Mapping[str, Array], probes: Mapping[str, Any] | None = None, clip: float = np.inf) -> Any:
    """Make the `p` of the cell functions, with some products replaced by probes."""
    probes = probes or {}
    p = SimpleNamespace(bias_ih=0.0, bias_hh=0.0, cell_clip=clip)
    for name, value in arrays.items():
        if _is_product(name):
            setattr(p, name, probes.get(name) or _Product(value))
        else:
            setattr(p, name, value[..., None, :])
    return p


def _prepare(
    name: str,
    x: npt.ArrayLike,
    params: Mapping[str, npt.ArrayLike],
    state: Sequence[npt.ArrayLike] | None,
) -> tuple[StepFunction, Array, dict[str, Array], State]:
    """Arrays of float64 or complex128, tokens as unit vectors, the initial state."""
    states, step = find_cell(name)
    arrays = as_parameters(name, params)
    widths = state_widths(name, arrays)
    equations = equations_of(name)
    behind = 0 if equations is None else len(equations.steps) * widths[0]
    vectors = as_input(x, arrays["weight_ih"].shape[-1] + behind)
    return step, vectors, arrays, as_states("state", state, states, vectors.shape[-2], widths)


def _ahead(
    cell: str, x: Array, state: State, d_output: npt.ArrayLike, d_state: Sequence[npt.ArrayLike] | None
) -> tuple[Array, State]:
    """Return what multiplies the output and the states after the last step."""
    widths = [s.shape[-1] for s in state]
    steps, batch = x.shape[-3:-1]
    d_states = as_states("d_state", d_state, find_cell(cell).states, batch, widths)
    return exact("d_output", d_output, (steps, batch, widths[0])), d_states
