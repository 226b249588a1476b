"""Breaks of cells made at run time on the CUDA backend: what is loaded and stored, their source, who is told of them."""

from .record import EMULATED, Break

TESTS = "tests/cuda/test_cuda_own_cells.py -k test_own_cells"

BREAKS = [
    Break(
        "own cells on cuda: the bias of a row that does not follow is that of the next",
        "csrc/cuda/program_bodies.h",
        "bias[bias_row * a.hidden + unit]",
        "bias[(i + 0 * bias_row) * a.hidden + unit]",
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: what goes past a zoned cell is lost",
        "csrc/cuda/program_bodies.h",
        "a.carried[k][at()] = (V(a.carried[k][at()]) + past).raw;",
        "a.carried[k][at()] = (V(a.carried[k][at()]) + past - past).raw;",
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: the gradient of a step's input is written over",
        "csrc/cuda/program_bodies.h",
        "fed ? a.load(a.dx, element(k)) + value : value",
        "value",
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: rows that do not follow are one product",
        "csrc/cuda/layout.h",
        "product.row[next] == product.row[next - 1] + 1",
        "product.row[next] > product.row[next - 1]",
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: dx has rows of I",
        "csrc/cuda/weight_gradients.h",
        "const Index row = dx_ ? input : x_row(shape_);",
        "const Index row = input;",
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: a slot's second column is not written in the source",
        "csrc/cuda/program_source.cpp",
        "if (columns.slot[column] == operand.index) put(list(column, columns.count));",
        "if (column == columns.of(operand.index)) put(list(column, columns.count));",
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: constants of the source are short",
        "csrc/cuda/program_source.cpp",
        '"%a"',
        '"%.3f"',
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: the extension is not told of cells that come later",
        "python/rnnkernels/_added.py",
        "            _modules.append(module)\n",
        "            pass\n",
        TESTS,
        EMULATED,
    ),
    Break(
        "own cells on cuda: the extension is not told of cells that came before it",
        "python/rnnkernels/_added.py",
        "            if name not in known:\n",
        "            if name in known:\n",
        TESTS,
        EMULATED,
    ),
]
