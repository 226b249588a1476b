"""Loops over a cell's step as others run them, for `python -m benchmarks equations`: nobody has a kernel of it.

`TorchLoop` is the loop that users of PyTorch write, `TorchCompiled` the same compiled some steps at a time, `JaxScan`
is `lax.scan` under jit. The step is written.py's. `work.cell` is what `rk.cell` returned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workloads import Answer, Workload

from . import written
from .base import Peer, Timed
from .torch_compile import BLOCK
from .torch_eager import tensors, timed


class TorchLoop(Peer):
    """Steps in Python."""

    name = "loop"
    packages = ("torch",)

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "training"}

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch

        torch.set_num_threads(threads)
        params = tensors(work)
        several = several_steps(work.cell)
        return timed(work, lambda x: _run(work, x, params, several, work.shape[0]), params)


class TorchCompiled(Peer):
    """The loop, compiled BLOCK steps at a time: all at once take the compiler minutes for each shape."""

    name = "compile"
    packages = ("torch",)

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "training"} and work.shape[0] % BLOCK == 0

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch

        torch.set_num_threads(threads)
        torch.compiler.reset()  # else the shapes before this one count as a reason to compile for any shape
        params = tensors(work)
        several = torch.compile(several_steps(work.cell), dynamic=False)
        return timed(work, lambda x: _run(work, x, params, several, BLOCK), params)


def several_steps(cell: Any) -> Any:
    """A function of as many steps as there are inputs; what torch.compile is given."""
    step = written.step_of(written.of_torch(), cell.equations)

    def run(inputs: Any, parts: Any, state: Any, weights: Any) -> tuple[list[Any], Any]:
        outputs = []
        for x, part in zip(inputs, parts, strict=True):
            state = step(x, part, state, weights)
            outputs.append(state[0])
        return outputs, state

    return run


def _run(work: Workload, x: Any, params: Any, several: Any, block: int) -> Any:
    """Take all steps, `block` in a call; return the outputs (T, B, H)."""
    import torch

    calls, equations = written.of_torch(), work.cell.equations  # type: ignore[attr-defined]
    turned = {name: value.T if value.ndim == 2 else value for name, value in params.items()}
    parts = written.input_part(calls, equations, x, turned).unbind(0)
    weights = written.weights(calls, equations, turned)
    inputs = x.unbind(0)
    state = tuple(x.new_zeros(x.shape[1], work.width) for _ in equations.states)
    outputs: list[Any] = []
    for begin in range(0, len(inputs), block):
        part = slice(begin, begin + block)
        found, state = several(inputs[part], parts[part], state, weights)
        outputs += found
    return torch.stack(outputs)


class JaxScan(Peer):
    """One jitted function; training is its value_and_grad."""

    name = "jax"
    packages = ("jax",)

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "training"}

    def prepare(self, work: Workload, threads: int) -> Timed:  # noqa: ARG002 - as many as the process has processors
        import jax
        import jax.numpy as jnp

        run = scan_of(work)
        x = jnp.asarray(work.x)
        params = {name: jnp.asarray(value.T) for name, value in work.params.items()}
        if work.mode == "inference":
            infer = jax.jit(run)
            return Timed(lambda: infer(x, params).block_until_ready(), lambda output: {"output": np.asarray(output)})
        d_output = jnp.asarray(work.d_output)
        train = jax.jit(jax.value_and_grad(lambda x, params: (run(x, params) * d_output).sum(), argnums=(0, 1)))
        return Timed(lambda: jax.block_until_ready(train(x, params)), _gradients)


def scan_of(work: Workload) -> Any:
    """Return the layer as a function of x and parameters (in, out)."""
    import jax.numpy as jnp
    from jax import lax

    equations = work.cell.equations  # type: ignore[attr-defined]
    calls = written.of_jax()
    step = written.step_of(calls, equations)

    def run(x: Any, params: Any) -> Any:
        parts = written.input_part(calls, equations, x, params)
        weights = written.weights(calls, equations, params)

        def advance(state: Any, given: Any) -> Any:
            state = step(*given, state, weights)
            return state, state[0]

        start = tuple(jnp.zeros((x.shape[1], work.width), x.dtype) for _ in equations.states)
        return lax.scan(advance, start, (x, parts))[1]

    return run


def _gradients(result: Any) -> Answer:
    dx, d_params = result[1]
    return {"x": np.asarray(dx), **{name: np.asarray(grad).T for name, grad in d_params.items()}}


PEERS: dict[str, Peer] = {peer.name: peer for peer in (TorchLoop(), TorchCompiled(), JaxScan())}
