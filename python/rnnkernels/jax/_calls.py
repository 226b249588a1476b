"""The two functions that XLA calls, and what a call of them says. No transformation of JAX is settled here.

The C++ side, csrc/binding/xla_ffi.cpp, has the order of arguments and results and the meaning of the options' bits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from rnnkernels import _cpu
from rnnkernels.cuda import extension
from rnnkernels.parameters import NAMES, cell_info

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rnnkernels._asked import Asked

# The attribute "options", lowest bit first: which parameters there are, and what else.
BITS = (*NAMES, "state", "lengths", "reverse", "dx", "resets", "reset_state", "products", "tf32")
ALIGNMENT = 64  # a reserve that is cut out of an array of them stays aligned

FORWARD, BACKWARD = "rnnkernels_forward", "rnnkernels_backward"
READS_HALVES = ("cuda",)  # the platforms whose functions take halves as they are


def register() -> None:
    """Tell XLA the two functions: the CPU's, and a GPU's where the CUDA backend was built."""
    for platform, module in (("cpu", _cpu), ("CUDA", cuda_module())):
        if module is not None:
            handlers = module.xla_ffi_handlers()
            jax.ffi.register_ffi_target(FORWARD, handlers["forward"], platform=platform)
            jax.ffi.register_ffi_target(BACKWARD, handlers["backward"], platform=platform)


def cuda_module() -> Any:
    """Return the CUDA backend; None where it was not built. It needs no GPU."""
    try:
        return extension.load()
    except extension.CudaUnavailableError:
        return None


class OnCuda(NamedTuple):
    """The settings of `rnnkernels.cuda` when a call is traced. The CPU reads none of them."""

    kernel: str = "auto"
    tf32: bool = False

    @classmethod
    def now(cls) -> OnCuda:
        """Return those in use."""
        module = cuda_module()
        return cls() if module is None else cls(module.kernel(), extension.tf32_allowed())


def reserve_size(cell: str, hidden: int, dtype: str, half: str | None = None) -> int:
    """Return the bytes of a reserve per row of a step: enough for each platform that a call may be compiled for.

    `half`: the dtype on those that read halves.
    """
    most: int = _cpu.reserve_size(cell, hidden, dtype)
    module = cuda_module()
    if module is None:
        return most
    try:
        return max(most, int(module.reserve_size(cell, hidden, half or dtype)))
    except ValueError:  # a cell of the CPU's alone
        return most


class Static(NamedTuple):
    """All of a call but its arrays.

    These are parameters in the order of `names`, x, states, lengths, resets, reset states, each where it is given.
    """

    asked: Asked  # its lengths and resets are among the arrays
    names: tuple[str, ...]  # of the parameters
    state: bool  # whether states are given
    lengths: bool  # whether lengths are
    resets: bool  # whether resets are
    reset_state: bool  # whether reset states are
    instruction_set: str
    reserve: int  # bytes per row of a step
    hidden: int  # H
    width: int  # of h
    on_cuda: OnCuda
    half: str | None = None  # of arrays that were made float32: what the user gave

    @property
    def x(self) -> int:
        """Where x stands."""
        return len(self.names)

    @property
    def _given_states(self) -> int:
        return self.state_count * self.state

    @property
    def states(self) -> slice:
        """Where the states stand."""
        return slice(self.x + 1, self.x + 1 + self._given_states)

    @property
    def resets_at(self) -> int:
        """Where the resets stand, if there are any."""
        return self.x + 1 + self._given_states + self.lengths

    @property
    def reset_states(self) -> slice:
        """Where the reset states stand."""
        begin = self.resets_at + self.resets
        return slice(begin, begin + self.state_count * self.reset_state)

    @property
    def state_count(self) -> int:
        """How many states the cell has."""
        return len(cell_info(self.asked.cell)["states"])

    def _attributes(self, wants_dx: bool = False) -> dict[str, Any]:
        flags = {"state": self.state, "lengths": self.lengths, "reverse": self.asked.reverse, "dx": wants_dx}
        flags |= {"resets": self.resets, "reset_state": self.reset_state}
        flags |= {"products": self.asked.products == "bfloat16", "tf32": self.on_cuda.tf32}
        there = {*self.names, *(name for name, flag in flags.items() if flag)}
        bits = np.int64(sum(1 << k for k, name in enumerate(BITS) if name in there))
        serves = {"instruction_set": self.instruction_set, "kernel": self.on_cuda.kernel}
        return {"cell": self.asked.cell, **serves, "options": bits}

    def shapes(self, x: Any) -> list[tuple[int, ...]]:
        """Return the shapes of the output and of the states."""
        steps, batch = x.shape[:2]
        rest = [(batch, self.hidden)] * (self.state_count - 1)
        return [(steps, batch, self.width), (batch, self.width), *rest]

    def infer(self, *arrays: Any) -> list[Any]:
        """Run: the output and the states. Nothing is kept."""
        return self._forward(arrays, [])

    def train(self, *arrays: Any) -> list[Any]:
        """Run: the output, the states and the reserve that `backward` needs, an array of bytes."""
        steps, batch = arrays[self.x].shape[:2]
        size = -(-steps * batch * self.reserve // ALIGNMENT) * ALIGNMENT
        return self._forward(arrays, [jax.ShapeDtypeStruct((size,), np.uint8)])

    def _forward(self, arrays: Sequence[Any], more: list[Any]) -> list[Any]:
        dtype = arrays[0].dtype
        results = [jax.ShapeDtypeStruct(shape, dtype) for shape in self.shapes(arrays[self.x])] + more
        return self._run(FORWARD, results, arrays, self._attributes())

    def backward(self, wants_dx: bool, *arrays: Any) -> list[Any]:
        """Differentiate: `arrays`, what `train` gave but for the states, and their gradients.

        Returns dx if it is wanted, the parameters' gradients, those of the states if they were given, those of the
        reset states if they were.
        """
        like = [arrays[self.x]] if wants_dx else []
        like += [*arrays[: self.x], *arrays[self.states], *arrays[self.reset_states]]
        results = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in like]
        return self._run(BACKWARD, results, arrays, self._attributes(wants_dx))

    def _run(self, name: str, results: Sequence[Any], arrays: Sequence[Any], attributes: dict[str, Any]) -> list[Any]:
        if self.half is None:
            return _plain(name, results, attributes, *arrays)
        like = tuple((result.shape, np.dtype(result.dtype).name) for result in results)
        return list(_either(name, like, tuple(attributes.items()), self.half, READS_HALVES, *arrays))


def _plain(name: str, results: Sequence[Any], attributes: Mapping[str, Any], *arrays: Any) -> list[Any]:
    return list(jax.ffi.ffi_call(name, results, vmap_method="sequential")(*arrays, **attributes))


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _either(
    name: str,
    results: tuple[tuple[Any, ...], ...],
    attributes: tuple[tuple[str, Any], ...],
    half: str,
    readers: tuple[str, ...],
    *arrays: Any,
) -> list[Any]:
    """Call with what was widened: as it is, on a platform that reads halves as the halves that it was.

    There nothing is lost: what goes in was halves, or is a result that was. A compiled program holds no conversion of a
    half to float32 and back.
    """
    wide = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in results]
    narrow = [jax.ShapeDtypeStruct(a.shape, half if a.dtype == np.float32 else a.dtype) for a in wide]

    def as_halves(*arrays: Any) -> list[Any]:
        given = [a.astype(half) if a.dtype == np.float32 else a for a in arrays]
        found = _plain(name, narrow, dict(attributes), *given)
        return [a.astype(b.dtype) for a, b in zip(found, wide, strict=True)]

    def as_given(*arrays: Any) -> list[Any]:
        return _plain(name, wide, dict(attributes), *arrays)

    found: list[Any] = jax.lax.platform_dependent(*arrays, default=as_given, **dict.fromkeys(readers, as_halves))
    return found
