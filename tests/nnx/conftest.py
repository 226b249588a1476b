"""The tests of `rnnkernels.jax.nnx`: skipped where there is no flax, or no JAX with jax.ffi."""

import os

from optional import needs

os.environ.setdefault("JAX_PLATFORMS", "cpu")

pytest_pycollect_makemodule = needs("jax", "jax.ffi", "flax.nnx")
