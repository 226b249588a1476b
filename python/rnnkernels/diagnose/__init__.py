"""How gradients flow through a recurrent network, and why: norms over time, singular values, saturated gates.

`rnnkernels diagnose` is the command line of this, `rnnkernels.charlm.diagnose` does it for a character model. The loss
is that of the last step alone, so that ‖dL/dh_t‖ over t says how far back the gradient of one prediction reaches:
it vanishes, or explodes, by a factor for each step back.

Examples
--------
>>> from rnnkernels import diagnose
>>> found = diagnose.of_cell("lstm", 32, steps=50)
>>> sorted(found.layers[0].norms), sorted(found.layers[0].gates)
(['c', 'h'], ['f', 'i', 'o'])
>>> diagnose.step_factor(found.layers[0].norms["h"]) < 1  # it vanishes
True
>>> print(diagnose.table(found).splitlines()[0])
lstm, 1 x 32 units, 50 steps, 16 rows; the loss is that of the last step
"""

from .diagnosis import Diagnosis, Gate, LayerDiagnosis, of_cell, of_stack, step_factor
from .gates import gate_values, sigmoid_gates
from .report import PICTURES, draw, table
from .spectrum import singular_values

__all__ = [
    "PICTURES",
    "Diagnosis",
    "Gate",
    "LayerDiagnosis",
    "draw",
    "gate_values",
    "of_cell",
    "of_stack",
    "sigmoid_gates",
    "singular_values",
    "step_factor",
    "table",
]
