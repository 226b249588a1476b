"""The tests that want a GPU: skipped where there is no PyTorch, and by each file where CUDA does not serve."""

from optional import needs

pytest_pycollect_makemodule = needs("torch")
