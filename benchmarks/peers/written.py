"""A cell's equations as the function that a user of PyTorch or JAX would write: straight lines of array calls.

`source` writes one step in Python, from the graph that `rk.cell` traced; `step_of` compiles it for a library's calls.
The input's product is made at once for all steps, each recurrent product at once for all of its gates.

Not here: the loops over the steps (equations.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnkernels.equations.evaluating import reached
from rnnkernels.equations.graph import Equations, Node

# How an operation is written; a name before "(" is one of `Calls.functions`.
WRITTEN = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "{} / {}",
    "neg": "-{}",
    "fma": "{} * {} + {}",
    "where_gt": "where({} > {}, {}, {})",
    "where_ge": "where({} >= {}, {}, {})",
    "where_eq": "where({} == {}, {}, {})",
}


@dataclass(frozen=True)
class Calls:
    """A library's calls. `linear`: a @ w + b, b may be None; `split`: the last axis in so many equal pieces."""

    linear: Callable[[Any, Any, Any], Any]
    split: Callable[[Any, int], tuple[Any, ...]]
    join: Callable[[list[Any], int], Any]  # along an axis
    functions: dict[str, Callable[..., Any]]


def of_torch() -> Calls:
    import torch

    def clamped(function: Callable[..., Any]) -> Callable[..., Any]:
        """Take numbers for tensors, as torch.maximum does not."""

        def call(a: Any, b: Any) -> Any:
            if isinstance(a, float) or isinstance(b, float):
                tensor, number = (b, a) if isinstance(a, float) else (a, b)
                limits = {"min": number} if function is torch.maximum else {"max": number}
                return torch.clamp(tensor, **limits)
            return function(a, b)

        return call

    names = ("sigmoid", "tanh", "exp", "expm1", "log", "abs", "sqrt", "erf", "relu", "where")
    functions = {name: getattr(torch, name) for name in names}
    functions |= {"maximum": clamped(torch.maximum), "minimum": clamped(torch.minimum)}
    functions["log_sigmoid"] = torch.nn.functional.logsigmoid
    return Calls(
        linear=lambda a, weight, bias: a @ weight if bias is None else torch.addmm(bias, a, weight),
        split=lambda a, count: a.chunk(count, dim=-1),
        join=torch.cat,
        functions=functions,
    )


def of_jax() -> Calls:
    import jax
    import jax.numpy as jnp

    functions = {name: getattr(jax.nn, name) for name in ("sigmoid", "log_sigmoid", "relu")}
    names = ("tanh", "exp", "expm1", "log", "abs", "sqrt", "maximum", "minimum", "where")
    functions |= {name: getattr(jnp, name) for name in names}
    functions["erf"] = jax.scipy.special.erf
    return Calls(
        linear=lambda a, weight, bias: a @ weight if bias is None else a @ weight + bias,
        split=lambda a, count: tuple(jnp.split(a, count, axis=-1)),
        join=lambda pieces, axis: jnp.concatenate(pieces, axis=axis),
        functions=functions,
    )


def weights(calls: Calls, equations: Equations, params: dict[str, Any]) -> dict[str, Any]:
    """Return what the steps of a sequence share, weights as (in, out), of `params` of the same form.

    ``"w 0"``, ``"b 0"``: of product 0, its gates side by side; ``"diagonal"``: the element-wise weights.
    """
    found: dict[str, Any] = {}
    count = len(equations.rows)
    for number, product in enumerate(equations.products):
        if len(product.operands) > 1:
            found[f"w {number}"], found[f"b {number}"] = params["weight_gg"], None
            continue
        places = [equations.rows.index(gate) for gate in product.gates]
        matrix, bias = params["weight_hh"], params.get("bias_hh")
        if places != list(range(count)):
            pieces = calls.split(matrix, count)
            matrix = calls.join([pieces[k] for k in places], 1)
            bias = None if bias is None else calls.join([calls.split(bias, count)[k] for k in places], 0)
        found[f"w {number}"], found[f"b {number}"] = matrix, bias
    if equations.weights:
        found["diagonal"] = calls.split(params["weight_diagonal"], len(equations.weights))
    return found


def source(equations: Equations) -> str:
    """Write ``step(x, part, state, w)``, which returns the new states."""
    lines = ["def step(x, part, state, w):"]
    lines.append(f"    {_tuple(_state(k) for k in range(len(equations.states)))} = state")
    if equations.inputs:
        lines.append(f"    {_tuple(f'x_{gate}' for gate in equations.inputs)} = split(part, {len(equations.inputs)})")
    if equations.weights:
        lines.append(f"    {_tuple(f'w_{name}' for name in equations.weights)} = w['diagonal']")
    names: dict[int, str] = {}

    def write(nodes: tuple[Node, ...]) -> list[str]:
        for node in reached(nodes):
            if node.number not in names:
                names[node.number] = _leaf(node) or f"v{node.number}"
                if not _leaf(node):
                    arguments = [names[argument.number] for argument in node.arguments]
                    form = WRITTEN.get(node.operation) or f"{node.operation}({', '.join('{}' for _ in arguments)})"
                    lines.append(f"    v{node.number} = {form.format(*arguments)}")
        return [names[node.number] for node in nodes]

    for number in sorted(range(len(equations.products)), key=lambda k: equations.products[k].kind == "gated"):
        product = equations.products[number]
        vectors = write(product.operands)
        vector = vectors[0] if len(vectors) == 1 else f"join([{', '.join(vectors)}], -1)"
        gates = _tuple(f"u{number}_{gate}" for gate in product.gates)
        made = f"linear({vector}, w['w {number}'], w['b {number}'])"
        lines.append(f"    {gates} = split({made}, {len(product.gates)})")
    lines.append(f"    return {_tuple(write(equations.new))}")
    return "\n".join(lines)


def _tuple(names: Any) -> str:
    return f"({', '.join(names)},)"


def _state(number: int) -> str:
    return f"s{number}"


def _leaf(node: Node) -> str:
    """The name of what a step is given; nothing for an operation."""
    attribute: Any = node.attribute
    match node.operation:
        case "constant":
            return f"({attribute!r})"
        case "input":
            return f"x_{attribute}"
        case "direct":
            return "x"
        case "product":
            return f"u{attribute[0]}_{attribute[1]}"
        case "weight":
            return f"w_{attribute}"
        case "state":
            return _state(attribute)
        case "step":
            raise NotImplementedError("an element-wise input of every step")
    return ""


def step_of(calls: Calls, equations: Equations) -> Callable[..., tuple[Any, ...]]:
    """Compile the step for a library's calls."""
    space: dict[str, Any] = {**calls.functions, "linear": calls.linear, "split": calls.split, "join": calls.join}
    exec(compile(source(equations), f"<{equations.name}>", "exec"), space)
    made: Callable[..., tuple[Any, ...]] = space["step"]
    return made


def input_part(calls: Calls, equations: Equations, x: Any, params: dict[str, Any]) -> Any:
    """W_ih x + b_ih of all steps, (T, B, Gx·H); `params` with weights as (in, out)."""
    if not equations.inputs:
        return x[..., :0]
    flat = x.reshape(-1, x.shape[-1])
    return calls.linear(flat, params["weight_ih"], params.get("bias_ih")).reshape(*x.shape[:2], -1)
