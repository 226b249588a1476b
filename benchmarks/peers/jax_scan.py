"""JAX: `lax.scan` under jit, the input's product hoisted out of the scan, weights kept (in, out) as its users do.

Its threads are those of XLA's pool, which takes the processors that the process may use when JAX is imported: equal
threads are had only by pinning the process before that, as run.py does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.machine import available_cpus
from benchmarks.workloads import Answer, Workload
from rnnkernels import steps

from .base import Peer, Timed


class JaxScan(Peer):
    """Inference, and training as one jitted value_and_grad."""

    name = "jax"
    packages = ("jax",)

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "training"} and work.cell in steps.cells()

    def prepare(self, work: Workload, threads: int) -> Timed:
        if available_cpus() != threads:
            raise RuntimeError(f"may use {available_cpus()} processors and cannot be held to {threads} threads")
        import jax
        import jax.numpy as jnp

        x = jnp.asarray(work.x)
        params = {name: jnp.asarray(value.T) for name, value in work.params.items()}
        run = _layer(work.cell)
        if work.mode == "inference":
            infer = jax.jit(run)
            return Timed(lambda: infer(x, params).block_until_ready(), lambda output: {"output": np.asarray(output)})

        d_output = jnp.asarray(work.d_output)
        train = jax.jit(jax.value_and_grad(lambda x, params: (run(x, params) * d_output).sum(), argnums=(0, 1)))
        return Timed(lambda: jax.block_until_ready(train(x, params)), _gradients)


def _gradients(result: Any) -> Answer:
    dx, d_params = result[1]
    return {"x": np.asarray(dx), **{name: np.asarray(grad).T for name, grad in d_params.items()}}


def library() -> steps.Library:
    """JAX's calls of which the cells are written."""
    import jax
    import jax.numpy as jnp

    return steps.Library(
        linear=lambda a, weight, bias: a @ weight if bias is None else a @ weight + bias,
        split=lambda a, count: tuple(jnp.split(a, count, axis=-1)),
        join=lambda pieces: jnp.concatenate(pieces, axis=-1),
        layer_norm=lambda a, gain, shift: jax.nn.standardize(a, axis=-1, epsilon=1e-5) * gain + shift,
        operations={
            "constant": lambda value, like: jnp.full((), value, like.dtype),
            "zeros": jnp.zeros_like,
            "add": jnp.add,
            "sub": jnp.subtract,
            "mul": jnp.multiply,
            "div": jnp.divide,
            "neg": jnp.negative,
            "maximum": jnp.maximum,
            "minimum": jnp.minimum,
            "abs": jnp.abs,
            "exp": jnp.exp,
            "sigmoid": jax.nn.sigmoid,
            "tanh": jnp.tanh,
            "log_sigmoid": jax.nn.log_sigmoid,
            "relu": jax.nn.relu,
            "where_gt": lambda a, b, yes, no: jnp.where(a > b, yes, no),
        },
    )


def _layer(cell: str) -> Callable[[Any, Any], Any]:
    import jax.numpy as jnp
    from jax import lax

    calls = library()
    step = steps.step_of(cell)

    def run(x: Any, params: Any) -> Any:
        parts = steps.input_part(calls, cell, x, params)
        weights = steps.weights(calls, cell, params)

        def advance(state: Any, given: Any) -> Any:
            state = step(calls, given[0], given[1], state, weights)
            return state, state[0]

        start = tuple(jnp.zeros((x.shape[1], width), x.dtype) for width in steps.state_widths(cell, params))
        return lax.scan(advance, start, (x, parts))[1]

    return run
