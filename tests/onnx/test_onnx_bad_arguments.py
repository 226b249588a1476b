"""`rnnkernels.onnx` refuses what no argument can be, by its name."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
from bad_values import bad_argument_tests, row
from onnx import helper

import rnnkernels as rk
from rnnkernels import onnx as rko

X = np.linspace(-1, 1, 30, dtype=np.float32).reshape(5, 2, 3)
LAYER = rko.Layer((rko.Direction("lstm", rk.init_params("lstm", 3, 4, rng=0)),))
NODE, WEIGHTS = rko.to_node(LAYER)
SHAPES = ((5, 1, 2, 4), (1, 2, 4), (1, 2, 4))


def model() -> Any:
    info = helper.make_tensor_value_info
    inputs, outputs = (
        [info("X", 1, (5, 2, 3))],
        [info(name, 1, shape) for name, shape in zip(NODE.output, SHAPES, strict=True)],
    )
    graph = helper.make_graph([NODE], "graph", inputs, outputs, WEIGHTS)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


MODEL = model()
FEEDS = {"X": X, **{tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in WEIGHTS}}

# A device of another name is refused as unsupported, which is no wrong argument; one array is the only input, X.
ONE = {"inputs": "array objects"}

ROWS = [
    row("from_node", rko.from_node, node=NODE, initializers=WEIGHTS),
    row(
        "to_node",
        rko.to_node,
        {"name": "text", "inputs": "none"},  # no names: the defaults
        layer=LAYER,
        name="",
        inputs={"X": "X"},
        outputs=("Y", "Y_h", "Y_c"),
    ),
    row("prepare", rko.prepare, {"device": "text"}, model=MODEL, device="CPU"),
    row("is_compatible", rko.is_compatible, {"device": "text"}, model=MODEL, device="CPU"),
    row("run_model", rko.run_model, {"device": "text", **ONE}, model=MODEL, inputs=[X], device="CPU"),
    row("layers", rko.layers, model=MODEL),
    row("run_node", rko.run_node, {"device": "text"}, node=NODE, inputs=FEEDS, device="CPU"),
    row("supports_device", rko.supports_device, {"device": "text"}, device="CPU"),
    row("BackendRep.run", rko.prepare(MODEL).run, ONE, inputs=[X]),
]
if find_spec("torch") is not None:
    import torch

    ROWS.append(
        row(
            "check",
            rko.check,
            {"feeds": "none", "tolerance": "none"},
            model=MODEL,
            module=torch.nn.LSTM(3, 4),
            inputs=X,
            feeds={"X": X},
            tolerance=1e-4,
            raise_on_difference=False,
        )
    )

NOT_NEEDED = {"outputs_info"}  # as the docstring says

test_the_call_of_each_row_runs, test_a_bad_argument_is_named, _ = bad_argument_tests(ROWS, unlisted=NOT_NEEDED)


def test_arrays_of_any_memory_are_read_right() -> None:
    plain = rko.run_node(NODE, FEEDS)
    for of in (
        lambda a: a.copy().view(a.dtype.newbyteorder("<" if sys.byteorder == "little" else ">")),
        np.asfortranarray,
        lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    ):
        found = rko.run_node(NODE, {name: of(value) for name, value in FEEDS.items()})
        for one, two in zip(found, plain, strict=True):
            np.testing.assert_array_equal(one, two)
