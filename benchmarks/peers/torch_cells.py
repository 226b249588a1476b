"""PyTorch one step at a time: nn.LSTMCell, nn.GRUCell, nn.RNNCell, or the step of a loop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

from benchmarks.workloads import Workload
from rnnkernels import steps

from .base import Peer, Timed
from .torch_eager import LAYERS, LOOPS, tensors

# With a cell of PyTorch's; of the others the loop's step is run.
CELLS = ("rnn_tanh", "rnn_relu", "lstm", "gru")


class TorchCells(Peer):
    """Streams."""

    name = "torch cell"
    packages = ("torch",)

    def supports(self, work: Workload) -> bool:
        return work.mode == "streaming" and work.cell in LAYERS + LOOPS

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch

        from .torch_loops import zeros

        torch.set_num_threads(threads)
        advance = _cell(work) if work.cell in CELLS else _loop_step(work)
        inputs = cycle(torch.tensor(work.x).unbind(0))
        state = zeros(work.cell, torch.tensor(work.x), tensors(work))

        def step() -> Any:
            nonlocal state
            with torch.inference_mode():
                state = advance(next(inputs), state)
            return state[0]

        return Timed(step, lambda h: {"output": h.numpy()})


def _cell(work: Workload) -> Callable[[Any, Any], Any]:
    import torch

    _, _, inputs, hidden = work.shape
    if work.cell == "lstm":
        lstm = torch.nn.LSTMCell(inputs, hidden)
        lstm.load_state_dict(tensors(work))
        advance: Callable[[Any, Any], Any] = lstm
        return advance
    if work.cell == "gru":
        cell = torch.nn.GRUCell(inputs, hidden)
    else:
        cell = torch.nn.RNNCell(inputs, hidden, nonlinearity=work.cell.removeprefix("rnn_"))
    cell.load_state_dict(tensors(work))
    return lambda x, state: (cell(x, state[0]),)


def _loop_step(work: Workload) -> Callable[[Any, Any], Any]:
    from .torch_loops import LIBRARY, transposed

    params = tensors(work)
    matrices = transposed(params)
    weights = steps.weights(LIBRARY, work.cell, matrices)
    step = steps.step_of(work.cell)
    return lambda x, state: step(LIBRARY, x, steps.input_part(LIBRARY, work.cell, x, matrices), state, weights)
