"""Breaks of the cells that are written as equations, of their reference and of what their benchmark gives to others."""

from .record import Break

Z = "python/rnnkernels/zoo"
R = "python/rnnkernels/reference/equations.py"
W = "benchmarks/peers/written.py"
T = "tests/equations/test_cells.py"

BREAKS = [
    Break(
        "zoo: minGRU keeps what it should replace",
        f"{Z}/minimal.py",
        "return h + z * (x.n - h)",
        "return x.n + z * (h - x.n)",
        f"{T} -k zoo",
    ),
    Break(
        "zoo: GRU-D's state grows where the decay is negative",
        f"{Z}/decay.py",
        "k = rk.exp(-rk.relu(decay)) * h",
        "k = rk.exp(-decay) * h",
        f"{T} -k zoo",
    ),
    Break(
        "zoo: ParaLSTM's output gate sees the old c",
        f"{Z}/diagonal.py",
        "w.o_of_c * d)",
        "w.o_of_c * c)",
        f"{T} -k zoo",
    ),
    Break(
        "zoo: a row of M²RNN forgets what it should keep",
        f"{Z}/matrix.py",
        "return n + f * (h - n)",
        "return h + f * (n - h)",
        f"{T} -k zoo",
    ),
    Break(
        "zoo: whoever lists its names registers its cells",
        f"{Z}/__init__.py",
        "return sorted({*globals(), *_FILE_OF, *_FAMILIES})",
        "return sorted({*globals(), *(str.lower(__getattr__(name)) for name in _FAMILIES['minimal'])})",
        "tests/equations/test_zoo.py",
    ),
    Break(
        "reference: a cell from equations needs a weight of its state",
        "python/rnnkernels/reference/arguments.py",
        "recurrent = equations_of(cell) is None",
        "recurrent = bool(cell)",
        f"{T} -k zoo",
    ),
    Break(
        "reference: a gate of equations reads the rows of the first gate",
        R,
        "place = equations.rows.index(gate)",
        "place = 0",
        f"{T} -k zoo",
    ),
    Break(
        "reference: the recurrent bias is left out of a cell from equations",
        R,
        "bias = p.bias_hh[..., rows] if isinstance(p.bias_hh, np.ndarray) else 0.0",
        "bias = 0.0",
        f"{T} -k zoo",
    ),
    Break(
        "built-in cells once more: of the peephole LSTM's products the other one is fused",
        "python/rnnkernels/equations/builtin.py",
        "    d = held(f * c + i * g, cell_clip)\n    o = sigmoid(x.o + u.o + w.o * d)",
        "    d = held(i * g + f * c, cell_clip)\n    o = sigmoid(x.o + u.o + w.o * d)",
        f"{T} -k builtin",
    ),
    Break(
        "benchmarks: a loop's differences are turned round",
        W,
        '"sub": "{} - {}"',
        '"sub": "-({} - {})"',
        f"{T} -k benchmark",
    ),
]
