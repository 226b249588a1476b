"""Layers for PyTorch on these kernels: change one import and nothing else.

    import rnnkernels.torch as rnn

    layer = rnn.LSTM(64, 128, num_layers=2, batch_first=True)  # torch.nn.LSTM, in every respect
    output, (h_n, c_n) = layer(x)

    layer = rnn.Recurrent("mut2_projected", 64, 128)           # any other cell
    report = rnn.swap(model)                                   # every torch.nn.RNN, LSTM and GRU in a model
    report = rnn.unswap(model)                                 # and back
    report = rnn.quantize(model)                               # weights of 8 bits, for inference

`RNN`, `LSTM`, `GRU` and the cells `RNNCell`, `LSTMCell`, `GRUCell` are subclasses of PyTorch's own (`layers`);
`Recurrent` and `RecurrentCell` have every cell of `rnnkernels.cells` and what PyTorch lacks (`recurrent`,
`recurrent_cell`); `AttentionRecurrent` looks at features (`attention`), `Reinforce` is hard attention's loss
(`reinforce`); layers with weights of 8 bits are in `quantized`, and in the table of `torch.ao.quantization` (`ao`).
Gradients and the transforms of `torch.func` are in `autograd`, the operators that `torch.compile` and `torch.export`
see in `operators`, what `torch.onnx.export` makes of them in `export`, what torch.fx and TorchScript meet in `graphs`,
single steps without gradients in `steps`.
"""

try:
    import torch as _torch  # noqa: F401  # the error below
except ImportError as error:
    raise ImportError("rnnkernels.torch needs PyTorch: pip install 'rnnkernels[torch]'") from error

from rnnkernels import _cpu
from rnnkernels._swapped import Swapped

from . import export as _export  # noqa: F401  # the operators' rule for torch.onnx.export
from . import operators
from .attention import Attention, AttentionRecurrent
from .layers import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from .quantized import Quantized, QuantizedCell, quantize
from .recurrent import Recurrent
from .recurrent_cell import RecurrentCell
from .reinforce import Reinforce
from .swapping import swap, unswap

# PyTorch's idle threads spin for milliseconds after each of its operations: with threads of our own beside them the
# two would take the processors from each other, layer after layer. On its threads ours cost nothing to wake. And calls
# get as many as PyTorch would use, in a DataLoader's workers too, where its threads are not.
_cpu.join_torch()

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionRecurrent",
    "GRUCell",
    "LSTMCell",
    "Quantized",
    "QuantizedCell",
    "RNNCell",
    "Recurrent",
    "RecurrentCell",
    "Reinforce",
    "Swapped",
    "operators",
    "quantize",
    "swap",
    "unswap",
]
