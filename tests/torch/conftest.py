"""The tests of `rnnkernels.torch`: skipped where there is no PyTorch."""

from optional import needs

pytest_pycollect_makemodule = needs("torch")
