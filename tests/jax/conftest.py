"""The tests of `rnnkernels.jax`: skipped where there is no JAX, or one without jax.ffi."""

import os

from optional import needs

os.environ.setdefault("JAX_PLATFORMS", "cpu")

pytest_pycollect_makemodule = needs("jax", "jax.ffi")
