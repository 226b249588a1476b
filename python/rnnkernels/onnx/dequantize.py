"""DequantizeLinear for the reference evaluator, which has it from opset 19 on and takes other opsets' nodes for errors.

The operator of opset 10 and 13 does the same to integers as that of 19.
"""

from __future__ import annotations

from typing import Any

import onnx.defs
from onnx.reference.op_run import OpRun
from onnx.reference.ops import load_op

_FIRST = 19


class DequantizeLinear(OpRun):  # type: ignore[misc]  # onnx is not followed
    """The evaluator's own of the model's opset, or of the first that it has."""

    op_domain = ""

    def __init__(self, onnx_node: Any, run_params: dict[str, Any], schema: Any = None) -> None:
        super().__init__(onnx_node, run_params, schema)
        opset = run_params["opsets"].get("", onnx.defs.onnx_opset_version())
        self._own = load_op("", "DequantizeLinear", max(opset, _FIRST))(onnx_node, run_params)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the node: an evaluator calls this."""
        return self._own.run(*args, **kwargs)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        return self._own._run(*args, **kwargs)
