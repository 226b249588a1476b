"""Breaks of ONNX nodes whose weights are integers: how parameters of int8 are written."""

from .record import Break

P = "python/rnnkernels/onnx"
TESTS = "tests/onnx/test_onnx_quantized_convert.py"

BREAKS = [
    Break(
        "onnx: integers are written in our order of gates, their scales in the node's",
        f"{P}/weights.py",
        "            found[role] = reorder(params[name], ours, theirs)\n",
        "            found[role] = params[name].copy()\n",
        TESTS,
    ),
    Break(
        "onnx: integers are written without being turned",
        f"{P}/quantized.py",
        "np.ascontiguousarray(arrays[name].swapaxes(1, 2))",
        "arrays[name].reshape(arrays[name].swapaxes(1, 2).shape)",
        TESTS,
    ),
    Break(
        "onnx: zero points of int8 are not 0",
        f"{P}/quantized.py",
        'np.zeros(arrays[f"{name}_scale"].shape, np.int8)',
        'np.ones(arrays[f"{name}_scale"].shape, np.int8)',
        TESTS,
    ),
    Break(
        "onnx: a node of integers is of ONNX's own domain",
        f"{P}/convert.py",
        "domain = MICROSOFT if dynamic else None",
        "domain = None",
        TESTS,
    ),
    Break(
        "onnx: a GRU's integers are an LSTM's",
        f"{P}/convert.py",
        '    if operator != "LSTM":\n',
        '    if operator == "":\n',
        f"{TESTS} -k other_operators",
    ),
    Break(
        "onnx: a layout that a node of integers has not is forgotten",
        f"{P}/convert.py",
        "    if layout:\n",
        "    if layout < 0:\n",
        f"{TESTS} -k fit",
    ),
    Break(
        "onnx: a missing bias beside integers is of integers",
        f"{P}/convert.py",
        'dtype = next(part["B"].dtype for part in parts if "B" in part)',
        'dtype = parts[0]["R"].dtype',
        f"{TESTS} -k one_bias",
    ),
]
