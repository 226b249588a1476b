"""The tests of `rnnkernels.onnx`: skipped where there is no onnx."""

from optional import needs

pytest_pycollect_makemodule = needs("onnx")
