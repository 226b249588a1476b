"""Mistakes where arrays and parameters come from elsewhere: JAX, ONNX, other libraries; and those that fuzzing finds."""

from .record import CPU, Break

P = "python/rnnkernels"

BREAKS = [
    # ---- JAX
    Break(
        "jax: results of halves stay float32",
        f"{P}/jax/_forward.py",
        "output, *final = [result.astype(dtype) for result in results] if half else results",
        "output, *final = results",
        "tests/jax -k halves",
    ),
    Break(
        "jax: vmap folds resets into the steps",
        f"{P}/jax/_rules.py",
        "axis = 1 if at == call.x or (call.resets and at == call.resets_at) else 0",
        "axis = 1 if at == call.x else 0",
        "tests/jax -k resets",
    ),
    Break(
        "jax: a reset state's gradient is the state's",
        f"{P}/jax/_rules.py",
        "*[None] * (call.lengths + call.resets), *d_states[count:]",
        "*[None] * (call.lengths + call.resets), *d_states[: len(d_states) - count]",
        "tests/jax -k resets",
    ),
    Break(
        "xla: resets of a reversed row are read forwards",
        "csrc/binding/ragged_lengths.h",
        "const bool cut = resets && resets[place_of(row, step)];",
        "const bool cut = resets && resets[step * batch + row];",
        "tests/jax -k resets",
        CPU,
    ),
    Break(
        "xla: gradients of reset states go to the rows' first states",
        "csrc/binding/ragged_lengths.h",
        "static_cast<Real*>(sequences_[s].fresh ? reset : rows);",
        "static_cast<Real*>(rows ? rows : reset);",
        "tests/jax -k resets",
        CPU,
    ),
    # ---- ONNX, other libraries
    Break(
        "onnx: a graph's nodes are not looked at",
        f"{P}/onnx/constants.py",
        "self._read([*part.initializer, *part.node])",
        "self._read(part.initializer)",
        "tests/onnx/test_onnx_constants.py",
    ),
    Break(
        "onnx: constants are computed by the newest opset",
        f"{P}/onnx/constants.py",
        "onnx.defs.onnx_opset_version()) | self._opsets",
        "onnx.defs.onnx_opset_version())",
        "tests/onnx/test_onnx_constants.py",
    ),
    Break(
        "onnx: a branch's node takes the constants of the other branch",
        f"{P}/onnx/constants.py",
        "        if each == node:\n            yield here",
        "        if each.op_type == node.op_type:\n            yield here",
        "tests/onnx/test_onnx_constants.py",
    ),
    Break(
        "onnx: random numbers are constants",
        f"{P}/onnx/constants.py",
        "if node.op_type in _RANDOM or any(",
        "if any(",
        "tests/onnx/test_onnx_constants.py",
    ),
    Break(
        "onnx: clip does not hold what an LSTM's last function takes",
        f"{P}/onnx/cells.py",
        'return gate("o", d) * h_of(d), d',
        'return gate("o", d) * apply(form.functions[2], d, None), d',
        "tests/onnx/test_own_activations.py",
    ),
    Break(
        "onnx: a threshold keeps what it is from passing",
        f"{P}/onnx/activations.py",
        "rk.where(x >= alpha, x, 0.0)",
        "rk.where(x > alpha, x, 0.0)",
        "tests/onnx/test_own_activations.py",
    ),
    Break(
        "onnx: constants are taken by functions that have none",
        f"{P}/onnx/activations.py",
        "    constants = tuple(\n",
        "    alphas.taken += not known.constants\n    constants = tuple(\n",
        "tests/onnx/test_own_activations.py",
    ),
    Break(
        "onnx: constants keep more digits than an attribute has",
        f"{P}/onnx/activations.py",
        'Activation("LeakyRelu", (_float32(0.01),)),',
        'Activation("LeakyRelu", (0.01,)),',
        "tests/onnx/test_own_activations.py",
    ),
    Break(
        "onnx: a node with clip is the built-in cell",
        f"{P}/onnx/cells.py",
        "    found = BUILT_IN.get(form)\n",
        "    found = BUILT_IN.get(form._replace(clip=None))\n",
        "tests/onnx/test_own_activations.py",
    ),
    Break(
        "onnx: a held GRU is in another order than the built-in one",
        f"{P}/onnx/cells.py",
        "return n + z * (h - n)",
        "return z * h + (1.0 - z) * n",
        "tests/onnx/test_own_activations.py",
    ),
    Break(
        "onnx: to_node forgets clip",
        f"{P}/onnx/convert.py",
        "        forms[0].clip,\n",
        "        None,\n",
        "tests/onnx/test_own_activations.py",
    ),
    Break(
        "onnx: cells are made without end",
        f"{P}/onnx/cells.py",
        "if len(_made) >= MOST:",
        "if False:",
        "tests/onnx/test_onnx_constants.py",
    ),
    Break(
        "onnx: what is refused does not say of which node",
        f"{P}/onnx/nodes.py",
        'return UnsupportedError(f"{error} [{node.op_type} node {named}]")',
        "return error",
        "tests/onnx/test_onnx_constants.py",
    ),
    Break(
        "keras: outputs of go_backwards stay in the input's order",
        f"{P}/convert/_keras.py",
        "return output[::-1]",
        "return output",
        "tests/convert -k go_backwards",
    ),
    # ---- what random calls find
    Break(
        "schedule: resets of a reversed row are read forwards",
        f"{P}/schedule.py",
        "cut = reset.T[np.arange(batch)[:, None], time]",
        "cut = reset.T[np.arange(batch)[:, None], np.broadcast_to(order, time.shape)]",
        "tests/fuzz -k few_seconds",
    ),
    Break(
        "prepared: a stepper's layer forgets its noise",
        f"{P}/prepared.py",
        "self._stepper = _cpu.stepper(layer._layer, self.batch_size, layer._expected(self.batch_size))",
        "self._stepper = _cpu.stepper(layer._layer, self.batch_size, None)",
        "tests/fuzz -k few_seconds",
    ),
    Break(
        "fuzz: a child that dies has failed in nothing",
        "tests/fuzz/children.py",
        "        tried.failures.append(f\"seed {at}: {how or f'exit code {child.returncode}'}\\n{last}\")\n",
        "",
        "tests/fuzz",
    ),
]
