"""Breaks of recurrent weights of several heads: how a cell says them, their shapes, and what else reads them."""

from .record import Break

E = "python/rnnkernels/equations"
T = "tests/equations/heads.py"

BREAKS = [
    Break(
        "heads: products of a cell may have different ones",
        f"{E}/recording.py",
        "if product.heads != heads:",
        "if False:",
        "tests/equations/test_refusals.py -k line",
    ),
    Break(
        "heads: a flag is a number of them",
        f"{E}/functions.py",
        "None if isinstance(heads, (bool, np.bool_)) else heads",
        "heads",
        "tests/equations/test_refusals.py -k line",
    ),
    Break(
        "heads: a text has none",
        f"{E}/text.py",
        'return {"format": FORMAT} if heads == 1 else',
        'return {"format": FORMAT} if heads else',
        f"{T} -k texts",
    ),
    Break(
        "heads: any number of units is taken",
        "python/rnnkernels/parameters.py",
        "if hidden % heads:",
        "if False:",
        f"{T} -k share",
    ),
    Break(
        "heads: an identity is one for all heads",
        "python/rnnkernels/_initial.py",
        'size = hidden // info["heads"]',
        "size = hidden",
        f"{T} -k initial",
    ),
    Break(
        "heads: a loop's heads see the units of one another",
        f"{E}/blocks.py",
        "reshape(*rows, heads, size).swapaxes(-2, -3) @ blocks",
        "reshape(*rows, size, heads).swapaxes(-1, -2).swapaxes(-2, -3) @ blocks",
        "tests/equations/everywhere_torch.py -k loop_of_pytorch",
    ),
    Break(
        "heads: the reference's heads all see the first",
        "python/rnnkernels/reference/__init__.py",
        "self(vector[..., cut], slice(",
        "self(vector[..., cuts[0]], slice(",
        f"{T} -k outputs",
    ),
    Break(
        "heads: the reference drops no units of a head",
        "python/rnnkernels/reference/__init__.py",
        "self.product.of_heads(vector * self.mask, rows, heads)",
        "self.product.of_heads(vector, rows, heads)",
        f"{T} -k masks",
    ),
    Break(
        "heads: a dual has one",
        f"{E}/tangent.py",
        'Product((vectors[0],), of_h, "hidden", heads)',
        'Product((vectors[0],), of_h, "hidden")',
        f"{T} -k dual",
    ),
    Break(
        "heads: singular values are those of blocks below one another",
        "python/rnnkernels/diagnose/spectrum.py",
        "by_head = block.reshape(heads, -1, block.shape[1])",
        "by_head = block",
        f"{T} -k singular",
    ),
    Break(
        "heads: JAX takes a head's units for all",
        "python/rnnkernels/jax/_forward.py",
        'if second is None or info["heads"] > 1 else second.shape[1]',
        "if second is None else second.shape[1]",
        "tests/equations/everywhere_jax.py -k numpys",
    ),
    Break(
        "heads: the kernels are told of one",
        f"{E}/lowering.py",
        "heads=equations.heads,",
        "heads=1,",
        f"{T} -k outputs",
    ),
    Break(
        "zoo: the sLSTM has one head",
        "python/rnnkernels/zoo/xlstm.py",
        "u = rk.product(h, heads=heads)",
        "u = rk.product(h)",
        "tests/equations/test_cells.py -k zoo",
    ),
    Break(
        "zoo: DreamerV3's GRU has one block",
        "python/rnnkernels/zoo/dreamer.py",
        "u = rk.product(h, heads=blocks)",
        "u = rk.product(h)",
        "tests/equations/test_cells.py -k zoo",
    ),
    Break(
        "duals: one that is too large is left out in silence",
        f"{E}/derived.py",
        """if excess and not variant.cell.endswith("'") and""",
        "if False and",
        "tests/equations/everywhere_torch.py -k too_large",
    ),
]
