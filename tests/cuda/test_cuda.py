"""The CUDA backend where there is no GPU: why none serves, and all of its code but CUDA's, emulated on the host.

The emulated module is that of the preset cuda-emulated; without it those tests skip. `./check emulated` builds it, runs
these and, through it, tests/kernels (support/cuda_emulated.py). Tensors of the CPU stand for those of a
GPU here: their memory is the emulated device's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from problems import FORMS, make, on_device

import rnnkernels as rk
from rnnkernels import cuda
from rnnkernels.cuda import arrays, extension

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (5, 6, 4, 17)


# ---- where nothing serves -----------------------------------------------------------------------


def without_module(code: str) -> str:
    """What a fresh process prints in which the backend was not built."""
    script = f"import sys; sys.modules['rnnkernels._cuda'] = None\n{code}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_reason_is_said_where_it_was_not_built() -> None:
    out = without_module(
        "import rnnkernels as rk; from rnnkernels import cuda\n"
        "print(rk.backends()['cuda']); print(cuda.available())\n"
        "try: rk.set_backend('cuda')\n"
        "except cuda.CudaUnavailableError as error: print(error)\n"
        "print(rk.backend())"
    )
    said, available, error, backend = out.splitlines()
    assert available == "False"
    assert backend == "cpu"
    assert said in error
    assert error.startswith("name: expected a backend that serves here")


@pytest.mark.parametrize("name", ["tpu", 3])
def test_backends_have_names(name: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="name: expected"):
        rk.set_backend(name)


def test_without_a_gpu_nothing_imports_the_extension() -> None:
    code = "import sys, rnnkernels as rk; rk.init_params('gru', 2, 3); print('rnnkernels._cuda' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "False", done.stderr


def test_the_command_line_says_why_not(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnkernels import cli

    before = rk.backend()
    monkeypatch.setattr(extension, "_import", lambda: "not built: because")
    assert cli.main(["train", "--backend", "cuda"]) == 1
    assert "got 'cuda': not built: because" in capsys.readouterr().err
    assert rk.backend() == before


# ---- emulated -----------------------------------------------------------------------------------


def test_the_module_says_what_there_is(emulated: Any) -> None:
    assert cuda.available()
    assert [d.capability for d in cuda.devices()] == [(9, 0), (9, 0)]
    assert cuda.kernels() == ("reference", "products", "resident", "grid")
    assert cuda.kernel() == "auto"
    assert emulated.versions() == {"runtime": 13000, "driver": 13000}
    assert "rnnkernels[cuda13]" in cuda.summary()
    with pytest.raises(ValueError, match="name: expected one of reference, products, resident, grid, auto, got 'x'"):
        cuda.set_kernel("x")


def test_the_plan_is_a_function_of_problem_and_card(emulated: Any) -> None:
    card = cuda.Device("a card that is not here", (7, 5), 40, 1 << 30)
    for device in (None, card):
        assert cuda.best_kernel(100, 32, 256, 256, device=device) == "products"
    with pytest.raises(ValueError, match="dtype: expected"):
        cuda.best_kernel(1, 1, 1, 1, "int8")


def test_the_plan_is_asked_unless_a_kernel_is_named(emulated: Any) -> None:
    """By the memory that a call needs: that of products has cuBLAS's part in it."""
    needs = {}
    for name in ("auto", *cuda.kernels()):
        cuda.set_kernel(name)
        needs[name] = cuda.call_bytes("lstm", 3, 2, 4, 5)
    assert needs["auto"] == needs["products"] != needs["reference"]


def test_the_cells_are_the_cpus(emulated: Any) -> None:
    from rnnkernels import _cpu

    assert emulated.cells() == _cpu.cells()


def test_memory_that_there_is_not(emulated: Any) -> None:
    with pytest.raises(cuda.CudaError, match="cudaErrorInvalidDevice"):
        emulated.Memory(7, 8)
    with pytest.raises(ValueError, match="nbytes: expected 0 or more"):
        emulated.Memory(0, -1)


@pytest.mark.parametrize("cell", FORMS)
def test_numpy_arrays_are_copied_there_and_back(emulated: Any, cell: str) -> None:
    p = make(cell, SHAPE)
    wanted = p.results()
    rk.set_backend("cuda")
    try:
        found = p.results()
    finally:
        rk.set_backend("cpu")
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-9, atol=1e-11, err_msg=name)


def test_the_language_model_trains_on_it(
    emulated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("safetensors")
    pytest.importorskip("tqdm")
    from rnnkernels import charlm, cli

    monkeypatch.chdir(tmp_path)
    Path("text.py").write_text("def f(x):\n    return x + 1\n" * 60, encoding="utf-8")
    shared = "train --text text.py --hidden 8 --batch 3 --seq-length 12 --epochs 1 --sample-length 0 --dtype float64"
    losses = []
    for backend in ("cpu", "cuda"):
        try:
            code = cli.main([*shared.split(), "--backend", backend, "--checkpoint", f"{backend}.safetensors"])
        finally:
            rk.set_backend("cpu")
        assert code == 0, capsys.readouterr().err
        losses.append(charlm.read_checkpoint(Path(f"{backend}.safetensors")).tensors)
    for name, value in losses[0].items():
        np.testing.assert_allclose(losses[1][name], value, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("memory", ["all", "states", "replay"])
@pytest.mark.parametrize("options", ["dense", "lengths", "resets", "reverse"])
@pytest.mark.parametrize("cell", FORMS)
def test_tensors_are_used_where_they_lie(tensors: Any, cell: str, options: str, memory: str) -> None:
    p = make(cell, SHAPE)
    rng = np.random.default_rng(0)
    steps, batch = SHAPE[:2]
    given: dict[str, Any] = {"memory": memory}
    if options == "lengths":
        given["lengths"] = [5, 0, 3, 1, 5, 2]
    elif options == "resets":
        given["resets"] = rng.random((steps, batch)) < 0.3
        given["reset_state"] = tuple(rng.standard_normal(s.shape) for s in p.state)
    elif options == "reverse":
        given["reverse"] = True
    run = rk.forward(cell, p.x, p.params, p.state, **given)
    wanted = rk.backward(run, p.d_output, p.d_state)

    x, params, state = on_device(tensors, p, tensors.float64)
    if "reset_state" in given:
        given["reset_state"] = tuple(map(tensors.from_numpy, given["reset_state"]))
    ours = rk.forward(cell, x, params, state, **given)
    assert isinstance(ours.output, tensors.Tensor)
    d_state = tuple(map(tensors.from_numpy, p.d_state))
    found = rk.backward(ours, tensors.from_numpy(p.d_output), d_state)

    def close(a: Any, b: Any, name: str) -> None:
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-9, atol=1e-11, err_msg=name)

    close(ours.output, run.output, "output")
    for k, s in enumerate(run.state):
        close(ours.state[k], s, f"state[{k}]")
        close(found.state[k], wanted.state[k], f"d state[{k}]")
    for name, value in wanted.params.items():
        close(found.params[name], value, name)
    close(found.x, wanted.x, "dx")
    if wanted.reset_state is not None:
        for a, b in zip(found.reset_state or (), wanted.reset_state, strict=True):
            close(a, b, "d reset_state")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("cell", FORMS)
def test_halves_are_storage(tensors: Any, cell: str, dtype: str) -> None:
    """As float32 on the rounded values, but for the rounding of what is stored: h, and gate gradients."""
    torch = tensors
    kind = getattr(torch, dtype)
    p = make(cell, (4, 3, 5, 18) if not rk.cell_info(cell)["direct"] else (4, 3, 18, 18))
    x, params, state = on_device(torch, p, kind)
    wide = (x.float(), {n: w.float() for n, w in params.items()}, tuple(s.float() for s in state))
    d = torch.from_numpy(p.d_output).to(kind)
    run, exact = rk.forward(cell, x, params, state), rk.forward(cell, *wide)
    found, wanted = rk.backward(run, d), rk.backward(exact, d.float())
    assert run.output.dtype == kind
    assert {g.dtype for g in found.params.values()} == {kind}
    unit = 2.0**-8 if dtype == "bfloat16" else 2.0**-11

    def close(a: Any, b: Any, factor: float) -> None:
        assert a.dtype == kind
        error = (a.float() - b).abs().max() / b.abs().max().clamp(min=1e-3)
        assert error < factor * unit, float(error)

    close(run.output, exact.output, 8)
    for name, value in found.params.items():
        close(value, wanted.params[name], 30)
    close(found.x, wanted.x, 30)


def test_a_step(tensors: Any) -> None:
    torch = tensors
    p = make("lstm", SHAPE)
    x, params, state = on_device(torch, p, torch.float64)
    wanted = rk.step("lstm", p.x[0], p.params, p.state)
    found: Any = rk.step("lstm", x[0], params, state)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-12)


def test_tokens_that_there_are_not_are_nan(tensors: Any) -> None:
    torch = tensors
    params = {n: torch.from_numpy(w) for n, w in rk.init_params("gru", 7, 5, rng=0).items()}
    for many in (1, 6):  # gathered, and from a table
        tokens = torch.zeros((2, many), dtype=torch.int32)
        tokens[0, 0] = 7
        run = rk.forward("gru", tokens, params)
        assert torch.isnan(run.output[:, 0]).all()
        assert not torch.isnan(run.output[:, 1:]).any()


def test_what_is_elsewhere_is_named(tensors: Any) -> None:
    torch = tensors
    p = make("lstm", SHAPE)
    x, params, state = on_device(torch, p, torch.float32)
    with pytest.raises(TypeError, match=r"x: expected an array on GPU 0, as the parameters, got a ndarray"):
        rk.forward("lstm", p.x.astype(np.float32), params)
    other = params["weight_hh"].clone()
    other.second = True
    with pytest.raises(
        TypeError, match=r"params\['weight_hh'\]: expected an array on GPU 0, .*, got a Tensor on GPU 1"
    ):
        rk.forward("lstm", x, params | {"weight_hh": other})
    with pytest.raises(TypeError, match=r"x: expected dtype torch.float32, the parameters', got torch.float64"):
        rk.forward("lstm", x.double(), params)
    with pytest.raises(TypeError, match="lengths: expected an array on the host"):
        rk.forward("lstm", x, params, lengths=torch.tensor([1] * 6))
    with pytest.raises(ValueError, match=r"state\[0\]: expected shape \(B, H\) = \(6, 17\), got \(5, 17\)"):
        rk.forward("lstm", x, params, (state[0][:5], state[1]))
    with pytest.raises(TypeError, match=r"expected dtype float32, float64, bfloat16, float16, got torch\.int64"):
        rk.forward("lstm", x, {n: w.long() for n, w in params.items()})
    module = extension.load()
    place = module.Place(0, 0, lambda *_: None)
    one = module.View(x.data_ptr() + 4, [1, 1, 4], "float32", 0, x)
    layer = tuple(arrays.torch_frame(0).view(params[n]) for n in ("weight_ih", "weight_hh"))
    with pytest.raises(ValueError, match="x: expected memory aligned to 16 bytes, got one that begins 4 bytes behind"):
        module.forward(place, "lstm", one, (*layer, *[None] * 5), None, False)


def test_pieces_off_their_alignment_are_copied(tensors: Any) -> None:
    torch = tensors
    p = make("gru", (9, 3, 5, 3), "float32")
    x, params, state = on_device(torch, p, torch.float32)
    shifted = torch.empty(x.numel() + 1)[1:].view(x.shape)
    shifted.copy_(x)
    whole: Any = rk.backward(rk.forward("gru", shifted, params, state), torch.from_numpy(p.d_output))
    pieces: Any = rk.backward(rk.forward("gru", x, params, state, memory="replay"), torch.from_numpy(p.d_output))
    assert torch.equal(whole.x, pieces.x)
    for name, value in whole.params.items():
        torch.testing.assert_close(pieces.params[name], value, rtol=1e-4, atol=1e-5)


def test_no_call_changes_what_it_is_given(tensors: Any) -> None:
    torch = tensors
    p = make("lstm_peephole", SHAPE)
    x, params, state = on_device(torch, p, torch.float32)
    before = [t.clone() for t in (x, *params.values(), *state)]
    run = rk.forward("lstm_peephole", x, params, state, noise=rk.Noise(1, zoneout=0.2, weight_dropout=0.3))
    first, second = (rk.backward(run, torch.ones_like(run.output)) for _ in range(2))
    for a, b in zip((x, *params.values(), *state), before, strict=True):
        assert torch.equal(a, b)
    for name, value in first.params.items():
        assert torch.equal(value, second.params[name])


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("cell", FORMS)
def test_the_memory_of_a_call_is_known_before_it(tensors: Any, cell: str, tokens: bool) -> None:
    torch = tensors
    p = make(cell, SHAPE, tokens=tokens)
    inputs, hidden = p.params["weight_ih"].shape[1], SHAPE[3]
    width = p.state[0].shape[1]
    wanted = cuda.call_bytes(cell, *SHAPE[:2], inputs, hidden, "float64", proj_size=width, tokens=tokens)
    asked: list[int] = []
    allocate = arrays.TorchFrame.allocate

    def counting(self: Any, shape: list[int], dtype: str) -> Any:
        if dtype == "uint8":
            asked.append(shape[0])
        return allocate(self, shape, dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays.TorchFrame, "allocate", counting)
        params = {name: torch.from_numpy(w) for name, w in p.params.items()}
        run: Any = rk.forward(cell, torch.from_numpy(p.x), params)
        rk.backward(run, torch.from_numpy(p.d_output))
        rk.forward(cell, torch.from_numpy(p.x), params, training=False)
    assert asked == [wanted.reserve, wanted.forward, wanted.backward, wanted.inference]


def test_masks_are_the_cpus(tensors: Any) -> None:
    torch = tensors
    p = make("gru", (6, 5, 4, 9), "float32")
    noise = rk.Noise(7, zoneout=0.4, recurrent_dropout=0.3, per_step=True, weight_dropout=0.2)
    host = rk.forward("gru", p.x, p.params, p.state, noise=noise)
    x, params, state = on_device(torch, p, torch.float32)
    ours: Any = rk.forward("gru", x, params, state, noise=noise)
    np.testing.assert_allclose(ours.output.numpy(), host.output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_torch_compiles(tensors: Any, name: str, dtype: str) -> None:
    """Through the operators, whose fake kernels know how large a reserve is; the backward has it as bytes."""
    torch = tensors
    import rnnkernels.torch as rnn
    from rnnkernels._asked import Asked
    from rnnkernels.torch import operators

    torch.manual_seed(0)
    layer = getattr(rnn, name)(5, 7).to(getattr(torch, dtype))
    x = torch.randn(4, 3, 5).to(getattr(torch, dtype))
    weights = {key.removesuffix("_l0"): value for key, value in layer.named_parameters()}
    asked = Asked(name.lower())
    grads = []
    for call in (operators.call, torch.compile(operators.call, backend="aot_eager", fullgraph=True)):
        output = call(asked, x, weights, None, None, None)[0]
        grads.append((output, *torch.autograd.grad(output.float().square().sum(), list(weights.values()))))
    eager = torch.autograd.grad(layer(x)[0].float().square().sum(), list(weights.values()))
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(grads[0][1:], eager, strict=True):  # a layer of the CPU's, as here, computes halves in float32
        torch.testing.assert_close(a, b, rtol=0.1 if dtype == "bfloat16" else 1e-5, atol=1e-2)


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_torch_layers_train(tensors: Any, name: str) -> None:
    torch = tensors
    import rnnkernels.torch as rnn

    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(5, 7, num_layers=2, bidirectional=True, batch_first=True)
    ours = getattr(rnn, name)(5, 7, num_layers=2, bidirectional=True, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 4, 5)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [4, 2, 1], batch_first=True)
    for given in (x, packed):
        results = []
        for layer in (theirs, ours):
            out = layer(given)[0]
            out = out.data if given is packed else out
            grads = torch.autograd.grad(out.square().sum(), list(layer.parameters()))
            results.append((out, *grads))
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
