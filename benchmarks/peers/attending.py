"""The attending recurrence as others have it, for `python -m benchmarks attention`: nobody has a kernel of it.

In PyTorch it is a loop over the steps: `Loop` is that of rnnkernels.torch, which every cell has; `Cells` is that of a
user who has torch.nn.LSTMCell or GRUCell take the steps; `Compiled` is the first compiled, some steps at a time, as all
of them at once take the compiler minutes for each shape. In JAX it is `lax.scan` under jit.

Each makes a call that trains: gradients of sum(output * d_output) in x, features and all parameters, by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rnnkernels import steps

from .jax_scan import library

BLOCK = 5  # steps that are compiled at a time

Gradients = dict[str, Any]
Call = Callable[[], Gradients]


class Problem(NamedTuple):
    """What everyone is given; the layer has additive scores."""

    layer: Any  # rnnkernels.torch.AttentionRecurrent
    x: Any  # (T, B, I), tensors as the next two
    features: Any  # (B, L, D)
    d_output: Any  # (T, B, H)

    @property
    def parameters(self) -> dict[str, Any]:
        """The layer's, by name."""
        return dict(self.layer.named_parameters())


def of_torch(problem: Problem, output_of: Callable[[], Any]) -> Call:
    """Return the call of whoever gives an output (T, B, H) to PyTorch's autograd."""
    import torch

    wanted = {"x": problem.x, "features": problem.features, **problem.parameters}

    def train() -> Gradients:
        grads = torch.autograd.grad((output_of() * problem.d_output).sum(), list(wanted.values()))
        return dict(zip(wanted, grads, strict=True))

    return train


def ours(problem: Problem) -> Call:
    return of_torch(problem, lambda: problem.layer(problem.x, problem.features)[0])


def loop(problem: Problem) -> Call:
    from rnnkernels.torch import attention_loop
    from rnnkernels.torch.attention_call import Attending, Given

    asked, weights = Attending(problem.layer.cell), _without_key(problem)

    def output() -> Any:
        return attention_loop.run(asked, Given(problem.x, problem.features, _keys(problem), weights)).output

    return of_torch(problem, output)


def compiled(problem: Problem) -> Call:
    import torch

    from rnnkernels.torch import attention_loop
    from rnnkernels.torch.attention_call import Attending, Given

    torch.compiler.reset()  # else the shapes before this one count as a reason to compile for any shape
    asked, weights = Attending(problem.layer.cell), _without_key(problem)
    hidden, batch = problem.layer.hidden_size, problem.x.shape[1]
    zeros = tuple(problem.x.new_zeros(batch, hidden) for _ in problem.layer.state_names)

    def several(x: Any, features: Any, keys: Any, weights: Any, state: Any) -> Any:
        done = attention_loop.run(asked, Given(x, features, keys, weights, state))
        return done.output, done.final

    block = torch.compile(several, dynamic=False)

    def output() -> Any:
        keys, state = _keys(problem), zeros
        outputs = []
        for x in problem.x.split(BLOCK):
            found, state = block(x, problem.features, keys, weights, state)
            outputs.append(found)
        return torch.cat(outputs)

    return of_torch(problem, output)


def cells(problem: Problem) -> Call:
    """Steps by PyTorch's LSTMCell or GRUCell, which fuse what is done element by element."""
    import torch

    p, name = problem.parameters, problem.layer.cell
    weights = [p[key] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    linear, batch = torch.nn.functional.linear, problem.x.shape[1]
    zeros = problem.x.new_zeros(batch, problem.layer.hidden_size)

    def output() -> Any:
        keys, h, c = _keys(problem), zeros, zeros
        outputs = []
        for x in problem.x:
            query = linear(h, p["weight_query"], p["bias_query"])
            alpha = torch.softmax(torch.tanh(keys + query[:, None]) @ p["score"], 1)
            context = torch.bmm(alpha[:, None], problem.features)[:, 0]
            given = torch.cat((x, context), 1)
            if name == "lstm":
                h, c = torch.lstm_cell(given, (h, c), *weights)
            else:
                h = torch.gru_cell(given, h, *weights)
            outputs.append(h)
        return torch.stack(outputs)

    return of_torch(problem, output)


def jax_scan(problem: Problem) -> Call:
    import jax
    import jax.numpy as jnp
    from jax import lax

    calls, cell = library(), problem.layer.cell
    step = steps.step_of(cell)
    count = problem.features.shape[2]

    def run(given: Mapping[str, Any]) -> Any:
        features, keys = given["features"], given["features"] @ given["weight_key"]
        own = {name: value for name, value in given.items() if name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        inputs = own["weight_ih"].shape[0] - count
        of_x, of_context = own["weight_ih"][:inputs], own["weight_ih"][inputs:]
        parts = steps.input_part(calls, cell, given["x"], {**own, "weight_ih": of_x})
        weights = steps.weights(calls, cell, own)

        def advance(state: Any, now: Any) -> Any:
            query = state[0] @ given["weight_query"] + given["bias_query"]
            alpha = jax.nn.softmax(jnp.tanh(keys + query[:, None]) @ given["score"], axis=1)
            context = jnp.einsum("bl,bld->bd", alpha, features)
            state = step(calls, now[0], now[1] + context @ of_context, state, weights)
            return state, state[0]

        batch = given["x"].shape[1]
        start = tuple(jnp.zeros((batch, width), features.dtype) for width in steps.state_widths(cell, own))
        return lax.scan(advance, start, (given["x"], parts))[1]

    arrays = {"x": problem.x, "features": problem.features, **problem.parameters}
    # Matrices as (in, out), as users of JAX keep them.
    given = {
        name: jnp.asarray((value.detach().T if _matrix(name) else value.detach()).numpy())
        for name, value in arrays.items()
    }
    d_output = jnp.asarray(problem.d_output.numpy())
    train = jax.jit(jax.grad(lambda given: (run(given) * d_output).sum()))
    return lambda: jax.block_until_ready(train(given))


PEERS = {"loop": loop, "cells": cells, "compile": compiled, "jax": jax_scan}


def as_tensors(found: Gradients) -> Gradients:
    """Return anyone's gradients as PyTorch's tensors of the layer's shapes."""
    import numpy as np
    import torch

    return {
        name: grad if isinstance(grad, torch.Tensor) else torch.tensor(np.asarray(grad.T if _matrix(name) else grad))
        for name, grad in found.items()
    }


def _matrix(name: str) -> bool:
    return name.startswith("weight_")


def _keys(problem: Problem) -> Any:
    import torch

    return torch.nn.functional.linear(problem.features, problem.layer.weight_key)


def _without_key(problem: Problem) -> dict[str, Any]:
    return {name: value for name, value in problem.parameters.items() if name != "weight_key"}
