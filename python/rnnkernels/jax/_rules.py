"""What JAX's transformations do with a layer: one primitive, its batching and its derivative.

The primitive is the layer in inference. Under vmap it stays one call, with the mapped axis folded into the batch, while
the parameters are not mapped; one call after another where they are. Its derivative is a custom_vjp whose forward keeps
the reserve. So a vmap *inside* a grad is folded in both directions (the gradient of a batch's parameters is one sum),
while a vmap *around* a grad, which asks for each one's gradient of the parameters, runs them one after another.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from rnnkernels.cuda import extension

from ._calls import cuda_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._calls import Static

layer_p = Primitive("rnnkernels_layer")
layer_p.multiple_results = True


def layer(call: Static, arrays: Sequence[Any]) -> list[Any]:
    """Run a layer: its output and states."""
    if any(_varies(a) for a in arrays):
        raise NotImplementedError("rnnkernels.jax: inside a jax.shard_map expected one with check_vma=False")
    return list(layer_p.bind(*arrays, call=call))


def _varies(array: Any) -> bool:
    """Whether a shard_map tracks what its devices have of an array: in the types, which a call of XLA's drops.

    The gradient of what is the same on all devices would then lack the sum over them, without an error.
    """
    aval = jax.typeof(array) if hasattr(jax, "typeof") else None  # older versions refuse by themselves
    kind = getattr(aval, "mat", None)
    return bool(getattr(aval, "vma", ()) if kind is None else kind.varying)


def _infer(*arrays: Any, call: Static) -> list[Any]:
    return call.infer(*arrays)


def _infer_on_cuda(*arrays: Any, call: Static) -> list[Any]:
    if cuda_module() is None:
        raise NotImplementedError(f"rnnkernels.jax: on a GPU expected the CUDA backend, got none: {extension.reason()}")
    return call.infer(*arrays)


def _abstract(*avals: Any, call: Static) -> list[Any]:
    return [avals[0].update(shape=shape) for shape in call.shapes(avals[call.x])]


# ---- vmap ---------------------------------------------------------------------------------------


def _batch(arrays: Sequence[Any], dims: Sequence[int | None], *, call: Static) -> tuple[list[Any], list[int]]:
    size = next(a.shape[dim] for a, dim in zip(arrays, dims, strict=True) if dim is not None)
    if any(dim is not None for dim in dims[: call.x]):
        return _one_by_one(arrays, dims, call)
    steps, batch = _shape_of(arrays[call.x], dims[call.x])[:2]
    folded = list(arrays)
    for at in range(call.x, len(arrays)):
        axis = 1 if at == call.x or (call.resets and at == call.resets_at) else 0  # of B
        a, dim = arrays[at], dims[at]
        if dim is None:
            spread = jnp.broadcast_to(jnp.expand_dims(a, axis), (*a.shape[:axis], size, *a.shape[axis:]))
        else:
            spread = jnp.moveaxis(a, dim, axis)
        folded[at] = spread.reshape(*spread.shape[:axis], size * batch, *spread.shape[axis + 2 :])
    output, *states = layer(call, folded)
    output = output.reshape(steps, size, batch, output.shape[-1])
    return [output, *(s.reshape(size, batch, s.shape[-1]) for s in states)], [1] + [0] * len(states)


def _one_by_one(arrays: Sequence[Any], dims: Sequence[int | None], call: Static) -> tuple[list[Any], list[int]]:
    mapped = [at for at, dim in enumerate(dims) if dim is not None]
    fronts = [jnp.moveaxis(a, dim, 0) for a, dim in zip(arrays, dims, strict=True) if dim is not None]

    def one(some: Sequence[Any]) -> list[Any]:
        each = dict(zip(mapped, some, strict=True))
        return layer(call, [each.get(at, a) for at, a in enumerate(arrays)])

    results = jax.lax.map(one, fronts)
    return list(results), [0] * len(results)


def _shape_of(array: Any, dim: int | None) -> tuple[int, ...]:
    shape = tuple(array.shape)
    return shape if dim is None else shape[:dim] + shape[dim + 1 :]


# ---- grad ---------------------------------------------------------------------------------------


def _refuse(what: str, *_: Any) -> Any:
    raise NotImplementedError(
        f"rnnkernels.jax: {what}; forward has gradients in reverse mode, once. Write a cell with jax.lax.scan where "
        "second derivatives or forward mode are needed"
    )


def _refused(function: Any) -> Any:
    """Return a function of (static, arrays) that says so when it is differentiated."""
    wrapped = jax.custom_jvp(function, nondiff_argnums=(0,))
    wrapped.defjvp(partial(_refuse, "second derivatives are not supported"))
    return wrapped


_train = _refused(lambda call, arrays: call.train(*arrays))
_backward = _refused(lambda static, arrays: static[0].backward(static[1], *arrays))


def _primal(static: tuple[Static, bool], arrays: tuple[Any, ...]) -> list[Any]:
    return layer(static[0], arrays)


def _keep(static: tuple[Static, bool], arrays: tuple[Any, ...]) -> tuple[list[Any], Any]:
    *results, reserve = _train(static[0], arrays)
    return results, (arrays, results[0], reserve)


def _differentiate(static: tuple[Static, bool], kept: Any, gradients: Sequence[Any]) -> tuple[tuple[Any, ...]]:
    (call, wants_dx), (arrays, output, reserve) = static, kept
    found = _backward(static, (*arrays, output, reserve, *gradients))
    dx = found.pop(0) if wants_dx else None
    d_params, d_states = found[: call.x], found[call.x :]
    count = call.state_count * call.state
    return ((*d_params, dx, *d_states[:count], *[None] * (call.lengths + call.resets), *d_states[count:]),)


_layer_vjp = jax.custom_vjp(_primal, nondiff_argnums=(0,))
_layer_vjp.defvjp(_keep, _differentiate)


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Static) -> Any:
    """Differentiate with respect to the arrays that have a tangent, and to no other."""
    moving = [at for at, tangent in enumerate(tangents) if type(tangent) is not ad.Zero]

    def of(*some: Any) -> list[Any]:
        each = dict(zip(moving, some, strict=True))
        arrays = tuple(each.get(at, a) for at, a in enumerate(primals))
        return list(_layer_vjp((call, call.x in moving), arrays))

    return jax.jvp(of, [primals[at] for at in moving], [tangents[at] for at in moving])


layer_p.def_impl(_infer)
layer_p.def_abstract_eval(_abstract)
mlir.register_lowering(layer_p, mlir.lower_fun(_infer, multiple_results=True), platform="cpu")
mlir.register_lowering(layer_p, mlir.lower_fun(_infer_on_cuda, multiple_results=True), platform="cuda")
batching.primitive_batchers[layer_p] = _batch
ad.primitive_jvps[layer_p] = _jvp
