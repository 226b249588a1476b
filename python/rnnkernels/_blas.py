"""NumPy's matrix products on the kernels' threads.

NumPy's OpenBLAS has threads of its own, and those wait for the next product by spinning: for tens of milliseconds after
a product, a call of ours shares its processors with them. OpenBLAS 0.3.27 and later can hand the work of a product to
somebody else's threads instead. `csrc/cpu/shared_blas.h` has what is done; here are the two functions.
"""

from __future__ import annotations

from pathlib import PurePath

from rnnkernels import _cpu

__all__ = ["share_blas", "shared_blas", "unshare_blas"]


def share_blas() -> tuple[str, ...]:
    """Have NumPy's matrix products run on the kernels' threads, from now on, in the whole process.

    Every OpenBLAS is found that is loaded at the time and has a door for it: the copies in NumPy's and SciPy's wheels,
    or a system's, from version 0.3.27, with threads of its own and not OpenMP's, on Linux. A library that is loaded
    later needs another call. Results keep their bits: OpenBLAS cuts its work as before, for as many threads as it is
    set to use (``OPENBLAS_NUM_THREADS``, threadpoolctl); `set_num_threads` has no say in it. A product gets other
    threads while a call of ours has these.

    Not covered: LU factorisation (``numpy.linalg.solve``, ``inv`` and ``det`` of large matrices) asks OpenBLAS' own
    threads for parts of its work. An OpenBLAS that uses more than half of the threads it was built for (64, in NumPy's
    wheels) is left alone: set ``OPENBLAS_NUM_THREADS``.

    Returns
    -------
    tuple of str
        The file names of the libraries that now run on our threads; empty where there is none.

    See Also
    --------
    unshare_blas
    """
    _cpu.share_blas(True)
    return shared_blas()


def unshare_blas() -> None:
    """Have NumPy's matrix products run on OpenBLAS' own threads again."""
    _cpu.share_blas(False)


def shared_blas() -> tuple[str, ...]:
    """Return the file names of the libraries that run on our threads."""
    return tuple(PurePath(path).name for path, _, shared in _cpu.blas() if shared)
