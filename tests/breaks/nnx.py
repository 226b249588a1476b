"""Breaks of the modules for flax.nnx: resets, and models swapped in place."""

from .record import Break

NNX = "python/rnnkernels/jax/nnx.py"
TESTS = "tests/jax/test_nnx.py"

BREAKS = [
    Break(
        "nnx: resets stand with the batch first",
        NNX,
        "else jnp.moveaxis(again, time, 0).reshape(steps, count)",
        "else again.reshape(steps, count)",
        f"{TESTS} -k resets_replace",
    ),
    Break(
        "nnx: a reset state is forgotten",
        NNX,
        "reset_state=of_rows(reset),",
        "reset_state=None,",
        f"{TESTS} -k resets_replace",
    ),
    Break(
        "nnx: swap names the cells of layers, too",
        NNX,
        " and id(module) not in inside:",
        ":",
        f"{TESTS} -k swapped",
    ),
    Break(
        "nnx: swap forgets products",
        NNX,
        "            module.products = products\n",
        '            module.products = "full"\n',
        f"{TESTS} -k swapped",
    ),
]
