"""One step without gradients: the same bits as any other call, on weights that stay packed and are never stale."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune
from torch_compare import CELLS, LAYERS, NAMES, leaves, structure

import rnnkernels as rk
import rnnkernels.torch as rnn
from rnnkernels.torch.steps import KEPT

if TYPE_CHECKING:
    from collections.abc import Callable

if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
    pytest.skip("this PyTorch has no table of DLPack's", allow_module_level=True)

ROOT = Path(__file__).parents[2]
SIZE, H, B = 5, 7, 3


def made(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(rnn, name)(options.pop("input_size", SIZE), options.pop("hidden_size", H), **options).eval()


def call_of(layer: Any, batch: int | None = B, steps: int = 1, state: bool = True) -> tuple[Any, ...]:
    """Return arguments of a call: x and states."""
    torch.manual_seed(1)
    rows = () if batch is None else (batch,)
    dtype = next(layer.parameters()).dtype
    cell = isinstance(layer, nn.RNNCellBase)
    first = getattr(layer, "batch_first", False) and batch is not None
    shape = rows if cell else (*rows, steps) if first else (steps, *rows)
    x = torch.randn(*shape, layer.input_size, dtype=dtype)
    if not state:
        return (x,)
    lead = () if cell else (layer.num_layers * (1 + layer.bidirectional),)
    widths = [getattr(layer, "proj_size", 0) or layer.hidden_size, layer.hidden_size]
    states = tuple(torch.randn(*lead, *rows, width, dtype=dtype) for width in widths)
    return (x, states if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else states[0])


def usual(layer: Any, call: tuple[Any, ...]) -> list[Any]:
    """Results of the way that no step takes: with gradients, on a copy."""
    twin = copy.deepcopy(layer)
    assert KEPT not in twin.__dict__
    with torch.enable_grad():
        results = [r.detach() for r in leaves(twin(*call))]
    assert KEPT not in twin.__dict__
    return results


def stepped(layer: Any, call: tuple[Any, ...]) -> list[Any]:
    with torch.no_grad():
        return leaves(layer(*call))


def equal(a: Any, b: Any) -> bool:
    return all(torch.equal(mine, other) for mine, other in zip(a, b, strict=True))


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in NAMES],
    *[(name, {"bias": False, "dtype": torch.float64}) for name in NAMES],
    *[(name, {"num_layers": 3, "batch_first": True, "dropout": 0.5}) for name in LAYERS],
    ("RNN", {"num_layers": 2, "nonlinearity": "relu"}),
    ("RNNCell", {"nonlinearity": "relu"}),
    ("LSTM", {"num_layers": 2, "proj_size": 4}),
    ("LSTM", {"num_layers": 2, "hidden_size": 131, "proj_size": 70}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[f"{n} {'-'.join(o)}" for n, o in OPTIONS])
@pytest.mark.parametrize("trust_versions", [False, True])
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_a_step_has_the_bits_of_any_call_and_the_form_of_pytorchs(
    name: str, options: dict[str, Any], trust_versions: bool
) -> None:
    layer = made(name, **options)
    layer.trust_versions = trust_versions
    theirs = copy.deepcopy(layer)
    rnn.unswap(theirs)
    for batch in (B, 1, None):
        for state in (True, False):
            call = call_of(layer, batch, state=state)
            assert equal(stepped(layer, call), usual(layer, call))
            assert KEPT in layer.__dict__
            with torch.inference_mode():
                mine, other = layer(*call), theirs(*call)
            strides = batch != B or name in CELLS  # where sizes are 1 PyTorch has several
            assert structure(mine, strides=strides) == structure(other, strides=strides)
            assert equal(leaves(mine), usual(layer, call))
    assert equal(stepped(layer, call_of(layer, steps=2)), usual(layer, call_of(layer, steps=2)))


LARGE = [
    ("LSTM", {"hidden_size": 131}),
    ("LSTM", {"hidden_size": 131, "num_layers": 2, "bias": False}),
    ("GRU", {"hidden_size": 150}),
    ("RNNCell", {"hidden_size": 260}),
]


@pytest.mark.parametrize(("name", "options"), LARGE, ids=[f"{n} {'-'.join(o)}" for n, o in LARGE])
@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_few_rows_are_multiplied_with_large_weights_where_these_lie(name: str, options: dict[str, Any]) -> None:
    layer = made(name, **options)
    before = {batch: stepped(layer, call_of(layer, batch)) for batch in (None, 1, 2, 3)}
    packed = layer.__dict__[KEPT]
    for batch, found in before.items():
        assert equal(found, usual(layer, call_of(layer, batch)))
    for weight in layer.parameters():
        weight.data.mul_(0.5)  # which no counter counts
    for batch in (None, 1, 2, 3):
        found = stepped(layer, call_of(layer, batch))
        assert not equal(found, before[batch])
        assert equal(found, usual(layer, call_of(layer, batch)))
        assert (layer.__dict__[KEPT] is packed) == (batch != 3)  # that of more rows is packed again
    layer.trust_versions = True
    trusted = stepped(layer, call_of(layer, 1))
    for weight in layer.parameters():
        weight.data.mul_(0.5)
    assert equal(stepped(layer, call_of(layer, 1)), trusted)
    packed = layer.__dict__[KEPT]
    with torch.no_grad():
        next(iter(layer.parameters())).mul_(2)  # which is counted: packed again, so that the next step reads no tensor
    assert equal(stepped(layer, call_of(layer, 1)), usual(layer, call_of(layer, 1)))
    assert layer.__dict__[KEPT] is not packed
    packed = layer.__dict__[KEPT]
    stepped(layer, call_of(layer, 1))
    assert layer.__dict__[KEPT] is packed


def test_results_are_fresh() -> None:
    layer = made("LSTM")
    x, state = call_of(layer)
    first = stepped(layer, (x, state))
    kept = [r.clone() for r in first]
    stepped(layer, (x + 1, tuple(s + 1 for s in state)))
    assert equal(first, kept)
    first[0].zero_()
    assert equal(first[1:], kept[1:])
    assert len({r.untyped_storage().data_ptr() for r in first}) == 3


# ---- weights that change -----------------------------------------------------------------------------


def first_of(layer: Any) -> Any:
    return layer.weight_hh if isinstance(layer, nn.RNNCellBase) else layer.weight_hh_l0


def name_of(layer: Any) -> str:
    return "weight_hh" if isinstance(layer, nn.RNNCellBase) else "weight_hh_l0"


def optimised(make: Callable[[Any], Any]) -> Callable[[Any], None]:
    def change(layer: Any) -> None:
        optimiser = make(layer.parameters())
        with torch.enable_grad():
            leaves(layer(*call_of(layer)))[-1].sum().backward()
        optimiser.step()

    return change


def others(layer: Any) -> dict[str, Any]:
    return {name: p.detach() + 0.1 for name, p in layer.named_parameters()}


def assigned(layer: Any) -> None:
    first_of(layer).data = first_of(layer).detach() * 2


def assigned_twice(layer: Any) -> None:  # the second where the first lay, as allocators like to
    for _ in range(2):
        first_of(layer).data = first_of(layer).detach() * 1.5


def replaced(layer: Any) -> None:
    setattr(layer, name_of(layer), nn.Parameter(first_of(layer).detach() * 2))


def in_inference_mode(layer: Any) -> None:
    with torch.inference_mode():
        first_of(layer).mul_(2)


def transposed(layer: Any) -> None:  # the same memory, other numbers
    weight = first_of(layer)
    weight.data = weight.detach().view(-1, H)[:H].t().contiguous().t().repeat(len(weight) // H, 1)


# PyTorch counts these changes of a weight.
COUNTED: dict[str, Callable[[Any], Any]] = {
    "SGD": optimised(lambda p: torch.optim.SGD(p, 0.1)),
    "SGD, foreach": optimised(lambda p: torch.optim.SGD(p, 0.1, foreach=True)),
    "AdamW": optimised(lambda p: torch.optim.AdamW(p, 0.1)),
    "load_state_dict": lambda layer: layer.load_state_dict(others(layer)),
    "load_state_dict, assign": lambda layer: layer.load_state_dict(others(layer), assign=True),
    "in place, no_grad": lambda layer: first_of(layer).mul_(2),
    "in place, one element": lambda layer: first_of(layer)[0, 0].add_(1),
    "in place, detached": lambda layer: first_of(layer).detach().mul_(2),
    "in place, inference_mode": in_inference_mode,
    ".data = another": assigned,
    ".data = another, twice": assigned_twice,
    ".data = transposed": transposed,
    "another Parameter": replaced,
    "vector_to_parameters": lambda layer: nn.utils.vector_to_parameters(
        nn.utils.parameters_to_vector(layer.parameters()) * 2, layer.parameters()
    ),
    "double": lambda layer: layer.double(),
    "bfloat16": lambda layer: layer.bfloat16(),
    "init": lambda layer: nn.init.orthogonal_(first_of(layer)),
    "reset_parameters": lambda layer: layer.reset_parameters(),
    "parametrization": lambda layer: nn.utils.parametrizations.weight_norm(layer, name_of(layer)),
    "pruning": lambda layer: prune.l1_unstructured(layer, name_of(layer), 0.5),
}
# And these not, those of its own fused optimisers among them.
UNCOUNTED: dict[str, Callable[[Any], Any]] = {
    "SGD, fused": optimised(lambda p: torch.optim.SGD(p, 0.1, fused=True)),
    "AdamW, fused": optimised(lambda p: torch.optim.AdamW(p, 0.1, fused=True)),
    ".data in place": lambda layer: first_of(layer).data.mul_(2),
    ".data, one bit": lambda layer: first_of(layer).data.view(torch.int32)[-1, -1].bitwise_xor_(1 << 22),
    "NumPy": lambda layer: first_of(layer).detach().numpy().__imul__(2),
    "a bias through .data": lambda layer: [p.data.add_(1) for n, p in layer.named_parameters() if "bias" in n],
}


@pytest.mark.parametrize("name", ["LSTM", "GRUCell"])
@pytest.mark.parametrize("way", [*COUNTED, *UNCOUNTED])
@pytest.mark.parametrize("trust_versions", [False, True])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_whatever_changes_weights_is_seen(name: str, way: str, trust_versions: bool) -> None:
    layer = made(name)
    layer.trust_versions = trust_versions
    before = stepped(layer, call_of(layer))
    with torch.no_grad():
        (COUNTED | UNCOUNTED)[way](layer)
    call = call_of(layer)
    now = stepped(layer, call)
    if way in UNCOUNTED and trust_versions:
        assert equal(now, before)  # as swap says
        layer.trust_versions = False
        now = stepped(layer, call)
    twin = made(name)
    if nn.utils.parametrize.is_parametrized(layer) or way == "pruning":  # which have no copies: the rest is the same
        layer.__dict__.pop(KEPT, None)
        with torch.enable_grad():
            assert equal(now, [r.detach() for r in leaves(layer(*call))])
    else:
        twin.to(first_of(layer).dtype).load_state_dict(layer.state_dict())
        assert equal(now, usual(twin, call))
    assert way == "parametrization" or now[0].dtype != before[0].dtype or not equal(now, before)
    assert equal(stepped(layer, call), now)


def test_functional_call_has_weights_of_its_own() -> None:
    layer = made("GRU")
    call, weights = call_of(layer), others(layer)
    before = stepped(layer, call)
    with torch.no_grad():
        found = leaves(torch.func.functional_call(layer, weights, call))
    assert equal(stepped(layer, call), before)
    layer.load_state_dict(weights)
    assert equal(found, usual(layer, call))


def test_settings_of_a_layer_that_change_are_seen() -> None:
    layer = made("LSTM", num_layers=2, input_size=32)
    call = call_of(layer)
    before = stepped(layer, call)
    layer.products = "bfloat16"
    assert equal(stepped(layer, call), usual(layer, call))
    layer.products = "full"
    assert equal(stepped(layer, call), before)
    cell = made("RNNCell")
    stepped(cell, call_of(cell))
    cell.nonlinearity = "relu"
    assert equal(stepped(cell, call_of(cell)), usual(cell, call_of(cell)))


@pytest.mark.skipif(len(rk.instruction_sets()) < 2, reason="there is one instruction set")
def test_another_instruction_set_is_used() -> None:
    layer, used = made("LSTM"), rk.instruction_set()
    call = call_of(layer)
    stepped(layer, call)
    packed = layer.__dict__[KEPT]
    try:
        rk.set_instruction_set(next(s for s in rk.instruction_sets() if s != used))
        assert equal(stepped(layer, call), usual(layer, call))
        assert layer.__dict__[KEPT] is not packed
    finally:
        rk.set_instruction_set(used)


# ---- what a layer keeps ------------------------------------------------------------------------------


def test_copies_share_nothing_and_unswap_leaves_nothing() -> None:
    layer = made("LSTM")
    call = call_of(layer)
    stepped(layer, call)
    packed = layer.__dict__[KEPT]
    for other in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert KEPT not in other.__dict__
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        first_of(twin).mul_(2)
    assert not equal(stepped(twin, call), stepped(layer, call))
    stepped(layer, call)
    assert layer.__dict__[KEPT] is packed
    rnn.unswap(layer)
    assert vars(layer).keys() == vars(nn.LSTM(SIZE, H)).keys()


def test_threads_share_a_layer() -> None:
    layer = made("LSTM", num_layers=2, input_size=32)
    call = call_of(layer)
    expected = usual(layer, call)
    found: list[bool] = []

    def work() -> None:
        found.extend(equal(stepped(layer, call), expected) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200


# ---- what goes the usual way -------------------------------------------------------------------------


def test_what_is_no_step_packs_nothing() -> None:
    several = made("GRU")
    stepped(several, call_of(several, steps=2))
    both = made("GRU", bidirectional=True)
    assert equal(stepped(both, call_of(both)), usual(both, call_of(both)))
    drops = made("GRU", num_layers=2, dropout=0.5).train()
    stepped(drops, call_of(drops))
    half = made("GRU", dtype=torch.float16)
    stepped(half, call_of(half))
    low = made("GRUCell")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        low(*call_of(low))
    recorded = made("GRUCell")
    recorded(*call_of(recorded))
    for layer in (several, both, drops, half, low, recorded):
        assert KEPT not in layer.__dict__


@pytest.mark.parametrize("name", ["LSTM", "GRUCell"])
def test_tensors_that_lie_otherwise(name: str) -> None:
    layer = made(name)
    x, state = call_of(layer)
    expected = usual(layer, (x, state))
    strided = x.transpose(-1, -2).contiguous().transpose(-1, -2)
    negated = torch._neg_view(-x)
    off = torch.zeros(4 * x.numel() + 1, dtype=torch.uint8)[1:]
    off.numpy()[:] = x.numpy().view("uint8").ravel()
    moved = torch.frombuffer(off.numpy(), dtype=torch.float32).view(x.shape)
    assert not strided.is_contiguous()
    assert negated.is_neg()
    for given in (x, strided, negated, moved, nn.Parameter(x)):
        assert equal(stepped(layer, (given, state)), expected)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "LSTMCell", "RNNCell"])
def test_wrong_calls_raise_as_they_do_with_gradients(name: str) -> None:
    layer = made(name)
    x, state = call_of(layer)
    first = state[0] if isinstance(state, tuple) else state
    stepped(layer, (x, state))
    wrong: list[tuple[Any, ...]] = [
        (x[..., 1:], state),
        (x, first[..., 1:]),
        (x.double(), state),
        (None, state),
        (x, "h"),
        (x, (first,) * 3),
    ]
    for call in wrong:
        said = []
        for mode in (torch.no_grad, torch.enable_grad):
            with mode(), pytest.raises(Exception) as raised:  # noqa: PT011 - whatever it is: the same
                layer(*call)
            said.append((raised.type, str(raised.value)))
        assert said[0] == said[1]


def test_transforms_and_modes_see_their_calls() -> None:
    layer = made("GRUCell")
    x, h = call_of(layer)
    with torch.no_grad():
        mapped = torch.func.vmap(layer)(x.unsqueeze(1), h.unsqueeze(1)).squeeze(1)
        assert torch.equal(mapped, layer(x, h))
        with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
            layer(x, h)
        assert counter.get_total_flops() == 2 * B * 3 * H * (SIZE + H)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        stepped(layer, (x, h))
    assert "rnnkernels.gru step" in {event.key for event in profile.key_averages()}


# ---- DLPack ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("", ""),
        ("std::int32_t dimensions;", "std::int64_t dimensions;"),
        ("    Exchange* older;\n", ""),
        ("kFloat = 2", "kFloat = 1"),
        ("    std::int64_t* shape;\n", ""),
    ],
    ids=["as it is", "size", "missing", "value", "order"],
)
def test_our_words_for_dlpack_are_pytorchs(right: str, wrong: str, tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    header = Path(torch.__file__).parent / "include"
    source = ROOT / "tests" / "native" / "check_dlpack_abi.cpp"
    text = ROOT / "csrc" / "binding" / "dlpack_abi.h"
    if compiler is None or not (header / "ATen" / "dlpack.h").exists() or not text.exists():
        pytest.skip("no compiler, a PyTorch without its header, or no source")
    assert right in text.read_text(encoding="utf-8")
    copied = tmp_path / "binding" / "dlpack_abi.h"
    copied.parent.mkdir()
    words = text.read_text(encoding="utf-8")
    copied.write_text(words.replace(right, wrong) if right else words, encoding="utf-8")
    command = [compiler, "-std=c++20", "-fsyntax-only", f"-I{tmp_path}", f"-I{header}", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode == 0) == (not right), done.stderr
