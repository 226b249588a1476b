"""Breaks of what takes PyTorch's models apart: torch.onnx.export, torch.fx, swap and unswap."""

from .record import Break

P = "python/rnnkernels/torch"
ONNX = "tests/torch/test_torch_onnx.py -k few"

BREAKS = [
    Break(
        "torch: onnx: a GRU's reset comes before the product",
        f"{P}/export.py",
        '{"linear_before_reset": 1}',
        '{"linear_before_reset": 0}',
        ONNX,
    ),
    Break("torch: onnx: an LSTM's gates are in our order", f"{P}/export.py", '"LSTM": "iofg"', '"LSTM": "ifgo"', ONNX),
    Break(
        "torch: onnx: peepholes are in our order", f"{P}/export.py", '_PEEPHOLES = "iof"', '_PEEPHOLES = "ifo"', ONNX
    ),
    Break(
        "torch: onnx: the halves of the biases change places",
        f"{P}/export.py",
        'for name in ("bias_ih", "bias_hh") if',
        'for name in ("bias_hh", "bias_ih") if',
        ONNX,
    ),
    Break(
        "torch: onnx: the reverse direction runs forwards",
        f"{P}/export.py",
        '"reverse" if reverse else "forward"',
        '"forward"',
        ONNX,
    ),
    Break(
        "torch: onnx: lengths are forgotten",
        f"{P}/export.py",
        "None if asked.lengths is None else asked.lengths.to(torch.int32)",
        "None",
        ONNX,
    ),
    Break(
        "torch: onnx: a row without steps ends in zeros",
        f"{P}/export.py",
        "begun = given.state or [0.0] * len(final)",
        "begun = [0.0] * len(final)",
        ONNX,
    ),
    Break(
        "torch: onnx: a projection is dropped",
        f"{P}/export.py",
        "weight_hh = weight_hh @ projection",
        "weight_hh = weight_hh.repeat(1, 9)[:, :hidden]",
        ONNX,
    ),
    Break(
        "torch: onnx: a projected state before the first step is dropped",
        f"{P}/export.py",
        "first = at == 0",
        "first = at < 0",
        ONNX,
    ),
    Break(
        "torch: onnx: a reverse projected state goes to the first step",
        f"{P}/export.py",
        "first = at == x.shape[0] - 1",
        "first = at == 0",
        ONNX,
    ),
    Break(
        "torch: onnx: masks in training are dropped",
        f"{P}/export.py",
        "(asked.noise.keeps_units or not asked.noise.expected)",
        "asked.noise.keeps_units",
        "tests/torch/test_torch_onnx.py -k words",
    ),
    Break(
        "torch: fx: hooks run in the trace and in the graph",
        f"{P}/graphs.py",
        "(*layer._forward_pre_hooks.values(), *layer._forward_hooks.values())",
        "layer._forward_pre_hooks.values()",
        "tests/torch/test_torch_graphs.py",
    ),
    Break(
        "torch: fx: a layer's options are left out of the graph",
        f"{P}/graphs.py",
        'create_proxy("call_module", path, args, kwargs)',
        'create_proxy("call_module", path, args, {})',
        "tests/torch/test_torch_graphs.py",
    ),
    Break(
        "torch: quantisation is silent",
        f"{P}/ao.py",
        "            warnings.warn(",
        "            False and warnings.warn(",
        "tests/torch/test_torch_quantized.py",
    ),
    Break(
        "torch: TorchScript finds something to compile",
        f"{P}/graphs.py",
        "def __prepare_scriptable__",
        "def _prepare_scriptable",
        "tests/torch/test_torch_graphs.py",
    ),
    Break(
        "torch: a second swap changes layers",
        f"{P}/swapping.py",
        "return change(model, Swapped(), _is_ours,",
        "return change(model, Swapped(), lambda module: False,",
        "tests/torch/test_torch_swap.py",
    ),
    Break(
        "torch: unswap leaves an attribute behind",
        f"{P}/layers.py",
        "layer.__dict__.pop(name, None)",
        "pass",
        "tests/torch/test_torch_swap.py",
    ),
]
