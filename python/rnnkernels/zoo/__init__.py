"""Published cells as equations: more cells than are built in, a file a family.

    from rnnkernels import zoo

    run = rk.forward(zoo.para_gru, x, params)

A family is traced and registered when one of its cells is asked for by ``zoo.NAME``; from then on its names are taken
wherever a cell is. Importing rnnkernels, or this package, registers nothing. Each cell's docstring has its source and
its equations, in the words of docs/cells.md: x is the input, ``W_g x`` has ``bias_ih``, ``U_g h`` has ``bias_hh``.

======================================================================  ==============================================
`gru_d`                                                                 `decay`: a state that fades between steps
`para_gru`, `para_lstm`                                                 `diagonal`: each unit sees itself alone
`min_gru`, `min_lstm`                                                   `minimal`: gates of the input alone
`lstm_hard_sigmoid`, `lstm_softsign`, `lstm_relu`, and the GRU's three  `activations`: other functions of a gate
`dreamer_gru`                                                           `dreamer`: DreamerV3's block GRU
`m2rnn`                                                                 `matrix`: a matrix for a state, row by row
`slstm_heads`                                                           `xlstm`: the sLSTM with heads
======================================================================  ==============================================

Not here: the layer normalisation of DreamerV3's GRU, as a sum over units is no equation of one unit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

_FAMILIES = {
    "activations": ("lstm_hard_sigmoid", "lstm_softsign", "lstm_relu", "gru_hard_sigmoid", "gru_softsign", "gru_relu"),
    "decay": ("gru_d",),
    "diagonal": ("para_gru", "para_lstm"),
    "dreamer": ("dreamer_gru",),
    "matrix": ("m2rnn",),
    "minimal": ("min_gru", "min_lstm"),
    "xlstm": ("slstm_heads",),
}
_FILE_OF = {name: family for family, names in _FAMILIES.items() for name in names}

__all__ = ["cells"]  # not the cells: whoever asks for all names of a module would register them


def cells() -> tuple[str, ...]:
    """Return the names of the cells here, registered or not.

    Returns
    -------
    tuple of str
        In the order of the alphabet; ``getattr(zoo, name)`` is the cell.
    """
    return tuple(sorted(_FILE_OF))


def __getattr__(name: str) -> Any:
    """Return a cell, or a family's module, importing the family's file."""
    family = name if name in _FAMILIES else _FILE_OF.get(name)
    if family is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module: ModuleType = import_module(f"{__name__}.{family}")
    return module if name == family else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILE_OF, *_FAMILIES})
