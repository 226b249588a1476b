"""PyTorch as it comes: its layer where it has the cell (nn.LSTM is oneDNN's on the CPU), else a loop of calls."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from benchmarks.workloads import Workload
from rnnkernels import steps

from .base import Peer, Timed

LAYERS = ("rnn_tanh", "rnn_relu", "lstm", "lstm_projected", "gru")
LOOPS = tuple(cell for cell in steps.cells() if cell not in LAYERS)


class TorchEager(Peer):
    """Whole sequences, forward or forward and backward."""

    name = "torch"
    packages = ("torch",)

    def supports(self, work: Workload) -> bool:
        return work.mode in {"inference", "training"} and work.cell in LAYERS + LOOPS

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch

        torch.set_num_threads(threads)
        return timed(work, *(_layer(work) if work.cell in LAYERS else _loop(work)))


def timed(work: Workload, run: Callable[[Any], Any], params: dict[str, Any]) -> Timed:
    """The call of `run`, which maps x to the outputs, in the mode of `work`."""
    import torch

    x = torch.tensor(work.x)
    if work.mode == "inference":

        def infer() -> Any:
            with torch.inference_mode():
                return run(x)

        return Timed(infer, lambda output: {"output": output.numpy()})

    d_output = torch.tensor(work.d_output)
    x.requires_grad_(True)
    leaves = {"x": x, **params}

    def train() -> Any:
        return torch.autograd.grad(run(x), list(leaves.values()), d_output)

    return Timed(train, lambda grads: {name: g.numpy() for name, g in zip(leaves, grads, strict=True)})


def tensors(work: Workload) -> dict[str, Any]:
    """The parameters, as leaves that gradients can be asked of."""
    import torch

    return {name: torch.tensor(value, requires_grad=work.mode == "training") for name, value in work.params.items()}


def _layer(work: Workload) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    import torch

    _, _, inputs, hidden = work.shape
    kinds = {"lstm": torch.nn.LSTM, "lstm_projected": torch.nn.LSTM, "gru": torch.nn.GRU}
    options: dict[str, Any] = {"nonlinearity": "relu"} if work.cell == "rnn_relu" else {}
    if work.cell == "lstm_projected":
        options["proj_size"] = work.width
        warnings.filterwarnings("ignore", "LSTM with projections is not supported with oneDNN")
    layer = kinds.get(work.cell, torch.nn.RNN)(inputs, hidden, **options)
    layer.load_state_dict({f"{name}_l0": torch.tensor(value) for name, value in work.params.items()})
    return lambda x: layer(x)[0], {name: getattr(layer, f"{name}_l0") for name in work.params}


def _loop(work: Workload) -> tuple[Callable[[Any], Any], dict[str, Any]]:
    import torch

    from .torch_loops import before_the_loop, several_steps, zeros

    params = tensors(work)
    loop = several_steps(work.cell)

    def run(x: Any) -> Any:
        parts, weights = before_the_loop(work.cell, x, params)
        outputs, _ = loop(x.unbind(0), parts.unbind(0), zeros(work.cell, x, params), weights)
        return torch.stack(outputs)

    return run, params
