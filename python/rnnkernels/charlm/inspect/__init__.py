r"""What the units of a character model have learnt: their activations over a text, probed and drawn.

`rnnkernels inspect` is the command line of this. After Karpathy, Johnson & Fei-Fei, "Visualizing and understanding
recurrent networks", arXiv 1506.02078: some units of a model of source text are high inside strings, or comments, or
count the depth of the code. A probe finds them: for each unit and each property the area under the ROC curve of the
unit's value as a score for the property.

Examples
--------
>>> from rnnkernels import charlm
>>> text = 'a = "tick"  # tock\n' * 50
>>> model = charlm.train(text, charlm.Config(hidden=8, batch=2, seq_length=16, epochs=1)).model
>>> found = charlm.inspect.activations(model, text)
>>> known = charlm.inspect.labels(text, "python")
>>> charlm.inspect.auc(found.values, known["string"]).shape  # h and tanh(c) of 8 units
(16,)
>>> charlm.inspect.page(text, found, known)[:15]
'<!DOCTYPE html>'
"""

from .drawing import page
from .labelling import LANGUAGES, PROPERTIES, labels, language_of
from .probing import auc, probes, telling
from .reading import Activations, Unit, activations

__all__ = [
    "LANGUAGES",
    "PROPERTIES",
    "Activations",
    "Unit",
    "activations",
    "auc",
    "labels",
    "language_of",
    "page",
    "probes",
    "telling",
]
