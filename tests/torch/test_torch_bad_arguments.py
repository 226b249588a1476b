"""`rnnkernels.torch` refuses what no argument can be, by its name. torch.nn's classes refuse in torch.nn's words."""

from __future__ import annotations

import torch
from bad_values import bad_argument_tests, row

import rnnkernels.torch as rnn

T, B, I, H = 5, 2, 3, 4  # noqa: E741

LAYER = rnn.Recurrent("lstm", I, H)
CELL = rnn.RecurrentCell("lstm", I, H)
X, RESETS = torch.zeros(T, B, I), torch.zeros(T, B, dtype=torch.bool)
STATE = (torch.zeros(1, B, H), torch.zeros(1, B, H))
TERM = torch.zeros(B, 4 * H)
SIZES = {"cell": "lstm", "input_size": I, "hidden_size": H, "bias": True, "proj_size": 0, "cell_clip": 1.0}
INITIAL = {"recurrent": "identity", "forget_bias": 1.0}
MASKS = {"zoneout": 0.1, "recurrent_dropout": 0.1, "per_step": False, "weight_dropout": 0.1}
DEFAULTS = {"cell_clip": "none", "forget_bias": "none negative"}

LOOKING = rnn.AttentionRecurrent("lstm", I, 2, H, hard=True)
FEATURES, MASK, SEEN = torch.zeros(B, 3, 2), torch.ones(B, 3, dtype=torch.bool), tuple(s[0] for s in STATE)

ROWS = [
    row(
        "Recurrent",
        rnn.Recurrent,
        DEFAULTS,
        **SIZES,
        **INITIAL,
        num_layers=1,
        batch_first=False,
        dropout=0.1,
        bidirectional=False,
        **MASKS,
        memory="all",
        products="full",
    ),
    row("RecurrentCell", rnn.RecurrentCell, DEFAULTS, **SIZES, **INITIAL, products="full"),
    row("Quantized", rnn.Quantized, layer=LAYER),
    row("QuantizedCell", rnn.QuantizedCell, layer=CELL),
    row(
        "Quantized.forward",
        rnn.Quantized(LAYER).forward,
        dict.fromkeys(("state", "hx", "lengths", "resets", "reset_state", "term"), "none"),
        input=X,
        state=STATE,
        hx=None,
        lengths=[T, 2],
        resets=RESETS,
        reset_state=STATE,
        term=TERM,
        all_states=False,
    ),
    row(
        "QuantizedCell.forward",
        rnn.QuantizedCell(CELL).forward,
        dict.fromkeys(("state", "hx", "term"), "none"),
        input=X[0],
        state=tuple(s[0] for s in STATE),
        hx=None,
        term=TERM,
    ),
    row("quantize", rnn.quantize, model=torch.nn.GRU(I, H), weights="int8"),
    row(
        "Recurrent.forward",
        LAYER.forward,
        dict.fromkeys(("state", "lengths", "resets", "reset_state", "term"), "none"),
        input=X,
        state=STATE,
        lengths=[T, 2],
        resets=RESETS,
        reset_state=STATE,
        term=TERM,
        all_states=False,
    ),
    row(
        "RecurrentCell.forward",
        CELL.forward,
        dict.fromkeys(("state", "term"), "none"),
        input=X[0],
        state=tuple(s[0] for s in STATE),
        term=TERM,
    ),
    row(
        "AttentionRecurrent",
        rnn.AttentionRecurrent,
        DEFAULTS | dict.fromkeys(("attention_size", "location"), "none"),
        **{name: size for name, size in SIZES.items() if name != "proj_size"},
        **INITIAL,
        feature_size=2,
        scores="additive",
        attention_size=3,
        gated=True,
        location=(1, 3),
        batch_first=False,
        hard=False,
        **MASKS,
    ),
    row(
        "AttentionRecurrent.forward",
        LOOKING.forward,
        dict.fromkeys(("state", "mask", "lengths", "resets", "reset_state", "seed"), "none"),
        x=X,
        features=FEATURES,
        state=SEEN,
        mask=MASK,
        lengths=[T, 2],
        resets=RESETS,
        reset_state=SEEN,
        seed=1,
        greedy=False,
    ),
    row(
        "AttentionRecurrent.stepper",
        LOOKING.stepper,
        dict.fromkeys(("state", "mask", "seed"), "none"),
        features=FEATURES,
        state=SEEN,
        mask=MASK,
        seed=1,
        greedy=False,
    ),
    row("AttentionStepper", LOOKING.stepper(FEATURES), x_t=X[0]),
    row("AttentionStepper.reset", LOOKING.stepper(FEATURES).reset, {"state": "none"}, state=SEEN),
    row("Reinforce", rnn.Reinforce, steps=T, discount=0.5, momentum=0.9),
    row(
        "Reinforce.forward",
        rnn.Reinforce(T).forward,
        {"mask": "none"},
        attention=LOOKING(X, FEATURES)[2],
        reward=torch.zeros(T, B),
        entropy=0.1,
        mask=torch.ones(T, B, dtype=torch.bool),
    ),
    row(
        "swap",
        rnn.swap,
        model=torch.nn.GRU(I, H),
        allow_torch=False,
        products="full",
        memory="all",
        trust_versions=False,
    ),
    row("unswap", rnn.unswap, model=torch.nn.Sequential(rnn.GRU(I, H))),
]

REFUSED_BY_PYTORCH = {"device", "dtype"}

test_the_call_of_each_row_runs, test_a_bad_argument_is_named, test_an_odd_argument_is_named_or_served = (
    bad_argument_tests(ROWS, unlisted=REFUSED_BY_PYTORCH)
)
