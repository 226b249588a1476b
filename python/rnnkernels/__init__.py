"""rnnkernels: fused kernels for recurrent cells, forward and backward.

    import rnnkernels as rk

    params = rk.init_params("lstm", input_size, hidden_size, rng=0)
    run = rk.forward("lstm", x, params)            # run.output (T, B, H), run.state ((B, H), (B, H))
    grads = rk.backward(run, d_output)             # grads.x, grads.params, grads.state

A cell of one's own is a function of a few lines (`rnnkernels.equations`):

    @rk.cell
    def gru(x, h):
        u = rk.product(h)
        r, z = rk.sigmoid(x.r + u.r), rk.sigmoid(x.z + u.z)
        n = rk.tanh(x.n + r * u.n)
        return (1 - z) * n + z * h

One layer as functions is in `rnnkernels.functional`, weights packed once for many calls and single
steps in `rnnkernels.prepared` and, of layers on layers, `rnnkernels.prepared_stack`, weights of 8
bits in `rnnkernels.quantized`, layers on layers in `rnnkernels.stack`, a recurrence that attends
to features in `rnnkernels.attention`, drivers for backpropagation through time in
`rnnkernels.bptt`, the last layer and its loss in `rnnkernels.readout`, optimisers in
`rnnkernels.optim`, the character language model in
`rnnkernels.charlm`, published cells as equations in `rnnkernels.zoo`. GPUs are in `rnnkernels.cuda`.
"""

from . import attention, bptt, optim, zoo
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
from .equations.cell import cell
from .equations.composites import clip, elu, gelu, hard_sigmoid, silu, softplus, softsign
from .equations.functions import (
    abs,
    direct,
    erf,
    exp,
    expm1,
    fma,
    log,
    log_sigmoid,
    maximum,
    minimum,
    product,
    relu,
    sigmoid,
    sqrt,
    tanh,
    where,
)
from .equations.values import PerStep
from .functional import Gradients, Run, backward, forward, step
from .memory import training_bytes
from .noise import Noise
from .parameters import cell_info, cells, init_params, parameter_shapes
from .prepared import Prepared, Stepper
from .prepared_stack import PreparedStack, StackStepper
from .quantized import quantize_params
from .readout import Readout
from .stack import Stack

__version__ = "0.1.0"

__all__ = [
    "Gradients",
    "Noise",
    "PerStep",
    "Prepared",
    "PreparedStack",
    "Readout",
    "Run",
    "Stack",
    "StackStepper",
    "Stepper",
    "__version__",
    "abs",
    "attention",
    "backend",
    "backends",
    "backward",
    "bptt",
    "cell",
    "cell_info",
    "cells",
    "clip",
    "direct",
    "elu",
    "erf",
    "exp",
    "expm1",
    "fma",
    "forward",
    "gelu",
    "hard_sigmoid",
    "init_params",
    "instruction_set",
    "instruction_sets",
    "log",
    "log_sigmoid",
    "maximum",
    "minimum",
    "num_threads",
    "on_executor",
    "optim",
    "parameter_shapes",
    "product",
    "quantize_params",
    "relu",
    "set_backend",
    "set_instruction_set",
    "set_num_threads",
    "share_blas",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "sqrt",
    "step",
    "tanh",
    "training_bytes",
    "unshare_blas",
    "where",
    "zoo",
]
