"""Parameters to and from other libraries: PyTorch, Keras, flax, Haste and ONNX; from Haiku, DyNet, Lasagne and madmom.

    params = convert.from_keras("lstm", layer.get_weights())  # or from_keras(layer), from_keras("model.keras")
    run = rk.forward("lstm", x, params)
    layer.set_weights(convert.to_keras("lstm", params))

What the libraries differ in (the order of gates, transposed or not, which gate has how many biases) is one table,
`rnnkernels.convert._layouts`; a module for each library says how its arrays are named and bundled. Parameters are
reordered and transposed and nothing else, so a round trip that begins in the library ends in the same bits. Where a
library has one bias and we have two, theirs becomes one of ours and the other is zero; back, they are added.

`gates` takes any library's arrays, told how they lie.

Not here: models, graphs and, but for Keras', files. The libraries themselves are not imported, but for PyTorch in
`to_torch`.
"""

from ._cudnn import from_keras_cudnn
from ._dynet import from_dynet
from ._flax import from_flax, to_flax
from ._gates import gates
from ._haiku import from_haiku
from ._haste import from_haste, to_haste
from ._keras import FromKeras, from_keras, in_keras_order, to_keras
from ._lasagne import FromMadmom, from_lasagne, from_madmom
from ._onnx import from_onnx, to_onnx
from ._torch import from_torch, to_torch

__all__ = [
    "FromKeras",
    "FromMadmom",
    "from_dynet",
    "from_flax",
    "from_haiku",
    "from_haste",
    "from_keras",
    "from_keras_cudnn",
    "from_lasagne",
    "from_madmom",
    "from_onnx",
    "from_torch",
    "gates",
    "in_keras_order",
    "to_flax",
    "to_haste",
    "to_keras",
    "to_onnx",
    "to_torch",
]
