"""A call from XLA uses as many threads as any other."""

from __future__ import annotations

from thread_counts import needs_proc, said

CODE = """
import jax.numpy as jnp
import rnnkernels.jax as rkj
from busy_threads import BATCH, HIDDEN, STEPS, busy
params = {name: jnp.asarray(value) for name, value in rk.init_params("gru", HIDDEN, HIDDEN, rng=0).items()}
x = jnp.ones((STEPS, BATCH, HIDDEN), jnp.float32)
print(json.dumps(busy(lambda: rkj.forward("gru", x, params)[0].block_until_ready())))
"""


@needs_proc
def test_calls_keep_to_the_environment() -> None:
    assert said(CODE, OMP_NUM_THREADS="1") == 1
