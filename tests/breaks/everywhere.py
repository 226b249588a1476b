"""Breaks of where a cell from equations is taken: layers and options, PyTorch, JAX, the command line, checkpoints."""

from .record import CPU, Break

R = "python/rnnkernels"
T = "tests/equations"

BREAKS = [
    Break(
        "everywhere: what is added between the halves of a backward is lost",
        f"{R}/equations/lowering.py",
        'late_results[place] = operand, graph.node("add", node, between)',
        "late_results[place] = operand, node",
        f"{T}/everywhere_arrays.py -k masks",
    ),
    Break(
        "everywhere: any value waits where a state's gradient will stand",
        f"{R}/equations/lowering.py",
        "if each not in carried and _is_summand(each, node, uses)",
        "if each not in carried",
        f"{T}/everywhere_arrays.py -k masks",
    ),
    Break(
        "everywhere: a limit is forgotten",
        f"{R}/_arguments.py",
        "with_settings(cell, cell_clip=limit), None",
        "with_settings(cell), None",
        f"{T}/everywhere_arrays.py -k cell_clip",
    ),
    Break(
        "everywhere: a prepared layer asks the kernels for the limit",
        f"{R}/prepared.py",
        "        cell, cell_clip = settled(cell, cell_clip)\n",
        "",
        f"{T}/everywhere_arrays.py -k cell_clip",
    ),
    Break(
        "everywhere: rows of a product are the first ones",
        f"{R}/steps.py",
        "return library.join(tuple(array[..., k * hidden : (k + 1) * hidden] for k in places))",
        "return array[..., first * hidden : (first + len(places)) * hidden]",
        f"{T}/everywhere_torch.py -k loop_of_pytorch",
    ),
    Break(
        "everywhere: both inputs of a step are the first one",
        f"{R}/equations/stepping.py",
        "first = behind + equations.steps.index(attribute) * size",
        "first = behind",
        f"{T}/everywhere_torch.py -k loop_of_pytorch",
    ),
    Break(
        "everywhere: at a kink the gradient goes the other way",
        f"{R}/torch/loops.py",
        "return torch.where((a > b) | a.isnan(), a, b)",
        "return torch.where((a >= b) | a.isnan(), a, b)",
        f"{T}/everywhere_torch.py -k kink",
    ),
    Break(
        "everywhere: PyTorch takes no inputs of every step",
        f"{R}/torch/recurrent.py",
        "size = self.input_size + self._beside",
        "size = self.input_size",
        f"{T}/everywhere_torch.py -k results_are_numpys",
    ),
    Break(
        "everywhere: XLA's x has no inputs of every step",
        "csrc/binding/xla_ffi.cpp",
        "info.projected ? width : 0, info.element_count * hidden}",
        "info.projected ? width : 0}",
        f"{T}/everywhere_jax.py -k numpys",
        CPU,
    ),
    Break(
        "everywhere: a checkpoint has no equations",
        f"{R}/charlm/checkpoint.py",
        'texts["equations"] = dumps(equations)',
        "dumps(equations)",
        f"{T}/everywhere_command_line.py -k stands",
    ),
    Break(
        "everywhere: layers are counted by a matrix that not every cell has",
        f"{R}/charlm/checkpoint.py",
        'name.startswith("weight_ih_l")',
        'name.startswith("weight_hh_l")',
        f"{T}/everywhere_command_line.py -k stands",
    ),
    Break(
        "everywhere: a cell that reads more than characters is trained",
        f"{R}/_cli_cell.py",
        "if isinstance(found, Cell) and found.equations.steps:",
        "if False:",
        f"{T}/everywhere_command_line.py -k one_line",
    ),
    Break(
        "everywhere: the folder of a cell's file stays on the path",
        f"{R}/_cli_cell.py",
        "sys.path.remove(folder)",
        "pass",
        f"{T}/everywhere_command_line.py -k one_line",
    ),
]
