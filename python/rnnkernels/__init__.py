"""rnnkernels: fused kernels for recurrent cells, forward and backward.

    import rnnkernels as rk

    params = rk.init_params("lstm", input_size, hidden_size, rng=0)
    run = rk.forward("lstm", x, params)            # run.output (T, B, H), run.state ((B, H), (B, H))
    grads = rk.backward(run, d_output)             # grads.x, grads.params, grads.state

One layer as functions is in `rnnkernels.functional`, weights packed once for many calls and single
steps in `rnnkernels.prepared`, layers on layers in `rnnkernels.stack`, a recurrence that
attends to features in `rnnkernels.attention`, drivers for backpropagation through time in
`rnnkernels.bptt`, optimisers in `rnnkernels.optim`, the character language model in
`rnnkernels.charlm`. GPUs are in `rnnkernels.cuda`.
"""

from . import attention, bptt, optim
from ._blas import share_blas, unshare_blas
from ._executor import on_executor
from ._runtime import (
    backend,
    backends,
    instruction_set,
    instruction_sets,
    num_threads,
    set_backend,
    set_instruction_set,
    set_num_threads,
)
from .functional import Gradients, Run, backward, forward, step
from .memory import training_bytes
from .noise import Noise
from .parameters import cell_info, cells, init_params, parameter_shapes
from .prepared import Prepared, Stepper
from .stack import Stack

__version__ = "0.1.0"

__all__ = [
    "Gradients",
    "Noise",
    "Prepared",
    "Run",
    "Stack",
    "Stepper",
    "__version__",
    "attention",
    "backend",
    "backends",
    "backward",
    "bptt",
    "cell_info",
    "cells",
    "forward",
    "init_params",
    "instruction_set",
    "instruction_sets",
    "num_threads",
    "on_executor",
    "optim",
    "parameter_shapes",
    "set_backend",
    "set_instruction_set",
    "set_num_threads",
    "share_blas",
    "step",
    "training_bytes",
    "unshare_blas",
]
