"""Breaks of the CUDA backend's code, emulated on the host."""

from .record import EMULATED, Break

BREAKS = [
    Break(
        "cuda: a cell's biases of the recurrent weight are left out",
        "csrc/cuda/forward_bodies.h",
        "if (bias) add<List>(bias, u);",
        "",
        "tests/kernels/test_parity.py",
        EMULATED,
    ),
    Break(
        "cuda: zoneout writes h into the output alone",
        "csrc/cuda/options.h",
        "a.states[k][at] = n[k].raw;\n            if (k > 0",
        "if (k > 0) a.states[k][at] = n[k].raw;\n            if (k > 0",
        "tests/kernels/test_noise.py",
        EMULATED,
    ),
    Break(
        "cuda: a reading lacks what the caller gives",
        "csrc/cuda/options.h",
        "if (readings[k]) readings[k][at] = dn.raw;",
        "if (readings[k]) readings[k][at] = a.carried[k][at];",
        "tests/kernels/test_states.py",
        EMULATED,
    ),
    Break(
        "cuda: a token's rows are counted from one",
        "csrc/cuda/sums.h",
        "if (tokens[rows.place(first + row)] == token) of.list[to++] = row;",
        "if (tokens[rows.place(first + row)] == token) of.list[to++] = row > 0 ? row - 1 : row;",
        "tests/kernels/test_parity.py",
        EMULATED,
    ),
    Break(
        "cuda: masks are asked for other units",
        "csrc/cuda/options.h",
        "if (masks.drops) value = value * masks.factor(first + row, column % units);",
        "if (masks.drops) value = value * masks.factor(first + row, column % units / 2);",
        "tests/kernels/test_noise.py",
        EMULATED,
    ),
    Break(
        "cuda: states after h are kept of the step before",
        "csrc/cuda/forward_bodies.h",
        "a.kept_states[row * a.kept_row + (k - 1) * a.hidden + unit] = n[k].raw;\n        }\n    }",
        "a.kept_states[row * a.kept_row + (k - 1) * a.hidden + unit] = n[0].raw;\n        }\n    }",
        "tests/kernels/test_parity.py",
        EMULATED,
    ),
    Break(
        "cuda: what a run keeps cannot be pickled",
        "python/rnnkernels/cuda/calls.py",
        "    can_be_copied(module.Reserve)\n    output, final, reserve, sequences",
        "    output, final, reserve, sequences",
        "tests/cuda/test_cuda_copies.py",
        EMULATED,
    ),
    Break(
        "cuda: a pickle of another version is read",
        "python/rnnkernels/cuda/copies.py",
        '    check_version("reserve", written)\n',
        "",
        "tests/cuda/test_cuda_copies.py",
        EMULATED,
    ),
]
