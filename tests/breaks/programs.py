"""Breaks of what programs are written with: the readout, initial values, drivers, terms, texts of results."""

from .record import Break

P = "python/rnnkernels"

BREAKS = [
    # ---- readout
    Break(
        "readout: a mean is over all rows",
        f"{P}/readout.py",
        "        return rows, wanted, counts, len(rows)\n",
        "        return rows, wanted, counts, h.size // h.shape[-1]\n",
        "tests/python/test_readout.py",
    ),
    Break(
        "readout: lengths count one step more",
        f"{P}/readout.py",
        "np.less.outer(",
        "np.less_equal.outer(",
        "tests/python/test_readout.py",
    ),
    Break(
        "readout: the gradient of the squared error lacks its factor",
        f"{P}/readout.py",
        "y *= 2 / count",
        "y *= 1 / count",
        "tests/python/test_readout.py",
    ),
    Break(
        "readout: the largest logit is not taken off",
        f"{P}/readout.py",
        "    y -= largest  # the largest becomes 0: exp cannot overflow\n",
        "    largest *= 0\n",
        "tests/python/test_readout.py -k overflows",
    ),
    Break(
        "readout: what was returned is written to again",
        f"{P}/readout.py",
        "        if not self._reuse:\n",
        "        if False:\n",
        "tests/python/test_readout.py -k fresh",
    ),
    Break(
        "readout: draws are a class too far",
        f"{P}/readout.py",
        "np.count_nonzero(cumulative <= drawn[:, None], axis=1)",
        "np.count_nonzero(cumulative <= drawn[:, None], axis=1) + 1",
        "tests/python/test_readout.py -k draws",
    ),
    Break(
        "readout: targets are not looked at",
        f"{P}/readout.py",
        "if low < 0 or high >= self.output_size:",
        "if low < -self.output_size or high >= self.output_size:",
        "tests/python/test_readout.py -k fit",
    ),
]
