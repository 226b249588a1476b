# Types of the compiled CPU backend (csrc/binding/). Held true by stubtest, see ./check.
#
# Not a public interface: rnnkernels.functional checks arguments in the user's words and calls this.
# Shapes: T steps, B batch, I input size, H hidden size; Gx, Gh, Gf gates with rows in weight_ih, weight_hh, weight_gg,
# F feedback vectors, D element-wise weights. A `state` is one (B, H) array per state of the cell; None: zeros.

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict, final, overload, type_check_only

import numpy as np
from numpy.typing import NDArray

_Float: TypeAlias = NDArray[np.floating[Any]]  # float32 or float64, one of them in one call
_Token: TypeAlias = NDArray[np.int64]
_State: TypeAlias = Sequence[_Float]
# rnnkernels.parameters.Layer, which says the shapes.
_Layer: TypeAlias = tuple[_Float, _Float, _Float | None, _Float | None, _Float | None, _Float | None, _Float | None]

# A ragged batch (csrc/recurrence/rows.h): starts (steps+1,) and places (rows,); a state then has a row per sequence.
# No places: the arrays (T, B, ...) hold the rows one after another.
_Schedule: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64] | None]

# Random masks: rnnkernels.noise.Drawn, which says what each is.
_Noise: TypeAlias = tuple[int, int, bool, bool, int, int, NDArray[np.int64] | None, Sequence[float], float, float]
# output (T, B, H), state, reserve if training, the sequences (T, B, H) of the states after h if they are wanted
# What an attending recurrence asks: rnnkernels._call.Attention, which says the shapes. With a schedule B is that of the
# caller's arrays. Not with a packed one.
_Attention: TypeAlias = tuple[
    _Float,
    _Float,
    _Float | None,
    _Float,
    _Float | None,
    _Float | None,
    _Float | None,
    _Float | None,
    _Float | None,
    _Float | None,
    float,
    tuple[int | None, int] | None,
]
# rnnkernels._call.Attended and AttentionFound.
_Attended: TypeAlias = tuple[_Float, _Float, NDArray[np.int64] | None, _Float | None]
_AttentionFound: TypeAlias = tuple[
    _Float, _Float, _Float, _Float | None, _Float | None, _Float | None, _Float | None, _Float | None
]

_Forward: TypeAlias = tuple[_Float, tuple[_Float, ...], Reserve | None, tuple[_Float, ...] | None]

@type_check_only
class _Cell(TypedDict):
    name: str
    states: tuple[str, ...]
    zoned: tuple[bool, ...]  # of each state: whether a mask may keep its old value
    positive: tuple[bool, ...]  # of each state: whether it is a sum of positive terms
    merged: tuple[bool, ...]  # of each gate: x and u are only added, and have one gradient
    sigmoid: tuple[bool, ...]  # of each gate: sigmoids alone read it
    gates: tuple[tuple[str, str, str], ...]  # name; "none" "projected" "direct"; "none" "hidden" "feedback" "gated"
    diagonals: tuple[str, ...]
    settings: tuple[str, ...]
    projected: bool
    initial: tuple[str, ...]  # of each diagonal: "drawn" "zero" "one"
    normalisation: str  # "none" "products" "products_and_inner"
    direct: bool  # I = H
    rows: tuple[int, int, int, int]  # Gx, Gh, Gf, F
    heads: int  # blocks on the diagonal of weight_hh, which is (Gh*H, H/heads)

@final
class Reserve:  # forward makes one; its bytes are its buffer, and make it again
    def __init__(self, bytes: NDArray[np.uint8]) -> None: ...
    @property
    def nbytes(self) -> int: ...  # its buffer has more behind them
    @property
    def instruction_set(self) -> str: ...

@final
class Prepared:  # prepare makes one, this does not
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def instruction_set(self) -> str: ...
    def bytes(self) -> NDArray[np.uint8]: ...  # (nbytes,)
    def forward(
        self,
        x: _Float | _Token,
        state: _State | None,
        schedule: _Schedule | None,
        term: _Float | None,
        noise: _Noise | None,
    ) -> tuple[_Float, tuple[_Float, ...]]: ...  # output (T, B, H), state

@final
class Stepper:  # stepper makes one, this does not
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    # x (B, I) or (B,); h (B, H), overwritten by a later step. None: x is no array that can be read as it is.
    def step(self, x: object) -> _Float | None: ...
    def state(self) -> tuple[_Float, ...]: ...  # copies
    def reset(self, state: _State | None, term: _Float | None) -> None: ...  # term None: as it was
    def term(self) -> _Float | None: ...  # a copy

class StackStepper:  # stack_stepper makes one, this does not
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def step(self, x: object) -> _Float | None: ...  # as a Stepper's, of the last layer

class TensorSteps:  # tensor_steps makes one, this does not
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    # Tensors of one step: the output, but for kind "cell", and the states. None: no call for it. False: the parameters
    # have other bytes than those that were packed.
    def step(
        self,
        x: object,
        state: object,  # a tuple; None: zeros
        parameters: dict[str, object],
        kind: str,  # "cell", "layers" or "batch_first"
    ) -> tuple[object, ...] | Literal[False] | None: ...

def prepare(
    cell: str,
    layer: _Layer,
    weights: str,  # "full", "bfloat16" or "int8"
    tokens: bool,
    settings: Sequence[float],  # in the cell's order; infinite: off
    instruction_set: str | None = None,  # None: the one in use
    bytes: NDArray[np.uint8] | None = None,  # of one that was made alike; of `layer` only shapes then count
    products: str = "full",  # or "bfloat16"
    # of int8 weight_ih, weight_hh, weight_gg, weight_hr, float32 (rows,) each; None: by the largest of each row
    scales: tuple[_Float | None, _Float | None, _Float | None, _Float | None] | None = None,
) -> Prepared: ...
def stack_stepper(steppers: Sequence[Stepper]) -> StackStepper: ...  # one layer's h is the x of the one above
def stepper(layer: Prepared, batch_size: int, noise: _Noise | None) -> Stepper: ...
def tensor_steps(
    layers: Sequence[Prepared],
    # A parameter's name in the module and in the layer of this number, what was packed of it and, where PyTorch's
    # counters are trusted, the parameter, a tensor of its memory and its counter.
    weights: Sequence[tuple[str, str, int, _Float, tuple[object, object, int] | None]],
    types: tuple[type, type],  # torch.Tensor and torch.nn.Parameter
) -> TensorSteps: ...
def copy_reserve(bytes: NDArray[np.uint8], instruction_set: str) -> Reserve: ...
def add_cell(entry: object) -> None: ...  # a capsule of csrc/backend_table.h's CellEntry
def add_program(  # a cell that is a program of vector operations: csrc/recurrence/program.h
    name: str,
    states: Sequence[str],
    gates: Sequence[tuple[str, str, str, int, int]],  # name, input, operand, slots of dx and du; -1: none
    weights: Sequence[tuple[str, str, int]],  # name, initial, slot
    steps: Sequence[str],
    saved: int,
    slots: int,
    vectors: int,
    constants: Sequence[float],
    # phase: registers, and of each instruction operation, kind and index of what it writes, then of what it reads
    programs: Mapping[str, tuple[int, Sequence[Sequence[int]]]],
    heads: int = 1,  # of weight_hh, which is (Gh*H, H/heads)
    sigmoids: Sequence[str] = (),  # the gates that sigmoids alone read
) -> None: ...
def program_operations() -> tuple[str, ...]: ...  # a name's place is its number
def program_operands() -> tuple[str, ...]: ...  # the kinds
def cells() -> list[_Cell]: ...
@overload
def forward(
    cell: str,
    x: _Float | _Token,  # (T, B, I), or int64 tokens (T, B)
    layer: _Layer,
    state: _State | None,
    training: bool,
    schedule: _Schedule | None = None,
    term: _Float | None = None,  # (B, Gx*H), or (sequences, Gx*H) of a ragged batch
    noise: _Noise | None = None,
    all_states: bool = False,
    settings: Sequence[float] = ...,
    attention: None = None,
    products: str = "full",  # or "bfloat16"
) -> _Forward: ...
@overload
def forward(
    cell: str,
    x: _Float | _Token,  # (T, B, I), or int64 tokens (T, B); the layer's weight_ih is (Gx*H, I + D)
    layer: _Layer,
    state: _State | None,
    training: bool,
    schedule: _Schedule | None = None,
    term: _Float | None = None,
    noise: _Noise | None = None,
    all_states: bool = False,
    settings: Sequence[float] = ...,
    *,
    attention: _Attention,
    products: str = "full",
) -> tuple[_Float, tuple[_Float, ...], Reserve | None, tuple[_Float, ...] | None, _Attended]: ...
def forward_layers(  # each layer's x is the output of the one before it; the results of forward for each
    cell: str,
    x: _Float | _Token,
    layers: Sequence[_Layer],
    states: Sequence[_State | None],
    training: bool,
    noises: Sequence[_Noise | None],
    settings: Sequence[float] = ...,
    products: str = "full",
) -> list[_Forward]: ...
@overload
def backward(
    cell: str,
    x: _Float | _Token,
    layer: _Layer,
    state: _State | None,
    output: _Float,  # (T, B, H)
    reserve: Reserve,
    d_output: _Float | None,  # (T, B, H)
    d_state: _State | None,
    need_dx: bool = True,
    schedule: _Schedule | None = None,
    term: _Float | None = None,  # (B, Gx*H), or (sequences, Gx*H) of a ragged batch
    noise: _Noise | None = None,
    d_sequence: Sequence[_Float | None] = ...,  # of the states after h; empty: none
    norms: bool = False,
    settings: Sequence[float] = ...,
    attention: None = None,
    attended: None = None,
    d_attended: None = None,
    products: str = "full",  # the forward's
) -> tuple[
    _Float | None,  # dx
    _Layer,
    tuple[_Float, ...],  # d_state
    _Float | None,  # dterm
    tuple[_Float, ...],  # norms (T, B) for each state, if they are wanted
]: ...
@overload
def backward(
    cell: str,
    x: _Float | _Token,
    layer: _Layer,
    state: _State | None,
    output: _Float,
    reserve: Reserve,
    d_output: _Float | None,
    d_state: _State | None,
    need_dx: bool = True,
    schedule: _Schedule | None = None,
    term: _Float | None = None,
    noise: _Noise | None = None,
    d_sequence: Sequence[_Float | None] = ...,
    norms: bool = False,
    settings: Sequence[float] = ...,
    *,
    attention: _Attention,
    attended: tuple[_Float, _Float, NDArray[np.int64] | None],  # weights, contexts, places, as forward gave them
    d_attended: tuple[_Float | None, _Float | None],  # of weights (T, B, L) and contexts (T, B, D)
    products: str = "full",
) -> tuple[_Float | None, _Layer, tuple[_Float, ...], _Float | None, tuple[_Float, ...], _AttentionFound]: ...
def drop(x: _Float, rate: float, seed: int, layer: int) -> _Float: ...  # a copy with some elements dropped
def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def set_instruction_set(name: str) -> None: ...
def num_threads() -> int: ...  # that a call of this thread may use now
def set_num_threads(threads: int) -> None: ...  # 0: as many as what bounds them leaves
def bound_threads(threads: int) -> None: ...  # by the process's environment and quota
def join_torch() -> bool: ...  # run on PyTorch's OpenMP threads, as many as it says; False: it is not loaded
def set_oversubscribed(oversubscribed: bool) -> None: ...  # as many as were set, whatever bounds them: for tests

class LentThreads:  # threads of somebody else's, up to `workers` beside the caller
    def __init__(self, workers: int) -> None: ...
    def work(self, thread: int) -> None: ...  # the calling thread is number `thread`, from 1 on, until end
    def end(self) -> None: ...

def use_lent(threads: LentThreads | None) -> None: ...  # calls of this thread run on these; None: as usual
def share_openmp(library: str | None) -> bool: ...  # run on the threads of a loaded OpenMP runtime; None: on our own
def blas() -> list[tuple[str, int, bool]]: ...  # each OpenBLAS that is loaded: path, threads, whether they are ours
def set_blas_threads(number: int, threads: int) -> None: ...  # of the number-th of `blas`
def share_blas(share: bool) -> None: ...
def share_blas_when_parallel(share: bool) -> None: ...  # in the first call that may use several threads
def set_poison(poison: bool) -> None: ...

# Kernels for "int8" or "bfloat16" of a set, slowest first, and those that serve; None: products of floats.
def low_kernels(kind: str, instruction_set: str | None = None) -> tuple[list[str], str | None]: ...
def choose_low_kernels(kind: str, name: str | None) -> None: ...  # of the set in use; None: the fastest; "none"
def evaluate(function: str, x: _Float) -> _Float: ...

# Bytes per row of a step; `keeps_units`: the noise has rates with which states keep their units.
def reserve_size(cell: str, hidden: int, dtype: str, keeps_units: bool = False, /) -> int: ...

# The same of an attending recurrence with `size` units, and the bytes behind all rows.
def attending_reserve_size(cell: str, hidden: int, dtype: str, keeps_units: bool, size: int, /) -> tuple[int, int]: ...
def xla_ffi_handlers() -> dict[str, Any]: ...  # capsules by "forward" and "backward", for jax.ffi
def plan(  # how a call is cut: threads, row_groups, unit_groups, pieces, forward_chunk, backward_chunk
    cell: str, steps: int, batch: int, input: int, hidden: int, dtype: str, threads: int, weights: str = "full"
) -> dict[str, int]: ...
