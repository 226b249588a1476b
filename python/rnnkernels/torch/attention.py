"""The attending recurrence as a layer: a cell that looks at a set of features before each of its steps.

`AttentionRecurrent` and what it returns, with the checks of arguments, and a stepper for decoding. Not here: who runs a
call (`attention_autograd`), on the kernels (`attention_kernels`) or step by step in PyTorch (`attention_loop`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from rnnkernels._arguments import of_step
from rnnkernels._scalars import as_flag, as_integer, shown
from rnnkernels.attention import parameter_shapes

from . import autocast, kernels
from .attention_autograd import attend
from .attention_call import Attended, Attending, Given
from .attention_kernels import check_mask
from .graphs import leaf
from .recurrent import States, _Base
from .sequence import _HALVES


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

    In step t the state h = h_{t-1} asks each place a_i of a row's features, and the answer is fed to the cell with the
    input:

    - q = weight_query h + bias_query; key_i = weight_key a_i
    - additive scores (Bahdanau et al. 2015): e_i = score . tanh(key_i + q); dot: e_i = q . key_i / sqrt(A);
      bilinear (Luong et al. 2015): e_i = q . a_i
    - alpha = softmax(e), context = sum_i alpha_i a_i, times beta = sigmoid(weight_beta h + bias_beta) where gated
      (Xu et al. 2015)
    - the cell takes its step on (x_t, context)

    Hard attention (Xu et al. 2015) draws one place from alpha in each step, and context is what stands there. The
    gradient through context then goes to that place alone; `Attention.log_probs` is what REINFORCE differentiates.

    Parameters
    ----------
    cell : str
        One of `rnnkernels.cells`, but for those that add x itself to a gate or project h.
    input_size, feature_size, hidden_size : int
        I, which may be 0; D; H.
    scores : {"additive", "bilinear", "dot"}
    attention_size : int, optional
        A: units of queries and keys. Default: H, of bilinear scores D.
    gated : bool, default False
        Whether there is beta.
    location : (int, int), optional
        (C, K): additive scores see, at each place, K weights around it (K odd), those of the step before (C = 1) and
        the sums of all steps before, too (C = 2); Chorowski et al. 2015.
    bias : bool, default True
        Whether the cell, q and beta have biases.
    batch_first : bool, default False
        Whether x and what is returned for each step are (B, T, ...).
    hard : bool, default False
        Whether a place is drawn.
    cell_clip : float, optional
        For the cells that have it: c is kept in [-cell_clip, cell_clip].
    recurrent, forget_bias
        As in `Recurrent`.
    device, dtype
        As in torch.nn.LSTM.

    Attributes
    ----------
    weight_ih : Parameter (G*H, I + D)
        The columns of x first. With it what else the cell has: `rnnkernels.parameter_shapes`.
    weight_query, bias_query : Parameter (A, H), (A,)
    weight_key : Parameter (A, D)
        But for bilinear scores.
    score : Parameter (A,)
        For additive scores.
    weight_location : Parameter (A, C, K)
    weight_beta, bias_beta : Parameter (1, H), (1,)
    cell, input_size, feature_size, hidden_size, scores, attention_size, gated, location, bias, batch_first, hard, \
cell_clip

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
        self._names = tuple(name for name in shapes if name != "weight_key")
        for name, shape in shapes.items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()

    def extra_repr(self) -> str:
        """Return the arguments that say what is inside."""
        text = f"{self.cell!r}, {self.input_size}, {self.feature_size}, {self.hidden_size}, scores={self.scores!r}"
        defaults: dict[str, Any] = {
            "attention_size": self.feature_size if self.scores == "bilinear" else self.hidden_size,
            "gated": False,
            "location": None,
            "bias": True,
            "batch_first": False,
            "hard": False,
            "cell_clip": None,
        }
        return text + "".join(f", {k}={getattr(self, k)!r}" for k, v in defaults.items() if getattr(self, k) != v)

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
            True where a place may be looked at, one in each row at least. The others' weights are 0. To see that there
            is one, a call on a GPU waits for it.
        lengths : Tensor of int (B,) or sequence of int, optional
            Steps of each row, 0 to T; what is returned for steps beyond is zero, the state is that after the last.
            On the CPU, as `resets`, also where the other tensors are on a GPU.
        resets : Tensor of bool (T, B), with batch_first (B, T), optional
            Before which steps a row's state is replaced. Location-aware scores then see zeros, as in the first step.
        reset_state : as `state`, optional
            What by. Default: zeros.
        seed : int in [0, 2**63) or Tensor of int64 (), optional
            Of hard attention: the same seed draws the same numbers for the same steps and rows. Default: drawn from
            PyTorch's generator, so `torch.manual_seed` makes it repeat.

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
            options = {"mask": mask, "lengths": lengths, "resets": resets, "reset_state": reset_state, "seed": seed}
            node = leaf(self, x, features, state, **options)
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
            self._seed(seed),
        )
        return self._returned(self._attend(given))

    def stepper(
        self,
        features: torch.Tensor,
        state: States = None,
        mask: torch.Tensor | None = None,
        *,
        seed: int | torch.Tensor | None = None,
    ) -> AttentionStepper:
        """Return what takes one step after another, for decoding; it makes the keys once and records no gradients.

        Parameters
        ----------
        features, state, mask, seed
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
        return AttentionStepper(self, features, self._rows("state", state, len(features)), mask, self._seed(seed))

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

    def _seed(self, seed: Any) -> torch.Tensor | None:
        """Return a seed as a tensor, as a number would be a constant of a compiled graph."""
        if not self.hard:
            if seed is not None:
                raise ValueError(f"seed: expected none without hard attention, got {shown(seed)}")
            return None
        if seed is None:
            return torch.randint(0, 2**63 - 1, (), dtype=torch.int64)
        if isinstance(seed, torch.Tensor):
            if seed.dtype != torch.int64 or seed.dim() != 0:
                raise TypeError(f"seed: expected an integer or a tensor () of int64, got one {tuple(seed.shape)}")
            return seed
        return torch.tensor(as_integer("seed", seed, 0), dtype=torch.int64)

    # ---- the call ------------------------------------------------------------------------------------

    def _attend(self, given: Given, first_step: int = 0) -> Attended:
        """Run a call whose keys are yet to be made."""
        asked = Attending(self.cell[:], self.hard, self.cell_clip, first_step)
        done: Attended = self._run(self._serve, asked, *given)
        return done

    def _serve(self, asked: Attending, *tensors: Any) -> Attended:
        """Run a call on tensors of one dtype, whatever the layer's."""
        given = Given(*tensors)
        dtype = given.weights["weight_ih"].dtype
        widened = _widened(given.features)
        if widened:
            given = Given(*(autocast.to(part, torch.float32) for part in given))
        if given.keys is None:
            given = given._replace(keys=self._keys(given.features))
        done = attend(asked, given)
        return Attended(*(autocast.to(part, dtype) for part in done)) if widened else done

    def _keys(self, features: torch.Tensor) -> torch.Tensor | None:
        """Return what the places are known by (B, L, A), of features in the dtype of the arithmetic."""
        if self.scores == "bilinear":
            return None
        return torch.nn.functional.linear(features, self.weight_key.to(features.dtype))

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


class AttentionStepper:
    """One step after another of an `AttentionRecurrent`, which makes it: `AttentionRecurrent.stepper`.

    Attributes
    ----------
    state : Tensor (B, H), of a cell with several states a tuple of them
    weights : Tensor (B, L), or None before the first step
    context : Tensor (B, D), or None before the first step
    place : Tensor of int64 (B,), or None without hard attention and before the first step
    """

    def __init__(
        self,
        layer: AttentionRecurrent,
        features: torch.Tensor,
        state: Any,
        mask: torch.Tensor | None,
        seed: torch.Tensor | None,
    ) -> None:
        self._layer, self._features, self._mask, self._seed = layer, features, mask, seed
        with torch.no_grad():  # once: later changes of weight_key are not seen
            self._keys = layer._keys(features.float() if _widened(features) else features)
        self._begin(state)

    def _begin(self, state: Any) -> None:
        features = self._features
        shapes = [(len(features), width) for width in self._layer._widths]
        self._states = tuple(map(features.new_zeros, shapes)) if state is None else tuple(s.detach() for s in state)
        self._location: torch.Tensor | None = None
        self._count = 0
        self.weights: torch.Tensor | None = None
        self.context: torch.Tensor | None = None
        self.place: torch.Tensor | None = None

    @property
    def state(self) -> States:
        """The states after the last step."""
        return self._layer._given_back(self._states)

    def reset(self, state: States = None) -> None:
        """Begin again, from `state` or zeros; the seed stays.

        Raises
        ------
        TypeError, ValueError
            If `state` does not fit.
        """
        self._begin(self._layer._rows("state", state, len(self._features)))

    def __call__(self, x_t: torch.Tensor) -> torch.Tensor:
        """Take one step, on x_t (B, I) or tokens (B,); return h (B, H).

        Raises
        ------
        TypeError, ValueError
            If `x_t` does not fit. The states are then as before.
        """
        layer = self._layer
        if not isinstance(x_t, torch.Tensor):
            raise TypeError(f"x_t: expected a tensor, got {shown(x_t)}")
        layer._check_input("x_t", x_t, (2,))
        layer._check_device("x_t", x_t)
        _of_shape("x_t", x_t, (len(self._features), *x_t.shape[1:]), "(B, I)")
        given = Given(
            x_t.unsqueeze(0),
            self._features,
            self._keys,
            {name: getattr(layer, name) for name in layer._names},
            self._states,
            mask=self._mask,
            seed=self._seed,
            location=self._location,
        )
        try:
            with torch.no_grad():
                done = layer._attend(given, self._count)
        except (TypeError, ValueError) as error:
            raise of_step(error) from None
        self._states, self._location = done.final, done.location
        self._count += 1
        self.weights, self.context = done.weights[0], done.contexts[0]
        self.place = None if done.places is None else done.places[0]
        return done.final[0]


def _widened(features: torch.Tensor) -> bool:
    """Whether a call is run in float32: one of halves, but for a GPU's, whose kernels read and write halves."""
    return features.dtype in _HALVES and not features.is_cuda


def _of_shape(name: str, tensor: Any, shape: tuple[int, ...], symbols: str) -> Any:
    """Return a tensor, or None, or raise where its shape is another."""
    if tensor is not None and tuple(tensor.shape) != shape:
        raise ValueError(f"{name}: expected shape {symbols} = {shape}, got {tuple(tensor.shape)}")
    return tensor
