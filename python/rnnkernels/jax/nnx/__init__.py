"""flax's `nnx.RNN` on the kernels: the same modules, parameters and options, for LSTM, GRU and SimpleCell.

    from rnnkernels.jax import nnx as rkn

    layer = rkn.LSTM(64, 128, rngs=nnx.Rngs(0))  # nnx.RNN(nnx.OptimizedLSTMCell(64, 128, rngs=nnx.Rngs(0)))
    layer = rkn.from_flax(rnn)  # an nnx.RNN or nnx.Bidirectional, whose parameters it shares

A module holds flax's own cell and is an `nnx.RNN`: `nnx.state` of both has the same paths, so that checkpoints go
either way. docs/jax.md says where results differ: behind a row's length.

Not here: cells of linen (`rnnkernels.convert.from_flax` has their parameters), a cell of one step.
"""

try:
    import flax.nnx as _nnx  # noqa: F401  # the package of that name, not this one
except ImportError as error:
    raise ImportError("rnnkernels.jax.nnx needs flax: pip install 'rnnkernels[flax]'") from error

from rnnkernels._swapped import Swapped

from .both_ways import Bidirectional
from .layers import GRU, LSTM, RNN, SimpleRNN
from .swapping import from_flax, swap

__all__ = ["GRU", "LSTM", "RNN", "Bidirectional", "SimpleRNN", "Swapped", "from_flax", "swap"]
