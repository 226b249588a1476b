"""One step of any cell, with the manners of torch.nn's cells: `RecurrentCell`. Not here: sequences (`recurrent`)."""

from __future__ import annotations

from typing import Any

import torch

from rnnkernels._arguments import PRODUCTS
from rnnkernels._asked import Asked
from rnnkernels._scalars import as_choice

from .recurrent import States, _Base
from .sequence import step


class RecurrentCell(_Base):
    """One step of any cell, with the manners of torch.nn.LSTMCell.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    input_size, hidden_size : int
        I and H.
    bias, device, dtype
        As in torch.nn.LSTMCell.
    proj_size : int, default 0
        For the projected cells, and needed there.
    cell_clip : float, optional
        For the cells that have it: c is kept in [-cell_clip, cell_clip].
    products, recurrent, forget_bias
        As in `Recurrent`.

    Attributes
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh, ...
        See `rnnkernels.parameter_shapes`.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.
    """

    _in_place_of: tuple[type, ...] = (torch.nn.GRUCell,)

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        proj_size: int = 0,
        cell_clip: float | None = None,
        products: str = "full",
        recurrent: str = "uniform",
        forget_bias: float | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(cell, input_size, hidden_size, bias, proj_size, cell_clip, recurrent, forget_bias)
        self.products = as_choice("products", products, PRODUCTS)
        self._names = tuple(self._shapes(input_size))
        for name, shape in self._shapes(input_size).items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return the arguments that say what is inside."""
        text = f"{self.cell!r}, {self.input_size}, {self.hidden_size}"
        return text + ("" if self.bias else ", bias=False") + (f", proj_size={self.proj_size}" * bool(self.proj_size))

    def forward(self, input: torch.Tensor, state: States = None, *, term: torch.Tensor | None = None) -> States:
        """Run one step.

        Parameters
        ----------
        input : Tensor (B, I) or (I,), or tokens of int64 without the last dimension
        state : Tensor (B, H), of a cell with several states a tuple of them, optional
            For an unbatched input without B. Default: zeros.
        term : Tensor (B, G*H), optional
            Added to what `weight_ih` (G*H, I) gives; for an unbatched input without B.

        Returns
        -------
        Tensor (B, H), or tuple of them
            The states after the step, h first.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As `Recurrent.forward`.
        """
        if not isinstance(input, torch.Tensor):
            return self._no_tensor(input, input, state, term=term)
        tokens = self._check_input("input", input, (1, 2))
        batched = input.dim() + tokens == 2
        rows = (input.shape[0],) if batched else ()
        symbols = "(B, H)" if batched else "(H,)"
        initial = self._as_states("state", state, [(*rows, width) for width in self._widths], symbols)
        x = input.unsqueeze(0) if batched else input.unsqueeze(0).unsqueeze(0)
        if initial is not None and not batched:
            initial = tuple(s.unsqueeze(0) for s in initial)
        added = None if term is None else self._term(term, batched, input.shape[0])
        asked = Asked(self.cell[:], cell_clip=self.cell_clip, products=self.products)
        weights = {name: getattr(self, name) for name in self._names}
        final = self._run(step, asked, x, weights, initial, added).final
        return self._given_back(final if batched else tuple(s.squeeze(0) for s in final))
