"""The attending recurrence as a layer: a cell that looks at a set of features before each of its steps.

`AttentionRecurrent` and what it returns, with the checks of arguments. Not here: one step after another
(`attention_stepper`), who runs a call (`attention_autograd`), on the kernels (`attention_kernels`) or step by step in
PyTorch (`attention_loop`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from rnnkernels._scalars import as_flag, as_integer, shown
from rnnkernels.attention import parameter_shapes
from rnnkernels.noise import Noise

from . import autocast, kernels
from .attention_autograd import attend
from .attention_call import Attended, Attending, Drawing, Given, Prepared
from .attention_kernels import check_mask
from .attention_stepper import AttentionStepper
from .graphs import leaf
from .recurrent import States, _Base
from .sequence import _HALVES

if TYPE_CHECKING:
    from collections.abc import Sequence


class Attention(NamedTuple):
    """Where a call looked: T steps, B rows, L places, D features of each; with batch_first (B, T, ...).

    Attributes
    ----------
    weights : Tensor (T, B, L)
        Of each step; they sum to 1. Zeros in steps that a row does not have.
    contexts : Tensor (T, B, D)
        What the cell was given beside x.
    places : Tensor of int64 (T, B), or None
        What hard attention drew; -1 in steps that a row does not have.
    log_probs : Tensor (T, B), or None
        The logarithms of their weights, for REINFORCE: differentiable. 0 in steps that a row does not have.
    """

    weights: torch.Tensor
    contexts: torch.Tensor
    places: torch.Tensor | None = None
    log_probs: torch.Tensor | None = None


class AttentionRecurrent(_Base):
    """A layer of any cell that looks at features in every step.

    In every step the state asks each place of a row's features, and the answer is fed to the cell with the input:
    `rnnkernels.attention` has the equations.

    Hard attention (Xu et al. 2015) draws one place from alpha in each step, and context is what stands there. The
    gradient through context then goes to that place alone; `Attention.log_probs` is what REINFORCE differentiates.

    Parameters
    ----------
    cell, input_size, feature_size, hidden_size, scores, attention_size, gated, location, bias
        As in `rnnkernels.attention.parameter_shapes`.
    batch_first : bool, default False
        Whether x and what is returned for each step are (B, T, ...).
    hard : bool, default False
        Whether a place is drawn.
    zoneout, recurrent_dropout, per_step, weight_dropout, cell_clip, recurrent, forget_bias
        As in `Recurrent`.
    device, dtype
        As in torch.nn.LSTM.

    Attributes
    ----------
    weight_ih, weight_query, ... : Parameter
        Named and shaped as `rnnkernels.attention.parameter_shapes` says.
    cell, input_size, feature_size, hidden_size, scores, attention_size, gated, location, bias, batch_first, hard, \
zoneout, recurrent_dropout, per_step, weight_dropout, cell_clip

    Raises
    ------
    TypeError, ValueError
        An argument is not what is said here.
    """

    def __init__(
        self,
        cell: str,
        input_size: int,
        feature_size: int,
        hidden_size: int,
        *,
        scores: str = "additive",
        attention_size: int | None = None,
        gated: bool = False,
        location: tuple[int, int] | None = None,
        bias: bool = True,
        batch_first: bool = False,
        hard: bool = False,
        zoneout: float | Sequence[float] = 0.0,
        recurrent_dropout: float = 0.0,
        per_step: bool = False,
        weight_dropout: float = 0.0,
        cell_clip: float | None = None,
        recurrent: str = "uniform",
        forget_bias: float | None = None,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        shapes = parameter_shapes(
            cell,
            input_size,
            feature_size,
            hidden_size,
            scores=scores,
            attention_size=attention_size,
            gated=gated,
            location=location,
            bias=bias,
        )
        seen = int(input_size) + int(feature_size)  # by the cell
        super().__init__(cell, seen, hidden_size, bias, 0, cell_clip, recurrent, forget_bias)
        self.input_size = int(input_size)
        self.feature_size = int(feature_size)
        self.scores = scores
        self.attention_size = shapes["weight_query"][0]
        self.gated = as_flag("gated", gated)
        self.location = shapes["weight_location"][1:] if "weight_location" in shapes else None
        self.batch_first = as_flag("batch_first", batch_first)
        self.hard = as_flag("hard", hard)
        self._set_noise(Noise(0, zoneout, recurrent_dropout, per_step, weight_dropout))
        self._names = tuple(name for name in shapes if name != "weight_key")
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return the arguments that say what is inside."""
        text = f"{self.cell!r}, {self.input_size}, {self.feature_size}, {self.hidden_size}, scores={self.scores!r}"
        size = self.feature_size if self.scores == "bilinear" else self.hidden_size
        defaults = {"attention_size": size, "location": None, "bias": True}
        return text + self._repr_of(defaults | dict.fromkeys(("gated", "batch_first", "hard"), False))

    def forward(
        self,
        x: torch.Tensor,
        features: torch.Tensor,
        state: States = None,
        *,
        mask: torch.Tensor | None = None,
        lengths: Any = None,
        resets: torch.Tensor | None = None,
        reset_state: States = None,
        seed: int | torch.Tensor | None = None,
        greedy: bool = False,
    ) -> tuple[torch.Tensor, States, Attention]:
        """Run the layer over a batch of sequences, each with features of its own.

        Parameters
        ----------
        x : Tensor (T, B, I), with batch_first (B, T, I)
            Or tokens in [0, I), of int64, without the last dimension.
        features : Tensor (B, L, D)
            What each row looks at; L at least 1.
        state : Tensor (B, H), of a cell with several states a tuple of them, optional
            Default: zeros.
        mask : Tensor of bool (B, L), optional
            True where a place may be looked at, one in each row at least. The others' weights are 0, and what stands
            there is not read. A row without one is an error on the CPU; on a GPU, which no call waits for, all that it
            gives is NaN.
        lengths : Tensor of int (B,) or sequence of int, optional
            Steps of each row, 0 to T; what is returned for steps beyond is zero, the state is that after the last.
            On the CPU, as `resets`, also where the other tensors are on a GPU.
        resets : Tensor of bool (T, B), with batch_first (B, T), optional
            Before which steps a row's state is replaced. Location-aware scores then see zeros, as in the first step.
        reset_state : as `state`, optional
            What by. Default: zeros.
        seed : int in [0, 2**64) or Tensor of int64 (), optional
            Of hard attention, as ``hard`` of `rnnkernels.attention.forward`: the same seed draws the same numbers for
            the same steps and rows. Default: each call draws one from PyTorch's generator of the CPU, so
            `torch.manual_seed` makes it repeat.
        greedy : bool, default False
            Of hard attention: take the likeliest place in each step, the first of several, and draw none.

        Returns
        -------
        output : Tensor (T, B, H), with batch_first (B, T, H)
        state : Tensor (B, H) or tuple of them
            After each row's last step.
        attention : Attention
            `weights` (T, B, L), `contexts` (T, B, D), and of hard attention `places` and `log_probs` (T, B); with
            batch_first (B, T, ...).

        Raises
        ------
        TypeError, ValueError
            If an argument is not what is said here.
        NotImplementedError
            If a tensor is on a device that there are no kernels for.
        """
        if not isinstance(x, torch.Tensor):
            options = {"mask": mask, "lengths": lengths, "resets": resets, "reset_state": reset_state}
            node = leaf(self, x, features, state, **options, seed=seed, greedy=greedy)
            if node is None:
                raise TypeError(f"x: expected a tensor, got {shown(x)}")
            return node  # type: ignore[no-any-return]
        self._check_input("x", x, (3,))
        self._check_device("x", x)
        if self.input_size == 0 and not x.is_floating_point():
            raise ValueError("x: expected vectors, as input_size is 0 and there are no tokens; got tokens")
        x = x.transpose(0, 1) if self.batch_first else x
        steps, batch = x.shape[:2]
        self._check_features(features, batch, mask)
        initial = self._rows("state", state, batch)
        if reset_state is not None and resets is None:
            raise ValueError("reset_state: expected resets with it, got none")
        drawn = self._drawing(seed, greedy)
        given = Given(
            x,
            features,
            None,
            {name: getattr(self, name) for name in self._names},
            initial,
            self._rows("reset_state", reset_state, batch),
            mask,
            _of_shape("lengths", self._lengths(lengths, True), (batch,), "(B,)"),
            _of_shape("resets", self._resets(resets, True), (steps, batch), "(T, B)"),
            drawn.seed,
            drawn.noise_seed,
        )
        return self._returned(self._run(self._prepare_and_attend, drawn.asked, *given))

    def stepper(
        self,
        features: torch.Tensor,
        state: States = None,
        mask: torch.Tensor | None = None,
        *,
        seed: int | torch.Tensor | None = None,
        greedy: bool = False,
    ) -> AttentionStepper:
        """Return what takes one step after another, for decoding; it makes the keys once and records no gradients.

        It draws as a call does, from one seed for all of its steps: places, and in training masks; in evaluation the
        masks' expectation is taken. What the layer's mode is when the stepper is made, holds.

        Parameters
        ----------
        features, state, mask, seed, greedy
            As in `forward`.

        Returns
        -------
        AttentionStepper
            ``h = step(x_t)`` for x_t (B, I), or tokens (B,), gives h (B, H). ``step.state``, ``step.weights`` (B, L),
            ``step.context`` (B, D), ``step.place`` (B,) are those after the last step; ``step.reset(state)`` begins
            again.

        Raises
        ------
        TypeError, ValueError, NotImplementedError
            As `forward`.
        """
        if not isinstance(features, torch.Tensor):
            raise TypeError(f"features: expected a tensor, got {shown(features)}")
        if not kernels.serves(features.device):
            why = kernels.no_kernels(features.device)
            raise NotImplementedError(f"features: expected a tensor on the CPU, got {features.device}: {why}")
        self._check_features(features, features.shape[0] if features.dim() else 0, mask)
        check_mask(mask)
        initial = self._rows("state", state, len(features))
        return AttentionStepper(self, features, initial, mask, self._drawing(seed, greedy))

    # ---- checks --------------------------------------------------------------------------------------

    def _check_device(self, name: str, tensor: torch.Tensor) -> None:
        """Raise where a tensor is on another device than the parameters."""
        device = self.weight_ih.device
        if tensor.device != device:
            raise ValueError(f"{name}: expected a tensor on {device}, where the parameters are, got {tensor.device}")

    def _check_features(self, features: Any, batch: int, mask: Any) -> None:
        """Raise where features (B, L, D) or mask (B, L) do not fit."""
        if not isinstance(features, torch.Tensor):
            raise TypeError(f"features: expected a tensor, got {shown(features)}")
        if features.dim() != 3 or features.shape[1] < 1:
            raise ValueError(f"features: expected shape (B, L, D) with at least one place, got {tuple(features.shape)}")
        places = features.shape[1]
        self._check("features", features, (batch, places, self.feature_size), "(B, L, D)")
        self._check_device("features", features)
        if mask is None:
            return
        if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
            raise TypeError(f"mask: expected a tensor of booleans, got {getattr(mask, 'dtype', shown(mask))}")
        _of_shape("mask", mask, (batch, places), "(B, L)")
        self._check_device("mask", mask)

    def _rows(self, name: str, given: States, batch: int) -> Any:
        states = self._as_states(name, given, [(batch, width) for width in self._widths], "(B, H)")
        for part, state in zip(self.state_names, states or (), strict=False):
            self._check_device(f"{name} {part}", state)
        return states

    def _drawing(self, seed: Any, greedy: Any) -> Drawing:
        """Return what a call is asked for and the seeds of what it draws."""
        greedy = as_flag("greedy", greedy)
        if greedy and not self.hard:
            raise ValueError("greedy: expected False without hard attention, which hard=True makes a layer have")
        if greedy and seed is not None:
            raise ValueError(f"greedy: expected False where there is a seed, got True and {shown(seed)}")
        noise = self._drawn()
        asked = Attending(self.cell[:], self.hard, self.cell_clip, greedy)
        if noise is None:
            return Drawing(asked, self._seed(seed, greedy), None)
        return Drawing(asked._replace(noise=noise._replace(seed=None)), self._seed(seed, greedy), noise.seed)

    def _seed(self, seed: Any, greedy: bool) -> torch.Tensor | None:
        """Return a seed as a tensor, as a number would be a constant of a compiled graph."""
        if not self.hard or greedy:
            if seed is not None:
                why = "without hard attention, which hard=True makes a layer have"
                raise ValueError(f"seed: expected none {why}; got {shown(seed)}")
            return None
        if seed is None:
            return torch.randint(0, 2**63 - 1, (), dtype=torch.int64)
        if isinstance(seed, torch.Tensor):
            if seed.dtype != torch.int64 or seed.dim() != 0:
                raise TypeError(f"seed: expected an integer or a tensor () of int64, got one {tuple(seed.shape)}")
            return seed
        number = as_integer("seed", seed, 0, 2**64 - 1)
        return torch.tensor(number - (number >> 63 << 64), dtype=torch.int64)

    # ---- the call ------------------------------------------------------------------------------------

    def _prepare_and_attend(self, asked: Attending, *tensors: Any) -> Attended:
        """Run a call whose keys are yet to be made."""
        given = Given(*tensors)
        features, keys, mask = self._prepared(given.features, given.mask)
        return self._attend(asked, *given._replace(features=features, keys=keys, mask=mask))

    def _attend(self, asked: Attending, *tensors: Any) -> Attended:
        """Run a call on tensors of one dtype, whatever the layer's."""
        given = Given(*tensors)
        dtype = given.weights["weight_ih"].dtype
        if not _widened(given.weights["weight_ih"]):
            return attend(asked, given)
        done = attend(asked, Given(*(autocast.to(part, torch.float32) for part in given)))
        return Attended(*(autocast.to(part, dtype) for part in done))

    def _prepared(self, features: torch.Tensor, mask: torch.Tensor | None) -> Prepared:
        """Return what is looked at, in the dtype of the arithmetic."""
        if _widened(features):
            features = features.float()
        if mask is not None:
            # What stands where nobody looks may be NaN: as a zero it reaches neither the products that make the keys
            # nor their gradients.
            features = torch.where(mask.unsqueeze(2), features, 0.0)
            if _waited_for(features):
                # No place at all: the answer is NaN, which a GPU finds without being asked.
                nowhere = mask.any(1, keepdim=True).logical_not()
                features, mask = features.masked_fill(nowhere.unsqueeze(2), math.nan), mask | nowhere
        if self.scores == "bilinear":
            return Prepared(features, None, mask)
        return Prepared(features, torch.nn.functional.linear(features, self.weight_key.to(features.dtype)), mask)

    def _returned(self, done: Attended) -> tuple[torch.Tensor, States, Attention]:
        log_probs = None
        if done.places is not None:
            chosen = done.weights.gather(2, done.places.clamp(min=0).unsqueeze(2)).squeeze(2)
            log_probs = torch.where(done.places >= 0, chosen, 1.0).log()
        output, *parts = (
            part if part is None or not self.batch_first else part.transpose(0, 1)
            for part in (done.output, done.weights, done.contexts, done.places, log_probs)
        )
        return output, self._given_back(done.final), Attention(*parts)


def _widened(features: torch.Tensor) -> bool:
    """Whether a call is run in float32: one of halves, but for a GPU's, whose kernels read and write halves."""
    return features.dtype in _HALVES and not features.is_cuda


def _waited_for(tensor: torch.Tensor) -> bool:
    """Whether to read a value would be to wait for a GPU."""
    return bool(tensor.is_cuda)


def _of_shape(name: str, tensor: Any, shape: tuple[int, ...], symbols: str) -> Any:
    """Return a tensor, or None, or raise where its shape is another."""
    if tensor is not None and tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected shape {symbols} = {shape}, got {tuple(tensor.shape)}")
    return tensor
