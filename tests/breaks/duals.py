"""Breaks of derivatives that the kernels give by a cell's dual, and of steps by equations."""

from .record import Break

DUALS = "python/rnnkernels/torch/duals.py"
TESTS = "tests/torch/test_torch_duals.py"
DERIVATIVES = "tests/torch/test_torch_derivatives.py"

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
]
