"""Layers for every recurrence of `rnnkernels.cells`, with the manners of torch.nn and what it lacks.

Lengths and resets instead of packing, masks inside the recurrence, all states of every step, training in less memory.
Here is, too, what single steps (`recurrent_cell`) and the layer that attends (`attention`) share with them. For drop-in
replacements of torch.nn's own classes see `layers`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import PackedSequence

from rnnkernels._arguments import PRODUCTS, settled
from rnnkernels._asked import Asked
from rnnkernels._initial import check_initial, set_initial
from rnnkernels._scalars import as_choice, as_flag, as_integer, as_items, as_number, shown
from rnnkernels.memory import check_memory
from rnnkernels.noise import Drawn, Noise, check_rate
from rnnkernels.parameters import cell_info, check_layers, parameter_shapes, x_width

from . import autocast
from .graphs import Whole, leaf
from .kernels import no_kernels, serves
from .layers import FLOATS
from .sequence import packed_batch, run_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

States = Any  # a tensor, of a cell with several states a tuple of them


class _Base(Whole, torch.nn.Module):  # type: ignore[misc]
    """Parameters of one cell under torch.nn's names, and the checks that layers and cells share."""

    _in_place_of: tuple[type, ...] = (torch.nn.GRU,)

    batch_first: bool = False
    products: str = "full"  # as of a module that was stored before there was a choice
    _beside: int = 0  # a module that was stored before a cell could have such inputs has no number of its own

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        bias: bool,
        proj_size: int,
        cell_clip: float | None,
        recurrent: str = "uniform",
        forget_bias: float | None = None,
    ) -> None:
        super().__init__()
        cell, cell_clip = settled(cell, cell_clip)
        info = cell_info(cell)
        self.cell = cell  # a cell of equations stays one; where PyTorch writes it down it is its name, cell[:]
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = as_flag("bias", bias)
        self.proj_size = as_integer("proj_size", proj_size, 0)
        self.cell_clip = cell_clip
        if cell_clip is not None and (not as_number("cell_clip", cell_clip) > 0 or "cell_clip" not in info["settings"]):
            raise ValueError(
                f"cell_clip: expected a number above 0, for a cell that has it; got {cell_clip} for {cell}"
            )
        self.state_names: tuple[str, ...] = info["states"]
        self._shapes(input_size)  # raises where there is no such layer
        self._beside = x_width(cell, 0, hidden_size)  # numbers of a row of x that weight_ih does not multiply
        self._initial = check_initial(
            *(info, recurrent, forget_bias), bias=self.bias, width=self.proj_size or hidden_size, hidden=hidden_size
        )

    def _shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return parameter_shapes(
            self.cell, input_size, self.hidden_size, bias=self.bias, proj_size=self.proj_size or None
        )

    @property
    def _widths(self) -> tuple[int, ...]:
        """Units of each state."""
        return self.proj_size or self.hidden_size, *[self.hidden_size] * (len(self.state_names) - 1)

    @property
    def _like(self) -> torch.Tensor:
        """Whose dtype is a call's, and which has the rows (G·H, ...) of ``weight_ih``."""
        return next(self.parameters())

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/√H, 1/√H), as torch.nn does; gains are 1, shifts that are no biases 0.

        Then those that the arguments `recurrent` and `forget_bias` set.
        """
        bound = 1.0 / math.sqrt(self.hidden_size)
        initial = {"zero": 0.0, "one": 1.0}
        for name, parameter in self.named_parameters():
            torch.nn.init.uniform_(parameter, -bound, bound)
            if name.startswith("weight_diagonal"):
                with torch.no_grad():
                    for k, kind in enumerate(cell_info(self.cell)["initial"]):
                        if kind != "drawn":
                            parameter[k * self.hidden_size : (k + 1) * self.hidden_size] = initial[kind]
            with torch.no_grad():
                set_initial(cell_info(self.cell), name, parameter, self.hidden_size, self._initial, _draw_orthogonal)

    def _check(self, name: str, tensor: Any, shape: tuple[int, ...], symbols: str) -> None:
        """Raise where a tensor is not one of floats of this shape, on a device with kernels."""
        if not isinstance(tensor, torch.Tensor):
            raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name}: expected shape {symbols} = {shape}, got {tuple(tensor.shape)}")
        like = self._like
        if tensor.dtype not in autocast.taken(like):
            raise TypeError(f"{name}: expected dtype {like.dtype}, the parameters', got {tensor.dtype}")

    def _check_input(self, name: str, x: Any, dims: tuple[int, ...]) -> bool:
        """Check an input of vectors or tokens; return whether it is tokens. `dims`: allowed for vectors."""
        if not serves(x.device):
            raise NotImplementedError(f"{name}: expected a tensor on the CPU, got {x.device}: {no_kernels(x.device)}")
        tokens = not x.is_floating_point()
        like = self._like
        dtype = like.dtype
        if x.dtype not in ((torch.int64,) if tokens else autocast.taken(like)):
            raise TypeError(f"{name}: expected dtype {dtype}, the parameters', or int64 tokens; got {x.dtype}")
        if dtype not in FLOATS:
            raise TypeError(f"parameters: expected float32, float64, bfloat16 or float16, got {dtype}")
        size = self.input_size + self._beside
        if x.dim() + tokens not in dims or (not tokens and x.shape[-1] != size):
            raise ValueError(
                f"{name}: expected {' or '.join(str(d) for d in dims)} dimensions, the last of {size} "
                f"(or tokens, without it); got {tuple(x.shape)}"
            )
        return tokens

    def _no_tensor(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Return a node where torch.fx traces; else raise, as input `x` is no tensor."""
        node = leaf(self, *args, **kwargs)
        if node is None:
            raise TypeError(f"input: expected a tensor or a PackedSequence, got {type(x).__name__}")
        return node

    def _as_states(self, name: str, given: States, shapes: list[tuple[int, ...]], symbols: str) -> Any:
        if given is None:
            return None
        states = (given,) if len(self.state_names) == 1 and isinstance(given, torch.Tensor) else given
        if not isinstance(states, (tuple, list)) or len(states) != len(self.state_names):
            raise ValueError(f"{name}: expected {len(self.state_names)} tensors ({', '.join(self.state_names)})")
        for part, shape, state in zip(self.state_names, shapes, states, strict=True):
            self._check(f"{name} {part}", state, shape, symbols)
        return tuple(states)

    @staticmethod
    def _lengths(lengths: Any, batched: bool) -> torch.Tensor | None:
        if lengths is None:
            return None
        try:
            found = lengths if isinstance(lengths, torch.Tensor) else torch.as_tensor(lengths)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise TypeError(f"lengths: expected integers, got {shown(lengths)}: {error}") from None
        if found.is_floating_point() or found.dtype == torch.bool:
            raise TypeError(f"lengths: expected integers, got {found.dtype}")
        if found.dim() != int(batched):
            raise ValueError(f"lengths: expected shape {'(B,)' if batched else '()'}, got {tuple(found.shape)}")
        return found.to(torch.int64).reshape(-1)

    def _resets(self, resets: Any, batched: bool) -> torch.Tensor | None:
        if resets is None:
            return None
        if not isinstance(resets, torch.Tensor) or resets.dtype != torch.bool:
            raise TypeError(f"resets: expected a tensor of booleans, got {getattr(resets, 'dtype', type(resets))}")
        if resets.dim() != 1 + batched:
            raise ValueError(f"resets: expected shape {'(T, B)' if batched else '(T,)'}, got {tuple(resets.shape)}")
        return resets.unsqueeze(1) if not batched else resets.T.contiguous() if self.batch_first else resets

    def _run(self, serve: Any, asked: Any, *tensors: Any) -> Any:
        """Return what `serve` gives for tensors; in an autocast region they are cast, and results are of its half."""
        region = autocast.region(self._like)
        if region is None:
            return serve(asked, *tensors)
        with region.outside():
            done = serve(region.asked(asked), *map(region.cast, tensors))
        return type(done)(*(autocast.to(part, region.low) for part in done))

    def _set_noise(self, noise: Noise) -> None:
        """Take the rates of the masks inside the recurrence."""
        self.zoneout = tuple(noise.rates(self.cell))
        self.recurrent_dropout = float(noise.recurrent_dropout)
        self.per_step = bool(noise.per_step)
        self.weight_dropout = float(noise.weight_dropout)
        self._masked = noise.masks

    def _drawn(self) -> Drawn | None:
        """Return a call's masks: drawn in training, and their expectation in evaluation, where no seed is read."""
        if not self._masked:
            return None
        return Drawn(
            torch.randint(0, 2**63 - 1, (), dtype=torch.int64) if self.training else torch.zeros((), dtype=int),
            expected=not self.training,
            per_step=self.per_step,
            zoneout=self.zoneout,
            recurrent_dropout=self.recurrent_dropout,
            weight_dropout=self.weight_dropout,
        )

    def _repr_of(self, defaults: dict[str, Any]) -> str:
        """Return the arguments, and rates, that are not their defaults."""
        defaults = defaults | {"recurrent_dropout": 0.0, "per_step": False, "weight_dropout": 0.0, "cell_clip": None}
        text = f", zoneout={self.zoneout}" if any(self.zoneout) else ""
        return text + "".join(f", {k}={getattr(self, k)!r}" for k, v in defaults.items() if getattr(self, k) != v)

    def _term(self, term: Any, batched: bool, batch: Any) -> torch.Tensor:
        """Return what is added to the gates (B, G*H); raise where it does not fit."""
        if batched and batch is None and isinstance(term, torch.Tensor) and term.dim() == 2:
            batch = term.shape[0]  # which the kernels compare when they run
        gates = int(self._like.shape[0])  # of weight_ih
        self._check("term", term, (batch, gates) if batched else (gates,), "(B, G*H)" if batched else "(G*H,)")
        return term if batched else term.unsqueeze(0)

    def _given_back(self, states: Sequence[torch.Tensor]) -> States:
        return states[0] if len(self.state_names) == 1 else tuple(states)


def _draw_orthogonal(block: torch.Tensor) -> None:
    """Make a matrix an orthogonal one."""
    block.copy_(torch.nn.init.orthogonal_(torch.empty_like(block, dtype=torch.float64)))  # there is no QR of halves


class Recurrent(_Base):
    """Layers of any cell over sequences.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`.
    input_size, hidden_size : int
        I and H.
    num_layers : int, default 1
        L. The layers above the first have D·H inputs.
    bias, batch_first, dropout, bidirectional, proj_size, device, dtype
        As in torch.nn.LSTM. `proj_size` is for the projected cells, and needed there.
    zoneout : float or sequence of float, one for each state
        In [0, 1), in training; see `rnnkernels.Noise` for this and the next three.
    recurrent_dropout : float, default 0
        Of what the recurrent weights multiply, one mask for each row and call, or with `per_step` for each step.
    per_step : bool, default False
    weight_dropout : float, default 0
        Of the recurrent weights (DropConnect).
    cell_clip : float, optional
        For the cells that have it: c is kept in [-cell_clip, cell_clip].
    memory : {"all", "states", "replay"}
        What training keeps for the backward; see `rnnkernels.forward`.
    products : {"full", "bfloat16"}
        What products multiply, in training too; see `rnnkernels.forward`.
    recurrent : {"uniform", "identity", "orthogonal"}
        Initial recurrent weights; see `rnnkernels.init_params` for this and the next.
    forget_bias : float, optional

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, ...
        As in torch.nn; shapes and what else a cell has: `rnnkernels.parameter_shapes`.
    cell, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size, memory, products

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.

    Notes
    -----
    The seeds of masks come from PyTorch's generator: `torch.manual_seed` makes them repeat.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        zoneout: float | Sequence[float] = 0.0,
        recurrent_dropout: float = 0.0,
        per_step: bool = False,
        weight_dropout: float = 0.0,
        cell_clip: float | None = None,
        memory: str = "all",
        products: str = "full",
        recurrent: str = "uniform",
        forget_bias: float | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(cell, input_size, hidden_size, bias, proj_size, cell_clip, recurrent, forget_bias)
        self.num_layers = num_layers = as_integer("num_layers", num_layers, 1, 2**23)
        check_layers(cell, num_layers)
        self.batch_first = as_flag("batch_first", batch_first)
        self.dropout = check_rate("dropout", dropout)
        self.bidirectional = as_flag("bidirectional", bidirectional)
        self.memory = check_memory(memory)
        self.products = as_choice("products", products, PRODUCTS)
        self._set_noise(Noise(0, zoneout, recurrent_dropout, per_step, weight_dropout))

        ways = 2 if bidirectional else 1
        self._all_weights: list[dict[str, str]] = []  # of each layer and direction: the kernels' name → the attribute
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[:ways]:
                named = {}
                for name, shape in self._shapes(input_size if layer == 0 else ways * self._widths[0]).items():
                    named[name] = f"{name}_l{layer}{suffix}"
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(named[name], torch.nn.Parameter(empty))
                self._all_weights.append(named)
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return the arguments that say what is inside."""
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        text = f"{self.cell!r}, {self.input_size}, {self.hidden_size}"
        return text + self._repr_of(defaults | {"proj_size": 0, "memory": "all", "products": "full"})

    def forward(
        self,
        input: torch.Tensor | PackedSequence,
        state: States = None,
        *,
        lengths: Any = None,
        resets: torch.Tensor | None = None,
        reset_state: States = None,
        term: Any = None,
        all_states: bool = False,
    ) -> Any:
        """Run the layers over a batch of sequences.

        Parameters
        ----------
        input : Tensor (T, B, I), with batch_first (B, T, I); (T, I); or PackedSequence
            Or tokens in [0, I), of int64, without the last dimension. PackedSequence: vectors alone.
        state : Tensor (L·D, B, H), of a cell with several states a tuple of them, optional
            For an unbatched input without B. Default: zeros.
        lengths : Tensor of int (B,) or sequence of int, optional
            Steps of each row, 0 to T, in any order; outputs beyond are zero, the state is that after the last.
        resets : Tensor of bool (T, B), with batch_first (B, T), optional
            Before which steps a row's state is replaced.
        reset_state : as `state`, optional
            What by. Default: zeros.
        term : Tensor (B, G*H), or sequence over layers and directions of (Tensor or None), optional
            Added in every step to what `weight_ih` (G*H, I) gives, the product of an image, say; see
            `rnnkernels.forward`. One tensor is the first layer's, where there is one direction. For an unbatched input
            without B.
        all_states : bool, default False
            Return every state after every step, too.

        Returns
        -------
        output : Tensor (T, B, D·H), or PackedSequence
            As the input, of the top layer.
        state : Tensor (L·D, B, H) or tuple of them
            After each row's last step.
        states : tuple over layers and directions of tuple over states of Tensor (T, B, H)
            Where `all_states`; never batch-first, of a packed input (N, 1, H).

        Raises
        ------
        TypeError, ValueError
            If an argument is not what is said here.
        NotImplementedError
            If a tensor is on a device that there are no kernels for.
        """
        packed = isinstance(input, PackedSequence)
        x: Any = input.data if packed else input
        if not isinstance(x, torch.Tensor):
            options = {"lengths": lengths, "resets": resets, "reset_state": reset_state, "term": term}
            return self._no_tensor(x, input, state, **options, all_states=all_states)
        all_states = as_flag("all_states", all_states)
        tokens = self._check_input("input", x, (2,) if packed else (2, 3))
        batched = packed or x.dim() + tokens == 3
        batch_sizes = None
        if packed:
            if lengths is not None or resets is not None:
                raise ValueError("lengths, resets: expected none with a PackedSequence, which has lengths of its own")
            x, batch_sizes = x.unsqueeze(1), input.batch_sizes
            batch = packed_batch(input, state)
        else:
            x = x.unsqueeze(1) if not batched else x.transpose(0, 1) if self.batch_first else x
            batch = x.shape[1]
        count = len(self._all_weights)

        def as_states(name: str, given: States) -> Any:
            rows = (batch,) if batched else ()
            symbols = "(L*D, B, H)" if batched else "(L*D, H)"
            found = self._as_states(name, given, [(count, *rows, width) for width in self._widths], symbols)
            return found if found is None or batched else tuple(s.unsqueeze(1) for s in found)

        initial = as_states("state", state)
        if packed and initial is not None and input.sorted_indices is not None:
            initial = tuple(s.index_select(1, input.sorted_indices) for s in initial)
        terms = None if term is None else self._terms(term, batched, batch)
        if packed and terms is not None and input.sorted_indices is not None:
            terms = tuple(t if t is None else t.index_select(0, input.sorted_indices) for t in terms)
        if reset_state is not None and resets is None:
            raise ValueError("reset_state: expected resets with it, got none")
        asked = self._asked(batch_sizes, self._lengths(lengths, batched), self._resets(resets, batched))
        serve = partial(
            run_layers,
            directions=2 if self.bidirectional else 1,
            dropout=self.dropout if self.training else 0.0,
        )
        done = self._run(
            serve,
            asked._replace(all_states=all_states),
            x,
            [{name: getattr(self, attribute) for name, attribute in named.items()} for named in self._all_weights],
            initial,
            as_states("reset_state", reset_state),
            terms,
        )
        output, final = done.output, done.final
        if packed:
            if input.unsorted_indices is not None:
                final = tuple(s.index_select(1, input.unsorted_indices) for s in final)
            output = PackedSequence(output.squeeze(1), *input[1:])
        elif not batched:
            output, final = output.squeeze(1), tuple(s.squeeze(1) for s in final)
        elif self.batch_first:
            output = output.transpose(0, 1)
        results = (output, self._given_back(final))
        return (*results, done.sequences) if all_states else results

    def _terms(self, term: Any, batched: bool, batch: Any) -> tuple[torch.Tensor | None, ...]:
        """Return what each layer and direction adds, (B, G*H) or None; `batch`: B, None where nothing says it."""
        count = len(self._all_weights)
        terms: tuple[Any, ...]
        if isinstance(term, torch.Tensor):
            if self.bidirectional:
                raise TypeError(f"term: expected a tensor or None for each of {count} layers and directions, got one")
            terms = (term, *[None] * (count - 1))
        else:
            terms = as_items("term", term, f"a tensor or None for each of {count} layers and directions")
            if len(terms) != count:
                raise ValueError(f"term: expected {count}, one for each layer and direction, got {len(terms)}")
        return tuple(None if each is None else self._term(each, batched, batch) for each in terms)

    def _asked(self, batch_sizes: Any, lengths: Any, resets: Any) -> Asked:
        noise = self._drawn()
        options: dict[str, Any] = {"cell_clip": self.cell_clip, "memory": self.memory, "products": self.products}
        return Asked(self.cell[:], False, batch_sizes, lengths, resets, noise, **options)
