"""Breaks of single steps on weights that stay packed, and of what swap sets beside them."""

from .record import CPU, Break

P = "python/rnnkernels/torch"
STEPS = "tests/torch/test_torch_steps.py"
SWAP = "tests/torch/test_torch_swap.py"

BREAKS = [
    Break(
        "torch: steps: weights are compared with themselves",
        f"{P}/steps.py",
        "kernels.array(p).copy()",
        "kernels.array(p)",
        f"{STEPS} -k changes_weights",
    ),
    Break(
        "torch: steps: autocast is passed by",
        f"{P}/steps.py",
        '        or torch.is_autocast_enabled("cpu")\n',
        "",
        f"{STEPS} -k packs_nothing",
    ),
    Break(
        "torch: steps: modes do not see them",
        f"{P}/steps.py",
        "        or transforms.watched()\n",
        "",
        f"{STEPS} -k see_their_calls",
    ),
    Break(
        "torch: steps: dropout is left out in training",
        f"{P}/steps.py",
        " or (layer.training and layer.dropout > 0)",
        "",
        f"{STEPS} -k packs_nothing",
    ),
    Break(
        "torch: steps: copies of a layer keep its packed weights",
        f"{P}/layers.py",
        "if name != steps.KEPT",
        "if name",
        f"{STEPS} -k share_nothing",
    ),
    Break(
        "torch: steps: unswap leaves packed weights behind",
        f"{P}/layers.py",
        '"trust_versions", steps.KEPT)',
        '"trust_versions")',
        f"{STEPS} -k share_nothing",
    ),
    Break(
        "torch: steps: products that were changed are those that were packed",
        f"{P}/steps.py",
        "(layer.mode, layer.products, layer.trust_versions)",
        "(layer.mode, layer.trust_versions)",
        f"{STEPS} -k settings",
    ),
    # Found by pybind11's assertions, which the build of breaks has.
    Break(
        "tensor steps: an array is asked for its bytes without the GIL",
        "csrc/binding/tensor_steps.cpp",
        "packed.bytes.data(), packed.size)",
        "packed.bytes.data(), static_cast<std::size_t>(packed.bytes.nbytes()))",
        STEPS,
        CPU,
    ),
    Break(
        "tensor steps: weights are not compared",
        "csrc/binding/tensor_steps.cpp",
        "how != How::compared || same(weights);",
        "how != How::compared || same(weights) || !weights.empty();",
        f"{STEPS} -k changes_weights",
        CPU,
    ),
    Break(
        "tensor steps: a layer reads the weights of the first where they lie",
        "csrc/binding/tensor_steps.cpp",
        "weights_[i].layer == l",
        "weights_[i].layer == 0",
        f"{STEPS} -k where_these_lie",
        CPU,
    ),
    Break(
        "tensor steps: large weights are compared",
        "csrc/binding/tensor_steps.cpp",
        "in_place ? How::in_place : How::compared",
        "How::compared",
        f"{STEPS} -k where_these_lie",
        CPU,
    ),
    Break(
        "tensor steps: a trusted counter is not looked at",
        "csrc/binding/tensor_steps.cpp",
        "tensors_.version(parameter) == packed.version",
        "packed.version >= 0",
        f"{STEPS} -k changes_weights",
        CPU,
    ),
    Break(
        "tensor steps: another instruction set goes unnoticed",
        "csrc/binding/tensor_steps.cpp",
        "layers_.front()->set() != backend().current_set()",
        "false",
        f"{STEPS} -k instruction_set",
        CPU,
    ),
    Break(
        "tensor steps: the layers above begin with the states of the first",
        "csrc/binding/tensor_steps.cpp",
        "static_cast<Index>(l) * batch *",
        "0 * batch *",
        f"{STEPS} -k bits",
        CPU,
    ),
    Break(
        "tensor view: negated tensors are read as they lie",
        "csrc/binding/tensor_view.h",
        "return call(view.tensor, is_neg_).ptr() == Py_False;",
        "return true;",
        f"{STEPS} -k lie_otherwise",
        CPU,
    ),
    Break(
        "stack stepper: a layer is left out",
        "csrc/binding/prepared.cpp",
        "if (x.is_none()) break;",
        "break;",
        "tests/python/test_prepared_stack.py -k stepper",
        CPU,
    ),
    Break(
        "torch: swap: memory is forgotten",
        f"{P}/layers.py",
        "memory=self.memory, ",
        "",
        f"{SWAP} -k memory",
    ),
    Break(
        "torch: allow_torch: a script has no layers of PyTorch's",
        f"{P}/layers.py",
        "if theirs is None or not self.allow_torch:",
        "if theirs is None or self.allow_torch:",
        f"{SWAP} -k torchscript_have",
    ),
    Break(
        "torch: what only Recurrent takes is dropped",
        f"{P}/layers.py",
        "if type(other) is not dict or not other:",
        "if other is not None:",
        f"{SWAP} -k lengths",
    ),
]
