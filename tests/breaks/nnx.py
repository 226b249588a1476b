"""Breaks of the modules for flax.nnx: resets, and models swapped in place."""

from .record import Break

NNX = "python/rnnkernels/jax/nnx"
ARRAYS, BOTH, CELLS, LAYERS, SWAPPING = (
    f"{NNX}/{name}.py" for name in ("arrays", "both_ways", "cells", "layers", "swapping")
)
TESTS, BOTH_TESTS, REFUSED, SWAPPED = (
    f"tests/nnx/test_nnx{name}.py" for name in ("", "_both_ways", "_bad_arguments", "_swap")
)

BREAKS = [
    Break(
        "nnx: resets stand with the batch first",
        LAYERS,
        "else jnp.moveaxis(again, time, 0).reshape(steps, count)",
        "else again.reshape(steps, count)",
        f"{TESTS} -k resets_replace",
    ),
    Break(
        "nnx: a reset state is forgotten",
        LAYERS,
        "reset_state=of_rows(reset),",
        "reset_state=None,",
        f"{TESTS} -k resets_replace",
    ),
    Break(
        "nnx: swap names the cells of layers, too",
        SWAPPING,
        " and id(module) not in inside:",
        ":",
        SWAPPED,
    ),
    Break(
        "nnx: swap forgets products",
        SWAPPING,
        "            module.products = products\n",
        '            module.products = "full"\n',
        SWAPPED,
    ),
    Break(
        "nnx: a carry is (h, c)",
        LAYERS,
        "final = tuple(part.reshape(*batch, part.shape[-1]) for part in reversed(states))",
        "final = tuple(part.reshape(*batch, part.shape[-1]) for part in states)",
        f"{TESTS} -k outputs_and_carries",
    ),
    Break(
        "nnx: rows that are reversed keep their order",
        LAYERS,
        "if reverse and not keep_order:",
        "if False:",
        f"{TESTS} -k outputs_and_carries",
    ),
    Break(
        "nnx: padding is turned around with its row",
        ARRAYS,
        "places = jnp.where(steps < ends, ends - 1 - steps, steps)",
        "places = output.shape[0] - 1 - steps + 0 * ends",
        f"{TESTS} -k outputs_and_carries",
    ),
    Break(
        "nnx: the time axis is the first of the batch's",
        LAYERS,
        "time = 0 if time_major else x.ndim - 2",
        "time = 0 if time_major else 1",
        f"{TESTS} -k batches_of",
    ),
    Break(
        "nnx: a carry's dtype says nothing",
        LAYERS,
        "dtype = jnp.result_type(*of, *(carry or [self.cell.param_dtype]), *(reset or []))",
        "dtype = jnp.result_type(*of)",
        f"{TESTS} -k dtypes_are",
    ),
    Break(
        "nnx: subclasses of a cell are served",
        CELLS,
        "if type(cell) not in _CELLS:",
        "if not isinstance(cell, tuple(_CELLS)):",
        f"{REFUSED} -k cells_that",
    ),
    Break(
        "nnx: a cell's layers are not looked at",
        CELLS,
        "    for linear in chain(*_linears(cell).values()):\n        _check_linear(linear)\n",
        "    chain(_linears(cell))\n",
        f"{REFUSED} -k put_into",
    ),
    Break(
        "nnx: a cell's own carry is not asked for",
        LAYERS,
        "if self.cell.carry_init is None:",
        "if given is None:",
        f"{TESTS} -k carry_is_drawn",
    ),
    Break(
        "nnx: resets are the forward layer's alone",
        BOTH,
        "                resets=resets,\n                reset_state=again[at],\n",
        "                resets=None if at else resets,\n                reset_state=None if at else again[at],\n",
        f"{BOTH_TESTS} -k resets",
    ),
    Break(
        "nnx: both layers are given one state after resets",
        BOTH,
        "reset_state=again[at],",
        "reset_state=again[0],",
        f"{BOTH_TESTS} -k resets",
    ),
    Break(
        "nnx: rows' lengths are the forward layer's alone",
        BOTH,
        "seq_lengths=seq_lengths,",
        "seq_lengths=None if at else seq_lengths,",
        BOTH_TESTS,
    ),
    Break(
        "nnx: the backward layer's outputs stand in its own order",
        BOTH,
        "keep_order=True,",
        "keep_order=False,",
        BOTH_TESTS,
    ),
    Break(
        "nnx: swap leaves what is around two layers",
        SWAPPING,
        "            module.__class__ = Bidirectional\n",
        "            pass\n",
        SWAPPED,
    ),
]
