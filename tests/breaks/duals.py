"""Breaks of derivatives that the kernels give by a cell's dual, and of steps by equations."""

from .record import Break

DUALS = "python/rnnkernels/torch/duals.py"
TESTS = "tests/torch/test_torch_duals.py"
DERIVATIVES = "tests/torch/test_torch_derivatives.py"
LINEAR = "python/rnnkernels/equations/linear.py"
RUNS = "python/rnnkernels/torch/linear.py"
ROWS = "python/rnnkernels/torch/rows.py"
PROJECTED = "python/rnnkernels/torch/projected.py"
LINEAR_TESTS = "tests/torch/test_torch_linear.py"
STEP_TESTS = "tests/equations/test_linear.py"

BREAKS = [
    Break(
        "duals: x' is multiplied by the tangent of weight_ih",
        DUALS,
        "torch.cat((tangent, weight), 1)))",
        "torch.cat((tangent, tangent), 1)))",
        TESTS,
    ),
    Break(
        "duals: h' has the bias of h",
        DUALS,
        "return torch.cat((weight, tangent, torch.zeros_like(weight)))",
        "return torch.cat((weight, tangent, weight))",
        TESTS,
    ),
    Break(
        "duals: forward mode of a gradient forgets the tangents of what came to it",
        DUALS,
        "*pull((d_along, d_results)))",
        "*pull((tuple(map(torch.zeros_like, d_along)), d_results)))",
        TESTS,
    ),
    Break(
        "duals: the loop is run where there is a dual",
        "python/rnnkernels/torch/transforms.py",
        "return DUALS if duals.serves(spec, given) else loops",
        "return loops",
        f"{TESTS} -k not_run",
    ),
    Break(
        "duals: they are on the list of cells",
        "python/rnnkernels/parameters.py",
        """ if not name.endswith("'"))""",
        ")",
        f"{TESTS} -k which",
    ),
    Break(
        "steps: a cell of equations holds no state at cell_clip",
        "python/rnnkernels/steps.py",
        'plain if "cell_clip" not in w else',
        "plain if w else",
        f"{TESTS} -k holds",
    ),
    Break(
        "steps: of the gates' sums, x's part stands in each alone",
        "python/rnnkernels/equations/stepping.py",
        'o.operations["add"](part, rows), len(merged))',
        "part, len(merged))",
        f"{DERIVATIVES} -k lstm",
    ),
    Break(
        "linear cells: nothing is added to a state",
        LINEAR,
        'new[state] = graph.node("add", new[state], carrier)',
        "new[state] = new[state]",
        f"{STEP_TESTS} -k step",
    ),
    Break(
        "linear cells: one is derived by another than itself",
        LINEAR,
        "traced if own else _cell(",
        "_cell(",
        f"{STEP_TESTS} -k its_own",
    ),
    Break(
        "linear cells: element-wise weights are coefficients",
        LINEAR,
        'lambda node: node.operation in ("constant", "weight")',
        'lambda node: node.operation == "constant"',
        f"{STEP_TESTS} -k weights",
    ),
    Break(
        "cuts: one where much is left to be made",
        "python/rnnkernels/equations/cutting.py",
        "if other not in found and room[other][side] > 0:",
        "if other not in found and room[side][other] == 0:",
        f"{STEP_TESTS} -k cut",
    ),
    Break(
        "linear cells: a product's operand has no tangent at rest",
        RUNS,
        "self.joined(moved) if is_tangent else None",
        "None",
        f"{LINEAR_TESTS} -k gru_reset_before",
    ),
    Break(
        "linear cells: the tangent of a recurrent weight is left out",
        RUNS,
        "_multiply(weight_moved, vector[0], heads), _multiply(weight, vector[1], heads)",
        "None, _multiply(weight, vector[1], heads)",
        f"{LINEAR_TESTS} -k every_cell",
    ),
    Break(
        "linear cells: what goes through gates is changed by them",
        RUNS,
        "as_they_are if len(as_they_are) > 0",
        "2 * as_they_are if len(as_they_are) > 0",
        f"{LINEAR_TESTS} -k every_cell",
    ),
    Break(
        "linear cells: what goes through gates beside x' is changed by them",
        RUNS,
        "torch.block_diag(weight, as_they_are)",
        "torch.block_diag(weight, 2 * as_they_are)",
        f"{LINEAR_TESTS} -k 'every_cell and fgr'",
    ),
    Break(
        "linear cells: x' alone feeds where parameters have tangents",
        RUNS,
        "_none((*of_tangents.weights.values(), of_tangents.term))",
        "_none((of_tangents.term,))",
        f"{LINEAR_TESTS} -k every_cell",
    ),
    Break(
        "rows: a state before a step is that after it",
        ROWS,
        "earlier = self.count + self.starts[step - 1] + self._sequence",
        "earlier = self.count + self.starts[step] + self._sequence",
        f"{LINEAR_TESTS} -k 'every_option and gru_reset_before'",
    ),
    Break(
        "projected: the h that a sequence starts from is left out",
        PROJECTED,
        ".index_copy(0, order.first, begun)",
        "",
        f"{LINEAR_TESTS} -k 'every_option and projected'",
    ),
    Break(
        "projected: a row without steps has another final state",
        PROJECTED,
        "final = torch.where(ran, final, first)",
        "final = torch.where(ran, final, final)",
        f"{LINEAR_TESTS} -k 'every_option and projected'",
    ),
    Break(
        "duals: cell_clip is no part of the equations",
        DUALS,
        "projected.without(asked.cell), *asked.of_a_step",
        "projected.without(asked.cell), None, asked.of_a_step[1]",
        f"{LINEAR_TESTS} -k held",
    ),
    Break(
        "duals: masks that are expected mix nothing",
        "python/rnnkernels/noise.py",
        "return self.zoneout if self.keeps_units else ()",
        "return ()",
        f"{LINEAR_TESTS} -k expected",
    ),
    Break(
        "loops: masks that are expected mix nothing",
        "python/rnnkernels/torch/loops.py",
        "now = after if asked.noise is None else asked.noise.mixed(now, after)",
        "now = after",
        f"{LINEAR_TESTS} -k mixes",
    ),
    Break(
        "torch: forward mode of forward mode gives what PyTorch leaves of it",
        "python/rnnkernels/torch/transforms.py",
        "    if len(outer) < 2:",
        "    if outer:",
        f"{LINEAR_TESTS} -k transforms",
    ),
]
