"""Would the tests notice? Deliberate mistakes in the code, each run against the tests that should fail.

`python -m tests.breaks` (runner.py). The mistakes are tables: python_side.py, torch_tools.py, cpu.py, cuda.py. pytest collects none of
this; tests/house/test_breaks.py holds the tables to the sources.
"""

from .cpu import BREAKS as CPU_BREAKS
from .cuda import BREAKS as CUDA_BREAKS
from .python_side import BREAKS as PYTHON_BREAKS
from .torch_tools import BREAKS as TORCH_TOOLS_BREAKS

BREAKS = [*PYTHON_BREAKS, *TORCH_TOOLS_BREAKS, *CPU_BREAKS, *CUDA_BREAKS]
