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

from .base import Peer, Timed

_STATES = {"rnn_tanh": 1, "rnn_relu": 1, "lstm": 2, "gru": 1, "gru_reset_before": 1}


class JaxScan(Peer):
    """Inference, and training as one jitted value_and_grad."""

    name = "jax"
    packages = ("jax",)

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "training"} and work.cell in _STATES

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


def _layer(cell: str) -> Callable[[Any, Any], Any]:
    import jax.numpy as jnp
    from jax import lax

    step = _step(cell)

    def run(x: Any, params: Any) -> Any:
        merged = params["bias_ih"] if cell == "gru" else params["bias_ih"] + params["bias_hh"]
        parts = x @ params["weight_ih"] + merged

        def advance(state: Any, part: Any) -> Any:
            state = step(part, state, params["weight_hh"], params["bias_hh"])
            return state, state[0]

        start = jnp.zeros((x.shape[1], params["weight_hh"].shape[0]), x.dtype)
        return lax.scan(advance, (start,) * _STATES[cell], parts)[1]

    return run


def _step(cell: str) -> Callable[[Any, Any, Any, Any], Any]:
    import jax.numpy as jnp
    from jax.nn import relu, sigmoid

    def rnn(activation: Callable[[Any], Any]) -> Callable[[Any, Any, Any, Any], Any]:
        return lambda part, state, weight, _: (activation(part + state[0] @ weight),)

    def lstm(part: Any, state: Any, weight: Any, _: Any) -> Any:
        h, c = state
        i, f, g, o = jnp.split(part + h @ weight, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    def gru(part: Any, state: Any, weight: Any, bias: Any) -> Any:
        (h,) = state
        x_r, x_z, x_n = jnp.split(part, 3, axis=-1)
        u_r, u_z, u_n = jnp.split(h @ weight + bias, 3, axis=-1)
        n = jnp.tanh(x_n + sigmoid(x_r + u_r) * u_n)
        return (n + sigmoid(x_z + u_z) * (h - n),)

    def gru_reset_before(part: Any, state: Any, weight: Any, _: Any) -> Any:
        (h,) = state
        gates = 2 * h.shape[-1]
        r, z = jnp.split(sigmoid(part[:, :gates] + h @ weight[:, :gates]), 2, axis=-1)
        n = jnp.tanh(part[:, gates:] + (r * h) @ weight[:, gates:])
        return (n + z * (h - n),)

    return {
        "rnn_tanh": rnn(jnp.tanh),
        "rnn_relu": rnn(relu),
        "lstm": lstm,
        "gru": gru,
        "gru_reset_before": gru_reset_before,
    }[cell]
