"""Inference and training in bfloat16 and int8: ours, PyTorch's and ONNX Runtime's, each as its users call it.

PyTorch's bfloat16 is a layer whose parameters, inputs and results are bfloat16, or a float32 layer under autocast; its
int8 is what `quantize_dynamic` makes of the layer. ONNX Runtime's int8 is a DynamicQuantizeLSTM with a scale for each
column, as its quantizer writes it with ``per_channel=True``. Weights are packed or quantised before the clock runs.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import rnnkernels as rk
from benchmarks.workloads import BFLOAT16_TOLERANCE, GRADIENT_TOLERANCE, OUTPUT_TOLERANCE, Array, Workload

from .base import Peer, Timed
from .onnx_runtime import OnnxRuntime
from .torch_eager import TorchEager

# How we are asked for each, prepared layers; in training for the products alone.
OURS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bfloat16": {"weights": "bfloat16", "products": "bfloat16"},
    "int8": {"weights": "int8"},
}
# Largest error allowed of outputs and of gradients, norm over norm; above it an answer is wrong, not low in precision.
TOLERANCES = {
    "float32": (OUTPUT_TOLERANCE, GRADIENT_TOLERANCE),
    "bfloat16": (BFLOAT16_TOLERANCE, 5e-2),
    "int8": (5e-2, 0.0),
}


class Participant(Peer):
    """A peer with a precision: "float32", "bfloat16" or "int8"."""

    precision = "float32"

    def tolerance(self, work: Workload) -> float:
        return TOLERANCES[self.precision][work.mode == "training"]

    def supports(self, work: Workload) -> bool:
        return work.mode == "inference" or (work.mode == "training" and self.precision != "int8")


class Ours(Participant):
    """Inference on a prepared layer; training by `rnnkernels.forward` and `backward`."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.name = f"ours {precision}"

    def prepare(self, work: Workload, threads: int) -> Timed:
        rk.set_num_threads(threads)
        options = OURS[self.precision]
        if work.mode == "training":
            products = options.get("products", "full")

            def train() -> rk.Gradients:
                return rk.backward(rk.forward(work.cell, work.x, work.params, products=products), work.d_output)

            return Timed(train, lambda grads: {"x": grads.x, **grads.params})
        layer = rk.Prepared(work.cell, work.params, **options)
        return Timed(lambda: layer.forward(work.x)[0], lambda output: {"output": output})


class TorchFloat32(Participant, TorchEager):
    """Layers alone: the loops of other cells say nothing of precision."""

    name = "torch float32"

    def supports(self, work: Workload) -> bool:
        return super().supports(work) and work.cell in ("lstm", "gru")


class OnnxRuntimeFloat32(Participant, OnnxRuntime):
    name = "onnxruntime float32"

    def supports(self, work: Workload) -> bool:
        return work.mode == "inference" and OnnxRuntime.supports(self, work)


class TorchBFloat16(Participant):
    """A layer of bfloat16; or of float32 under autocast, which rounds the weights in every call."""

    precision = "bfloat16"
    packages = ("torch",)

    def __init__(self, *, autocast: bool) -> None:
        self.autocast = autocast
        self.name = "torch autocast" if autocast else "torch bfloat16"

    def supports(self, work: Workload) -> bool:
        return super().supports(work) and work.cell in ("lstm", "gru")

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch

        torch.set_num_threads(threads)
        layer = torch_layer(work)
        x, d_output = torch.tensor(work.x), torch.tensor(work.d_output)
        if not self.autocast:
            layer, x, d_output = layer.bfloat16(), x.bfloat16(), d_output.bfloat16()

        def run() -> Any:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.autocast):
                return layer(x)[0]

        if work.mode == "inference":

            def infer() -> Any:
                with torch.inference_mode():
                    return run()

            return Timed(infer, lambda output: {"output": output.float().numpy()})
        leaves = {"x": x.requires_grad_(), **{name: getattr(layer, f"{name}_l0") for name in work.params}}

        def train() -> Any:
            output = run()
            return torch.autograd.grad(output, list(leaves.values()), d_output.to(output.dtype))

        return Timed(train, lambda grads: {name: g.float().numpy() for name, g in zip(leaves, grads, strict=True)})


class TorchInt8(Participant):
    """What `torch.ao.quantization.quantize_dynamic` makes of a layer."""

    name = "torch int8"
    precision = "int8"
    packages = ("torch",)

    def supports(self, work: Workload) -> bool:
        return super().supports(work) and work.cell in ("lstm", "gru")

    def prepare(self, work: Workload, threads: int) -> Timed:
        import torch

        torch.set_num_threads(threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.ao is deprecated, quantised tensors in its own code too
            model = torch.nn.Sequential(torch_layer(work))
            layer = torch.ao.quantization.quantize_dynamic(model, {type(model[0])}, dtype=torch.qint8)[0]
        x = torch.tensor(work.x)

        def infer() -> Any:
            with torch.inference_mode():
                return layer(x)[0]

        return Timed(infer, lambda output: {"output": output.numpy()})


class OnnxRuntimeInt8(Participant):
    """A graph of one DynamicQuantizeLSTM."""

    name = "onnxruntime int8"
    precision = "int8"
    packages = ("onnx", "onnxruntime")

    def supports(self, work: Workload) -> bool:
        return super().supports(work) and work.cell in ("lstm", "lstm_peephole")

    def prepare(self, work: Workload, threads: int) -> Timed:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        model = dynamic_quantize_lstm(work).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return Timed(lambda: session.run(["Y"], {"X": work.x})[0], lambda output: {"output": output[:, 0]})


def participants() -> list[Participant]:
    """Ours first."""
    return [
        *map(Ours, OURS),
        TorchFloat32(),
        TorchBFloat16(autocast=False),
        TorchBFloat16(autocast=True),
        TorchInt8(),
        OnnxRuntimeFloat32(),
        OnnxRuntimeInt8(),
    ]


def torch_layer(work: Workload) -> Any:
    """PyTorch's layer of the workload's parameters."""
    import torch

    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[work.cell](*work.shape[2:])
    layer.load_state_dict({f"{name}_l0": torch.tensor(value) for name, value in work.params.items()})
    return layer


def dynamic_quantize_lstm(work: Workload) -> Any:
    """A model of the workload's LSTM: weights of int8, scales per column, no zero points."""
    from onnx import TensorProto, helper, numpy_helper

    _, _, inputs, hidden = work.shape

    def gates(array: Array, have: str = "ifgo", want: str = "iofg") -> Array:
        blocks = array.reshape(len(have), hidden, -1)
        return np.concatenate([blocks[have.index(gate)] for gate in want]).reshape(array.shape)

    def columns(name: str) -> tuple[Array, Array]:
        """(1, columns, 4·H) of int8, (1, 4·H)."""
        turned = gates(work.params[name]).T
        scale = np.abs(turned).max(0) / np.float32(127)
        return np.rint(turned / scale).astype(np.int8)[np.newaxis], scale[np.newaxis]

    (w, w_scale), (r, r_scale) = columns("weight_ih"), columns("weight_hh")
    biases = [gates(work.params[name]) for name in ("bias_ih", "bias_hh")]
    arrays = {"W": w, "R": r, "B": np.concatenate(biases)[np.newaxis]}
    if "weight_diagonal" in work.params:
        diagonals = "".join(rk.cell_info(work.cell)["diagonals"])
        arrays["P"] = gates(work.params["weight_diagonal"], diagonals, "iof").reshape(1, -1)
    zero = np.zeros(w_scale.shape, np.int8)
    arrays |= {"W_scale": w_scale, "W_zero_point": zero, "R_scale": r_scale, "R_zero_point": zero}
    places = ["X", "W", "R", "B", "", "", "", "P" if "P" in arrays else "", *list(arrays)[-4:]]
    node = helper.make_node("DynamicQuantizeLSTM", places, ["Y"], domain="com.microsoft", hidden_size=hidden)
    graph = helper.make_graph(
        [node],
        work.cell,
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["T", "B", inputs])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["T", 1, "B", hidden])],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    imports = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)
