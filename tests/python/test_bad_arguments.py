"""Every public function of the NumPy API refuses what no argument can be, by its name: support/bad_values."""

from __future__ import annotations

import inspect
import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bad_values import bad_argument_tests, refusal, row

import rnnkernels as rk
from rnnkernels import bptt, convert, optim
from rnnkernels.stack import Stack

T, B, I, H = 5, 2, 3, 4  # noqa: E741

X = np.zeros((T, B, I), np.float32)
P = rk.init_params("lstm", I, H, rng=0)
STATE = (np.zeros((B, H), np.float32), np.zeros((B, H), np.float32))
TERM = np.zeros((B, 4 * H), np.float32)
RUN = rk.forward("lstm", X, P)
SMALL = rk.forward("lstm", X, P, memory="states")
D = np.ones((T, B, H), np.float32)
PREPARED = rk.Prepared("lstm", P)
STACK = Stack("lstm", I, H, rng=0)
STACK_RUN = STACK.forward(X)
PREPARED_STACK = STACK.prepare()
GRADS = STACK.backward(STACK_RUN, D).params
RESETS = np.zeros((T, B), bool)
TREE = convert.to_flax("lstm", P)
LASAGNE = {"W_in_to_hid": np.ones((I, H)), "W_hid_to_hid": np.ones((H, H)), "b": np.ones(H)}
MADMOM = SimpleNamespace(  # what a RecurrentLayer of madmom holds
    weights=LASAGNE["W_in_to_hid"], recurrent_weights=LASAGNE["W_hid_to_hid"], bias=LASAGNE["b"], activation_fn=np.tanh
)
READOUT = rk.Readout(H, 3, rng=0)


def loss(output: Any, start: int) -> Any:
    return 0.0, np.ones_like(output), {}


def flags(*names: str) -> dict[str, str]:
    """Arguments that None stands for a default of."""
    return dict.fromkeys(names, "none")


def set_rate(lr: Any) -> None:
    optim.SGD(STACK.params).lr = lr


class Submits:
    """An executor whose threads never come."""

    def submit(self, fn: Any, /, *args: Any) -> None:
        """Leave it."""


def on_executor(executor: Any, threads: Any) -> None:
    with rk.on_executor(executor, threads):
        pass


SEQUENCE = {"state": STATE, "lengths": [T, 2], "resets": RESETS, "reset_state": STATE, "reverse": False}
OPTIONAL = flags("state", "lengths", "resets", "reset_state", "term", "noise", "cell_clip")
OPTIMISERS: dict[Any, dict[str, Any]] = {
    optim.SGD: {"momentum": 0.5, "nesterov": True},
    optim.Adagrad: {"eps": 1e-8, "initial_accumulator_value": 0.0},
    optim.RMSprop: {"alpha": 0.9, "eps": 1e-8, "momentum": 0.1},
    optim.Adam: {"beta1": 0.9, "beta2": 0.9, "eps": 1e-8},
}
ADAM = optim.Adam(STACK.params)
DRIVER: dict[str, Any] = {
    "model": STACK,
    "loss": loss,
    "state": None,
    "rng": None,
    "lengths": None,
    "memory": "all",
    "products": "full",
}
DRIVEN = flags("state", "rng", "lengths", "resets")
WINDOWS = {**DRIVER, "k1": 2, "k2": 3}
MASKS = {"zoneout": 0.1, "recurrent_dropout": 0.1, "per_step": False, "weight_dropout": 0.1}
SIZES = {"cell": "lstm", "input_size": I, "hidden_size": H, "bias": True, "proj_size": None}
SEEDS = {"rng": "none huge"}  # a seed may be any number

ROWS = [
    row(
        "forward",
        rk.forward,
        OPTIONAL,
        **{"cell": "lstm", "x": X, "params": P, **SEQUENCE, "training": True, "term": TERM},
        noise=rk.Noise(1),
        cell_clip=1.0,
        all_states=False,
        memory="all",
        products="full",
    ),
    *(
        row(
            name,
            rk.backward,
            flags("d_output", "d_state", "d_states"),
            run=run,
            d_output=D,
            d_state=STATE,
            d_states=(None, D),
            need_x=True,
            norms=False,
        )
        for name, run in (("backward", RUN), ("backward of states", SMALL))
    ),
    row(
        "step",
        rk.step,
        flags("state", "term", "noise", "cell_clip"),
        term=TERM,
        cell="lstm",
        x_t=X[0],
        params=P,
        state=STATE,
        noise=rk.Noise(1),
        cell_clip=1.0,
        products="full",
    ),
    row("cell_info", rk.cell_info, cell="lstm"),
    row("parameter_shapes", rk.parameter_shapes, flags("proj_size"), **SIZES),
    row(
        "parameter_shapes of a projected cell",
        rk.parameter_shapes,
        **SIZES | {"cell": "lstm_projected", "proj_size": 2},
    ),
    row(
        "init_params",
        rk.init_params,
        {**flags("proj_size"), **SEEDS, "forget_bias": "none negative"},
        **SIZES,
        rng=0,
        dtype="float32",
        recurrent="identity",
        forget_bias=1.0,
    ),
    row(
        "training_bytes",
        rk.training_bytes,
        cell="lstm",
        steps=T,
        batch=B,
        hidden_size=H,
        dtype="float32",
        memory="all",
        zoneout=False,
    ),
    row("Noise", rk.Noise, seed=1, layer=0, first_step=0, expected=False, **MASKS),
    row("Noise.after", rk.Noise(1).after, steps=1),
    row("Noise.rates", rk.Noise(1).rates, cell="lstm"),
    row("on_executor", on_executor, {"threads": "none"}, executor=Submits(), threads=2),
    row("set_num_threads", rk.set_num_threads, n=1),
    row("set_backend", rk.set_backend, name="cpu"),
    row("set_instruction_set", rk.set_instruction_set, name=rk.instruction_set()),
    row(
        "Prepared",
        rk.Prepared,
        flags("noise", "cell_clip"),
        cell="lstm",
        params=P,
        weights="full",
        products="full",
        tokens=False,
        noise=rk.Noise(1),
        cell_clip=1.0,
    ),
    row("quantize_params", rk.quantize_params, cell="lstm", params=P),
    row(
        "PreparedStack",
        rk.PreparedStack,
        flags("noise", "cell_clip"),
        cell="lstm",
        params=STACK.params,
        weights="full",
        products="full",
        tokens=False,
        noise=rk.Noise(1),
        cell_clip=1.0,
    ),
    row(
        "PreparedStack.forward",
        PREPARED_STACK.forward,
        flags("state", "lengths", "resets", "reset_state", "term"),
        x=X,
        term=[TERM],
        state=(STATE,),
        lengths=[T, 2],
        resets=RESETS,
        reset_state=(STATE,),
    ),
    row("Stack.stepper", STACK.stepper, flags("state"), batch_size=B, state=(STATE,)),
    row("PreparedStack.stepper", PREPARED_STACK.stepper, flags("state"), batch_size=B, state=(STATE,)),
    row("StackStepper", rk.StackStepper, flags("state"), stack=PREPARED_STACK, batch_size=B, state=(STATE,)),
    row("StackStepper()", PREPARED_STACK.stepper(B).__call__, x_t=X[0]),
    row("StackStepper.reset", PREPARED_STACK.stepper(B).reset, flags("state"), state=(STATE,)),
    row(
        "Prepared.forward",
        PREPARED.forward,
        flags("state", "lengths", "resets", "reset_state", "term"),
        **{"x": X, **SEQUENCE, "term": TERM},
    ),
    row("Prepared.step", PREPARED.step, flags("state", "term"), x_t=X[0], state=STATE, term=TERM),
    row("Prepared.stepper", PREPARED.stepper, flags("state", "term"), batch_size=B, state=STATE, term=TERM),
    row("Stepper", rk.Stepper, flags("state", "term"), layer=PREPARED, batch_size=B, state=STATE, term=TERM),
    row("Stepper()", PREPARED.stepper(B).__call__, x_t=X[0]),
    row("Stepper.reset", PREPARED.stepper(B).reset, flags("state", "term"), state=STATE, term=TERM),
    row(
        "Stack",
        Stack,
        {**flags("proj_size", "cell_clip"), **SEEDS, "forget_bias": "none negative"},
        **SIZES,
        **MASKS,
        recurrent="orthogonal",
        forget_bias=1.0,
        num_layers=1,
        dropout=0.1,
        cell_clip=1.0,
        bidirectional=False,
        dtype="float32",
        rng=0,
    ),
    row("Stack.to", Stack("lstm", I, H).to, place="cpu", library="torch"),
    row(
        "Stack.forward",
        STACK.forward,
        flags("state", "lengths", "resets", "reset_state", "term", "rng"),
        x=X,
        term=[TERM],
        state=(STATE,),
        training=True,
        rng=None,
        lengths=[T, 2],
        resets=RESETS,
        reset_state=(STATE,),
        all_states=False,
        memory="all",
        products="full",
    ),
    row("Stack.prepare", STACK.prepare, weights="full", products="full", tokens=False),
    row(
        "Stack.backward",
        STACK.backward,
        flags("d_output", "d_state", "d_outputs"),
        run=STACK_RUN,
        d_output=D,
        d_state=(STATE,),
        d_outputs=[D],
        need_x=True,
        norms=False,
    ),
    row("Stack.step", STACK.step, flags("state", "term"), x_t=X[0], state=(STATE,), term=TERM, products="full"),
    row("Stack.training_bytes", STACK.training_bytes, steps=3, batch=2, memory="all", tokens=False),
    row("full_bptt", bptt.full_bptt, DRIVEN, x=X, resets=None, **DRIVER),
    row("truncated_bptt", bptt.truncated_bptt, DRIVEN, x=X, resets=None, **WINDOWS),
    row("windows", bptt.windows, DRIVEN, chunks=[X], resets=[RESETS], **WINDOWS),
    row(
        "Readout",
        rk.Readout,
        {"name": "text", **SEEDS},
        input_size=H,
        output_size=3,
        loss="cross_entropy",
        bias=True,
        name="readout",
        reuse=False,
        dtype="float32",
        rng=0,
    ),
    row(
        "Readout.of",
        rk.Readout.of,
        {"name": "text", **flags("bias")},
        weight=np.ones((2, 3)),
        bias=np.ones(2),
        loss="cross_entropy",
        name="readout",
        reuse=False,
    ),
    *(row(call.__name__, call, output=D) for call in (READOUT.logits, READOUT.probabilities)),
    row("Readout.backward", READOUT.backward, output=D, d_logits=np.ones((T, B, 3), np.float32)),
    row("Readout.sample", READOUT.sample, SEEDS, output=D, temperature=1.0, rng=0),
    *(
        row(
            call.__name__,
            call,
            flags("mask", "lengths"),
            output=D,
            targets=np.ones((T, B), int),
            mask=~RESETS,
            lengths=[T, 2],
            reduction="mean",
        )
        for call in (READOUT.loss, READOUT.loss_and_gradients)
    ),
    row(
        "Readout.against",
        READOUT.against,
        flags("mask", "lengths"),
        targets=np.ones((T, B), int),
        mask=~RESETS,
        lengths=[T, 2],
        reduction="mean",
    ),
    *(row(kind.__name__, kind, params=dict(STACK.params), lr=0.1, **more) for kind, more in OPTIMISERS.items()),
    row("Adam.step", ADAM.step, grads=GRADS),
    row("Adam.load_state_dict", ADAM.load_state_dict, state=ADAM.state_dict()),
    row("Adam.lr", set_rate, lr=0.1),
    row("clip_by_global_norm", optim.clip_by_global_norm, grads=dict(GRADS), max_norm=1.0),
    row("clip_by_value", optim.clip_by_value, grads=dict(GRADS), limit=1.0),
    row("from_torch", convert.from_torch, cell="lstm", state_dict=STACK.params, prefix="", stacked=False),
    row(
        "to_torch",
        convert.to_torch,
        {"prefix": "text"},
        cell="lstm",
        params=P,
        prefix="",
        module="layer",
        tensors=False,
    ),
    row("in_keras_order", convert.in_keras_order, output=D),
    row(
        "from_keras",
        convert.from_keras,
        {"layer": "none", "keras_version": "none"},
        cell="lstm",
        weights=convert.to_keras("lstm", P),
        layer=None,
        keras_version=None,
        stacked=False,
    ),
    row(
        "from_keras, a config",
        convert.from_keras,
        {"layer": "none", "keras_version": "none"},
        cell={"class_name": "SimpleRNN", "config": {"units": 4, "activation": "tanh"}},
        weights=convert.to_keras("rnn_tanh", rk.init_params("rnn_tanh", 3, 4, rng=0)),
        layer=None,
        keras_version="2.15.0",
        stacked=False,
    ),
    row("from_flax", convert.from_flax, cell="lstm", tree=TREE, stacked=False),
    row("to_flax", convert.to_flax, cell="lstm", params=P, form="linen"),
    row("from_haste", convert.from_haste, cell="lstm", arrays=convert.to_haste("lstm", P), stacked=False),
    row(
        "gates",
        convert.gates,
        flags("bias_ih", "bias_hh") | {"forget_bias": "negative"},
        cell="lstm",
        weight_ih=P["weight_ih"],
        weight_hh=P["weight_hh"],
        bias_ih=P["bias_ih"],
        bias_hh=P["bias_hh"],
        order="ifgo",
        transposed=False,
        z_keeps=True,
        forget_bias=0.0,
    ),
    row(
        "from_haiku",
        convert.from_haiku,
        cell="lstm",
        params={"lstm/linear": {"w": np.concatenate([P["weight_ih"], P["weight_hh"]], axis=1).T, "b": P["bias_ih"]}},
        stacked=False,
    ),
    row(
        "from_keras_cudnn",
        convert.from_keras_cudnn,
        cell="lstm",
        weights=[P["weight_ih"].T, P["weight_hh"].T, np.concatenate([P["bias_ih"], P["bias_hh"]])],
        stacked=False,
    ),
    row(
        "from_dynet",
        convert.from_dynet,
        layers=[[P["weight_ih"], P["weight_hh"], P["bias_ih"]]],
        stacked=False,
    ),
    row("from_lasagne", convert.from_lasagne, cell="rnn_tanh", arrays=LASAGNE, stacked=False),
    row("from_madmom", convert.from_madmom, layer=MADMOM),
    row("from_onnx", convert.from_onnx, cell="lstm", arrays=convert.to_onnx("lstm", P), stacked=False),
    *(row(f.__name__, f, cell="lstm", params=P) for f in (convert.to_keras, convert.to_haste, convert.to_onnx)),
]

# Public, and without arguments that a caller passes.
NO_ARGUMENTS = {
    "FromKeras",
    "FromMadmom",
    "Gradients",
    "Run",
    "backend",
    "backends",
    "cells",
    "instruction_set",
    "instruction_sets",
    "num_threads",
    "share_blas",
    "unshare_blas",
}
TYPES = {"Loss", "Model", "Result", "Optimizer"}  # what is passed and returned; abstract


def test_the_table_has_every_public_function() -> None:
    public = {
        name
        for module in (rk, bptt, optim, convert)
        for name in module.__all__
        if callable(getattr(module, name, None))
        and not inspect.ismodule(getattr(module, name))
        # What a cell is written with has rows of its own: tests/equations/test_equations_bad_arguments.py.
        and not getattr(module, name).__module__.startswith("rnnkernels.equations.")
    }
    assert public - {each.name for each in ROWS} == (NO_ARGUMENTS | TYPES) & public


test_the_call_of_each_row_runs, test_a_bad_argument_is_named, test_an_odd_argument_is_named_or_served = (
    bad_argument_tests(ROWS)
)


def test_the_check_of_names_can_fail() -> None:
    def wrong(x: Any, flag: Any) -> Any:
        if flag:
            raise KeyError(0)
        return float(x)

    each = row("wrong", wrong, x=1.0, flag=False)
    assert refusal(each, "x", "huge") == "wrong(x=huge): OverflowError: int too large to convert to float"
    assert refusal(each, "x", "negative") == "wrong(x=negative): ran"
    assert refusal(each, "flag", "text") == "wrong(flag=text): KeyError: 0"


# ---- what is mistaken in the first hour ------------------------------------------------------------

# Without their types, which say what these calls get wrong.
forward, backward, step = (getattr(rk, name) for name in ("forward", "backward", "step"))
full_bptt, windows = (getattr(bptt, name) for name in ("full_bptt", "windows"))
to_keras = getattr(convert, convert.to_keras.__name__)
sgd, adam, clip = (getattr(optim, name) for name in ("SGD", "Adam", "clip_by_global_norm"))


def trained(returned: Any) -> Any:
    return full_bptt(STACK, X, lambda output, _: returned(output))


MISTAKES: dict[str, tuple[Any, str]] = {
    "a Stack for its parameters": (
        lambda: adam(STACK),
        "params: expected a mapping .* got Stack; its attribute params",
    ),
    "gradients for their parameters'": (
        lambda: adam(STACK.params).step(STACK.backward(STACK_RUN, D)),
        "grads: expected a mapping .* got StackGradients; its attribute params",
    ),
    "gradients to clip": (lambda: clip(STACK.backward(STACK_RUN, D), 1.0), "grads: .* its attribute params"),
    "arguments the other way round": (lambda: clip(1.0, GRADS), "grads: expected a mapping .* got 1.0"),
    "a Stack converted": (lambda: to_keras("lstm", STACK), "params: .* its attribute params"),
    "a stack's parameters for one layer": (
        lambda: forward("lstm", X, STACK.params),
        "params: .* those of a Stack are for its own methods",
    ),
    "names for parameters": (lambda: forward("lstm", X, tuple(P)), "params: expected a mapping"),
    "a dict of states": (lambda: forward("lstm", X, P, {"h": STATE[0], "c": STATE[1]}), "state: expected a tuple"),
    "a dict of gradients": (lambda: backward(RUN, D, d_states={"h": None, "c": None}), "d_states: expected a tuple"),
    "parameters for a model": (lambda: full_bptt(P, X, loss), "model: expected one with forward and backward"),
    "a cell for a model": (lambda: full_bptt("lstm", X, loss), "model: expected .* got 'lstm'"),
    "an array for chunks": (lambda: windows(STACK, X, loss, k1=2, k2=2), r"chunks: .* got one ndarray: \[x\]"),
    "no gradients of the loss": (lambda: trained(lambda output: (0.5, output)), "loss: .* got 2 values"),
    "a loss that is a number": (lambda: trained(lambda _: 0.5), "loss: expected it to return"),
    "a loss of None": (lambda: trained(lambda _: None), "loss: expected it to return"),
    "None for no gradients": (
        lambda: trained(lambda output: (0.5, output, None)),
        "loss: expected a mapping .* {} where it has none, got None",
    ),
    "a list for no gradients": (lambda: trained(lambda output: (0.5, output, [])), "loss: expected a mapping"),
    "a loss that is a text": (
        lambda: trained(lambda output: ("0.5", output, {})),
        "loss: expected a number, got '0.5'",
    ),
    "a number as a text": (lambda: sgd(STACK.params, "0.1"), "lr: expected a number, got '0.1'"),
    "an empty text for a flag": (lambda: backward(RUN, D, norms=""), "norms: expected True or False, got ''"),
    "a wrong I of one step": (lambda: step("lstm", X[0, :, :2], P), r"x_t: expected shape \(B, I\) = \(2, 3\)"),
    "a wrong I of a prepared step": (lambda: PREPARED.step(X[0, :, :2]), r"x_t: expected shape \(B, I\) = \(2, 3\)"),
    "a wrong B of a stepper": (lambda: PREPARED.stepper(3)(X[0]), r"x_t: expected the stepper's batch size, B = 3"),
    "names that are numbers": (lambda: sgd({0: np.zeros(2)}).step({1: np.zeros(2)}), "grads: expected .* extra: 1"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_likely_mistake_is_said_in_words(mistake: str) -> None:
    call, message = MISTAKES[mistake]
    with pytest.raises((TypeError, ValueError)) as info:
        call()
    assert re.match(message, str(info.value)), info.value


# ---- what is taken ---------------------------------------------------------------------------------


def test_numbers_of_other_libraries_and_kinds_are_numbers() -> None:
    assert rk.Noise(1, zoneout=np.array(0.1)).rates("lstm") == [0.1, 0.1]  # type: ignore[arg-type]
    assert optim.SGD(STACK.params, np.float32(0.5)).lr == 0.5  # type: ignore[arg-type]
    assert optim.clip_by_global_norm({}, math.inf) == 0
    for flag in (np.True_, 1, np.array(True)):
        np.testing.assert_array_equal(rk.forward("lstm", X, P, reverse=flag).output, RUN.output[::-1])  # type: ignore[arg-type]
    assert rk.parameter_shapes("lstm", np.int64(I), np.array(H)) == rk.parameter_shapes("lstm", I, H)  # type: ignore[arg-type]


def test_an_integer_whose_text_python_does_not_make_is_refused_in_words() -> None:
    for name in ("input_size", "hidden_size"):
        with pytest.raises(ValueError, match=f"^{name}: expected at most .* got an integer of 33220 bits"):
            rk.init_params("lstm", **{"input_size": I, "hidden_size": H, name: 10**10000})  # type: ignore[arg-type]
