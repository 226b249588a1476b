"""Prepared layers and steppers on a GPU, emulated: the bits of forward, states, copies, bad arguments, threads."""

from __future__ import annotations

import copy
import ctypes
import pickle
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from problems import FORMS, make, on_device, zoneout_of

import rnnkernels as rk
from rnnkernels import cuda
from rnnkernels.cuda import arrays, extension

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPE = (5, 6, 4, 17)


def equal(torch: Any, a: Any, b: Any) -> bool:
    """Whether two tensors, or tuples of them, have the same numbers, none of them NaN."""
    if isinstance(a, tuple):
        return len(a) == len(b) and all(equal(torch, i, j) for i, j in zip(a, b, strict=True))
    return bool(torch.equal(a, b)) and not bool(torch.isnan(a).any())


def layer_of(torch: Any, cell: str = "lstm", shape: Any = SHAPE, dtype: str = "float32", **options: Any) -> Any:
    """A problem's x, parameters, states, and the layer that is prepared of the parameters."""
    x, params, state = on_device(torch, make(cell, shape), getattr(torch, dtype))
    return x, params, state, rk.Prepared(cell, params, **options)


def watched(patch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of dtypes of what calls will have allocated; scratch memory alone is uint8."""
    kept: list[str] = []
    own = arrays.TorchFrame.allocate

    def allocate(frame: Any, shape: Any, dtype: str) -> Any:
        kept.append(dtype)
        return own(frame, shape, dtype)

    patch.setattr(arrays.TorchFrame, "allocate", allocate)
    return kept


def pickled(thing: Any) -> Any:
    return pickle.loads(pickle.dumps(thing))


COPIES = pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickled])


# ---- sequences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("cell", FORMS)
def test_a_sequence_has_the_bits_of_forward(tensors: Any, cell: str, dtype: str) -> None:
    torch = tensors
    x, params, state, layer = layer_of(torch, cell, dtype=dtype)
    kept = {name: w.clone() for name, w in params.items()}
    for w in params.values():
        w.fill_(float("nan"))  # it holds a copy
    resets = np.zeros((5, 6), bool)
    resets[2, ::2] = True
    term = torch.randn(6, len(params["weight_ih"]), generator=torch.Generator().manual_seed(1)).to(x.dtype)
    options: tuple[dict[str, Any], ...] = (
        {},
        {"reverse": True},
        {"term": term},
        {"lengths": [5, 0, 3, 1, 5, 2], "resets": resets, "reset_state": state},
    )
    for given in options:
        for begun in (None, state):
            wanted: Any = rk.forward(cell, x, kept, begun, training=False, **given)
            found = layer.forward(x, begun, **given)
            assert equal(torch, found, (wanted.output, wanted.state))
            assert found[0].dtype == x.dtype
    assert layer.dtype == x.dtype
    assert layer.nbytes == sum(w.numel() * w.element_size() for w in kept.values())


@pytest.mark.parametrize("shape", [(0, 3, 2, 5), (3, 0, 2, 5), (1, 1, 1, 1), (7, 33, 3, 1)])
def test_odd_shapes(tensors: Any, shape: Any) -> None:
    x, params, state, layer = layer_of(tensors, "gru", shape)
    wanted: Any = rk.forward("gru", x, params, state, training=False)
    assert equal(tensors, layer.forward(x, state), (wanted.output, wanted.state))
    stepper = layer.stepper(shape[1], state)
    for x_t in x:
        stepper(x_t)
    assert [tuple(part.shape) for part in stepper.state] == [(shape[1], shape[3])]


def test_tokens_and_noise(tensors: Any) -> None:
    torch = tensors
    _, params, state = on_device(torch, make("lstm", SHAPE), torch.float32)
    noise = rk.Noise(1, zoneout_of("lstm", 0.3), recurrent_dropout=0.2)
    layer = rk.Prepared("lstm", params, tokens=True, noise=noise, cell_clip=0.5)
    tokens = torch.tensor([[0, 3, 1, 2, 0, 3], [1, 1, 2, 3, 0, 0]], dtype=torch.int32)
    wanted: Any = rk.forward("lstm", tokens, params, state, training=False, noise=noise, cell_clip=0.5)
    assert equal(torch, layer.forward(tokens, state), (wanted.output, wanted.state))
    stepper = layer.stepper(6, state)
    for x_t in tokens:
        stepper(x_t)
    ended: Any = state
    for x_t in tokens:
        ended = rk.forward("lstm", x_t[None], params, ended, training=False, noise=noise, cell_clip=0.5).state
    assert equal(torch, stepper.state, ended)


# ---- steps --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["reference", "products"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", FORMS)
def test_a_step_has_the_bits_of_a_sequence_of_one(tensors: Any, cell: str, dtype: str, kernel: str) -> None:
    torch = tensors
    cuda.set_kernel(kernel)
    x, params, state, layer = layer_of(torch, cell, dtype=dtype)
    stepper = layer.stepper(6, state)
    before = state
    for t, x_t in enumerate(x):
        h = stepper(x_t)
        before = rk.forward(cell, x[t : t + 1], params, before, training=False).state
        assert equal(torch, stepper.state, before)
        assert equal(torch, h, before[0])
        assert equal(torch, layer.step(x_t, stepper.state), rk.step(cell, x_t, params, stepper.state))
    assert stepper._stepper.graphs == 2  # it was not five calls in pieces


def test_results_take_turns_and_may_be_the_next_input(tensors: Any) -> None:
    torch = tensors
    params = {n: torch.from_numpy(w) for n, w in rk.init_params("gru", 5, 5, rng=0).items()}
    layer = rk.Prepared("gru", params)
    stepper = layer.stepper(2)
    x: Any = torch.ones(2, 5)
    wanted = x
    state: Any = None
    for _ in range(6):
        state = rk.step("gru", wanted, params, state)
        wanted = state[0]
        x = stepper(x)
        assert equal(torch, x, wanted)
    first: Any = stepper(x)
    second: Any = stepper(x)
    third: Any = stepper(x)
    assert first.data_ptr() == third.data_ptr() != second.data_ptr()


def test_resets_and_terms(tensors: Any) -> None:
    torch = tensors
    x, params, state, layer = layer_of(torch)
    terms = [torch.full((6, len(params["weight_ih"])), value) for value in (0.5, -0.25)]
    stepper = layer.stepper(6)

    def check(begun: Any, term: Any) -> None:
        for t in range(4):
            begun = rk.forward("lstm", x[t : t + 1], params, begun, term=term, training=False).state
            assert equal(torch, stepper(x[t]), begun[0])

    check(None, None)
    for term in terms:
        given = term.clone()
        stepper.reset(state, term=given)
        given.fill_(float("nan"))  # it is copied
        check(state, term)
    stepper.reset()  # the term stays
    check(None, terms[1])


def test_a_state_is_a_copy(tensors: Any) -> None:
    torch = tensors
    x, _, state, layer = layer_of(torch)
    stepper = layer.stepper(6, state)
    for part in (*stepper.state, *state):
        part.fill_(float("nan"))
    stepper(x[0])
    assert not any(torch.isnan(part).any() for part in stepper.state)


def test_another_kernel_is_another_graph(tensors: Any) -> None:
    torch = tensors
    x, params, _, layer = layer_of(torch)
    stepper = layer.stepper(6)
    begun = None
    graphs = []
    for t in range(5):
        cuda.set_kernel("reference" if t == 3 else "products")
        cuda.allow_tf32(t == 4)
        begun = rk.forward("lstm", x[t : t + 1], params, begun, training=False).state
        assert equal(torch, stepper(x[t]), begun[0])
        graphs.append(stepper._stepper.graphs)
    cuda.allow_tf32(False)
    assert graphs == [0, 1, 2, 0, 0]


def test_a_recorded_stream_gets_the_pieces(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever records gets a step, or a sequence with memory of its own, into the recording: nothing has run then."""
    torch = tensors
    x, params, state, layer = layer_of(torch)
    stepper = layer.stepper(6, state)
    stepper(x[0])
    library = ctypes.CDLL(extension.load().__file__)
    library.emulated_recording.restype = ctypes.c_void_p
    stream = library.emulated_recording()
    fixed = x[1].clone()
    with monkeypatch.context() as patch:
        patch.setattr(arrays.TorchFrame, "stream", lambda _: stream)
        h = stepper(fixed)
    begun: Any = rk.forward("lstm", x[:1], params, state, training=False).state
    assert equal(torch, stepper.state, begun)
    for t in (1, 2):
        fixed.copy_(x[t])
        library.emulated_replay(ctypes.c_void_p(stream))
        begun = rk.forward("lstm", x[t : t + 1], params, begun, training=False).state
        assert equal(torch, h, begun[0])
    layer.forward(x, state)
    with monkeypatch.context() as patch:
        patch.setattr(arrays.TorchFrame, "stream", lambda _: stream)
        kept = watched(patch)
        for _ in range(2):
            layer.forward(x, state)
    assert kept.count("uint8") == 2  # scratch memory of the recording's


# ---- stacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True])
def test_stacks(tensors: Any, bidirectional: bool) -> None:
    torch = tensors
    stack = rk.Stack("lstm", 4, 7, 3, bidirectional=bidirectional, rng=0)
    stack.params = {name: torch.from_numpy(w.copy()) for name, w in stack.params.items()}
    x = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    prepared = stack.prepare()
    wanted: Any = stack.forward(x, training=False)
    assert equal(torch, prepared.forward(x), (wanted.output, wanted.state))
    assert equal(torch, pickled(prepared).forward(x), (wanted.output, wanted.state))
    if bidirectional:
        with pytest.raises(ValueError, match="stack: expected one direction"):
            stack.stepper(3)
        return
    cuda.set_kernel("reference")
    wanted = stack.forward(x, training=False)
    stepper = stack.stepper(3)
    for t, x_t in enumerate(x):
        assert equal(torch, stepper(x_t), wanted.output[t])
        if t == 2:
            stepper = copy.deepcopy(stepper)
    assert equal(torch, stepper.state, wanted.state)
    state = stepper.state
    stepper.reset(state)
    with pytest.raises(ValueError, match=r"^x_t: expected shape \(B, I\)"):
        stepper(torch.ones(3, 5))
    assert equal(torch, stepper.state, state)


def stack_of(torch: Any, cell: str, dtype: str = "float32", layers: int = 3, inputs: int = 4) -> Any:
    """A stack whose parameters are tensors, and x (T, B, I)."""
    proj_size: dict[str, Any] = {"proj_size": 5} if rk.cell_info(cell)["projected"] else {}
    stack = rk.Stack(cell, 7 if rk.cell_info(cell)["direct"] else inputs, 7, layers, rng=0, **proj_size)
    kind = getattr(torch, dtype)
    stack.params = {name: torch.from_numpy(w.copy()).to(kind) for name, w in stack.params.items()}
    x = torch.randn(6, 3, stack.params["weight_ih_l0"].shape[1], generator=torch.Generator().manual_seed(0))
    return stack, x.to(kind)


STACKED = [cell for cell in FORMS if "elements" not in rk.cell_info(cell) or not rk.cell_info(cell)["elements"]]


@pytest.mark.parametrize("kernel", ["reference", "products", "resident"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", STACKED)
def test_a_stacks_step_is_one_graph_with_the_bits_of_its_layers(
    tensors: Any, emulated: Any, cell: str, dtype: str, kernel: str
) -> None:
    """Those of a sequence of one step, layer by layer. A step copies x, and no h from a layer to the next."""
    torch = tensors
    stack, x = stack_of(torch, cell, dtype)
    prepared = stack.prepare()
    cuda.set_kernel(kernel)
    try:
        prepared.forward(x[:1])
    except ValueError as error:
        pytest.skip(str(error))
    stepper = prepared.stepper(3)
    library = ctypes.CDLL(emulated.__file__)
    before: Any = None
    for t in range(len(x)):
        wanted, before = prepared.forward(x[t : t + 1], before)
        copies = library.emulated_copies()
        h = stepper(x[t])
        assert library.emulated_copies() == copies + 1
        assert equal(torch, h, wanted[0])
        assert equal(torch, stepper.state, before)
    assert stepper._step.__self__.graphs == 2
    assert [each._stepper.graphs for each in stepper._steppers] == [0, 0, 0]


def test_a_stack_of_tokens_and_of_no_rows(tensors: Any) -> None:
    torch = tensors
    stack, _ = stack_of(torch, "gru")
    prepared = stack.prepare(tokens=True)
    tokens = torch.tensor([[0, 3, 1], [1, 1, 2], [3, 0, 0]], dtype=torch.int32)
    stepper = prepared.stepper(3)
    before: Any = None
    for t in range(3):
        wanted, before = prepared.forward(tokens[t : t + 1], before)
        assert equal(torch, stepper(tokens[t]), wanted[0])
    empty = prepared.stepper(0)
    for _ in range(3):
        assert empty(tokens[0, :0]).shape == (0, 7)
    assert empty._step.__self__.graphs == 0


def test_a_stacks_results_take_turns_and_may_be_the_next_input(tensors: Any) -> None:
    torch = tensors
    stack, _ = stack_of(torch, "lstm", inputs=7)
    prepared = stack.prepare()
    stepper = prepared.stepper(2)
    x: Any = torch.ones(2, 7)
    wanted, before = x, None
    for _ in range(6):
        outputs, before = prepared.forward(wanted[None], before)
        wanted = outputs[0]
        x = stepper(x)
        assert equal(torch, x, wanted)
    first, second, third = (stepper(x) for _ in range(3))
    assert first.data_ptr() == third.data_ptr() != second.data_ptr()


def test_what_makes_a_stacks_graphs_anew(tensors: Any) -> None:
    """Another kernel or TF32; a term or more memory of one of its layers, in the middle of the steps."""
    torch = tensors
    stack, x = stack_of(torch, "lstm")
    prepared = stack.prepare()
    stepper = prepared.stepper(3)
    begun: Any = None
    term: Any = None
    graphs = []
    for t in range(6):
        cuda.set_kernel("reference" if t >= 4 else "products")
        if t == 3:
            term = [None, torch.full((3, 28), 0.5), None]
            stepper._steppers[1]._stepper.reset(begun[1], term[1])
        wanted, begun = prepared.forward(x[t : t + 1], begun, term=term)
        assert equal(torch, stepper(x[t]), wanted[0])
        graphs.append(stepper._step.__self__.graphs)
    assert graphs == [0, 1, 2, 0, 0, 1]


def test_a_recorded_stream_gets_a_stacks_pieces(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = tensors
    stack, x = stack_of(torch, "gru")
    prepared = stack.prepare()
    stepper = prepared.stepper(3)
    library = ctypes.CDLL(extension.load().__file__)
    library.emulated_recording.restype = ctypes.c_void_p
    stream = library.emulated_recording()
    fixed = x[0].clone()
    with monkeypatch.context() as patch:
        patch.setattr(arrays.TorchFrame, "stream", lambda _: stream)
        h = stepper(fixed)
    assert all(not part.any() for layer in stepper.state for part in layer)
    begun: Any = None
    for t in (0, 1, 2):
        fixed.copy_(x[t])
        library.emulated_replay(ctypes.c_void_p(stream))
        wanted, begun = prepared.forward(x[t : t + 1], begun)
        assert equal(torch, h, wanted[0])


@pytest.mark.parametrize(
    ("x", "kind", "said"),
    [
        (lambda _: np.zeros((3, 4), np.float32), TypeError, "x_t: expected an array on GPU 0, .* got a ndarray"),
        (lambda t: t.zeros(3, 4, dtype=t.float64), TypeError, "x_t: expected dtype torch.float32"),
        (lambda t: t.zeros(3, dtype=t.int64), TypeError, "x_t: expected vectors, what the layer was prepared for"),
        (lambda t: t.zeros(3, 3), ValueError, r"x_t: expected shape \(B, I\) = \(3, 4\), got \(3, 3\)"),
        (lambda t: t.zeros(5, 4), ValueError, "x_t: expected the stepper's batch size, B = 3, got B = 5"),
    ],
)
def test_a_bad_step_of_a_stack_is_named_and_changes_nothing(tensors: Any, x: Any, kind: type, said: str) -> None:
    stack, xs = stack_of(tensors, "lstm")
    stepper = stack.prepare().stepper(3)
    stepper(xs[0])
    state = stepper.state
    with pytest.raises(kind, match=said):
        stepper(x(tensors))
    assert equal(tensors, stepper.state, state)


def test_steppers_that_do_not_fit_on_each_other(tensors: Any) -> None:
    """The module asks by itself: it reads h of the one below where it lies."""
    torch = tensors

    def layer(inputs: int, dtype: str = "float32", batch: int = 3, tokens: bool = False) -> Any:
        made = {n: torch.from_numpy(w) for n, w in rk.init_params("gru", inputs, 7, rng=0).items()}
        params = {n: w.to(getattr(torch, dtype)) for n, w in made.items()}
        return rk.Prepared("gru", params, tokens=tokens).stepper(batch)._stepper

    stacked = type(stack_of(torch, "gru")[0].prepare().stepper(3)._step.__self__)
    stacked([layer(4), layer(7), layer(7)])
    for other in (layer(6), layer(7, "float64"), layer(7, batch=2), layer(7, tokens=True)):
        with pytest.raises(
            ValueError, match="steppers: expected each on the device, and of the dtype, batch and width"
        ):
            stacked([layer(4), other])
    with pytest.raises(RuntimeError, match="expected one call at a time"):
        stacked([layer(7), *[layer(7)] * 2]).step(torch.ones(3, 7))  # the same one twice


# ---- copies -------------------------------------------------------------------------------------


@COPIES
def test_copies(tensors: Any, copied: Callable[[Any], Any]) -> None:
    torch = tensors
    x, _, state, layer = layer_of(torch, dtype="bfloat16")
    assert equal(torch, copied(layer).forward(x, state), layer.forward(x, state))
    term = torch.ones(6, 4 * 17, dtype=torch.bfloat16)
    stepper = layer.stepper(6, state, term=term)
    stepper(x[0])
    other = copied(stepper)
    wanted = stepper(x[1]).clone()
    stepper(x[2])
    assert equal(torch, other(x[1]), wanted)


# ---- bad arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"weights": "int8"}, NotImplementedError, "weights: expected 'full' on a GPU, .* got 'int8'"),
        ({"weights": "bfloat16"}, NotImplementedError, "weights: expected 'full' on a GPU, .* got 'bfloat16'"),
        ({"weights": "float4"}, ValueError, "weights: expected"),
        ({"products": "bfloat16"}, NotImplementedError, "products: expected 'full' on a GPU"),
        ({"products": "some"}, ValueError, "products: expected"),
        ({"tokens": 2}, TypeError, "tokens: expected"),
    ],
)
def test_what_a_gpu_has_not(tensors: Any, options: Any, kind: type, said: str) -> None:
    with pytest.raises(kind, match=said):
        layer_of(tensors, **options)


def test_arrays_of_the_hosts_are_not_copied_there(emulated: Any) -> None:
    del emulated
    rk.set_backend("cuda")
    try:
        with pytest.raises(NotImplementedError, match=r"Prepared: expected arrays on a GPU .*, got ndarray"):
            rk.Prepared("lstm", make("lstm", SHAPE).params)
    finally:
        rk.set_backend("cpu")


@pytest.mark.parametrize(
    ("x", "kind", "said"),
    [
        (lambda _: np.zeros((6, 4), np.float32), TypeError, "x_t: expected an array on GPU 0, .* got a ndarray"),
        (lambda t: t.zeros(6, 4, dtype=t.float64), TypeError, "x_t: expected dtype torch.float32"),
        (lambda t: t.zeros(6, dtype=t.int64), TypeError, "x_t: expected vectors, what the layer was prepared for"),
        (lambda t: t.zeros(6, 3), ValueError, r"x_t: expected shape \(B, I\) = \(6, 4\), got \(6, 3\)"),
        (lambda t: t.zeros(1, 6, 4), ValueError, r"x_t: expected shape \(B, I\), got \(1, 6, 4\)"),
        (lambda t: t.zeros(5, 4), ValueError, "x_t: expected the stepper's batch size, B = 6, got B = 5"),
        (lambda _: None, TypeError, "x_t: expected an array on GPU 0"),
    ],
)
def test_a_bad_step_is_named_and_changes_nothing(tensors: Any, x: Any, kind: type, said: str) -> None:
    _, _, state, layer = layer_of(tensors)
    stepper = layer.stepper(6, state)
    with pytest.raises(kind, match=said):
        stepper(x(tensors))
    assert equal(tensors, stepper.state, state)


def test_other_bad_arguments(tensors: Any) -> None:
    torch = tensors
    x, _, state, layer = layer_of(torch)
    with pytest.raises(TypeError, match="x: expected vectors"):
        layer.forward(torch.zeros(5, 6, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"^x: expected shape"):
        layer.forward(x[0])
    with pytest.raises(ValueError, match=r"^state: expected 2 arrays"):
        layer.forward(x, state[:1])
    with pytest.raises(ValueError, match=r"^batch_size: expected"):
        layer.stepper(-1)
    stepper = layer.stepper(6, state)
    for bad, said in (((state[0], state[1][:5]), r"^state\[1\]: expected shape"), (state[:1], "^state: expected 2")):
        with pytest.raises(ValueError, match=said):
            stepper.reset(bad)
    with pytest.raises(ValueError, match=r"^term: expected shape"):
        stepper.reset(term=torch.zeros(6, 3))
    assert equal(torch, stepper.state, state)
    elsewhere = x[0].clone()
    elsewhere.second = True
    with pytest.raises(TypeError, match=r"x_t: expected an array on GPU 0, as the parameters, got a .* on GPU 1"):
        stepper(elsewhere)


# ---- threads ------------------------------------------------------------------------------------


def test_threads_share_a_layer(tensors: Any) -> None:
    """All in one stream, where two calls at once would write into each other's scratch memory."""
    torch = tensors
    x, _, state, layer = layer_of(torch, shape=(9, 6, 4, 33))
    wanted = layer.forward(x, state)
    steps = [part.clone() for part in layer.step(x[0], state)]
    right = []

    def work() -> None:
        stepper = layer.stepper(6)
        for _ in range(20):
            right.append(equal(torch, layer.forward(x, state), wanted))
            stepper.reset(state)
            stepper(x[0])
            right.append(equal(torch, stepper.state, tuple(steps)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 160
    assert all(right)


def test_scratch_memory_is_kept_for_each_stream(tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, _, _, layer = layer_of(tensors)
    kept = watched(monkeypatch)
    for count in (1, 1, 1):
        layer.forward(x)
        assert kept.count("uint8") == count
    layer.forward(x[:2])  # fits into what is there
    assert kept.count("uint8") == 1
