"""The kernels in JAX: `forward` under jit, grad and vmap, on the CPU and on GPUs.

    import rnnkernels.jax as rkj

    output, state = rkj.forward("lstm", x, params)  # output (T, B, H); state: (h, c), each (B, H)
    grads = jax.grad(lambda params: loss(rkj.forward("lstm", x, params)[0]))(params)

XLA calls the compiled kernels itself (its foreign function interface): no callback to Python, no copy. Parameters are
those of `rnnkernels.init_params`, as arrays of JAX or NumPy.

`rnnkernels.jax.nnx`, imported by its name, has modules for flax.

Not here: what `rnnkernels.forward` has beyond lengths, resets and reversed time (terms, masks, readings), forward
mode and second derivatives. docs/jax.md says what each transformation does.
"""

try:
    import jax.ffi  # noqa: F401 - whether it is there; newer than jax itself
except ImportError as error:
    raise ImportError("rnnkernels.jax needs JAX with jax.ffi: pip install 'rnnkernels[jax]'") from error

from ._forward import forward

__all__ = ["forward"]
