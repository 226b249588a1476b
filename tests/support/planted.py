"""A character model with a unit that is known to tell quotes: its weights are set, not trained."""

from __future__ import annotations

from rnnkernels.charlm import CharModel, Vocabulary

UNIT = 3
SURE = 50.0  # a sigmoid of it is 1


def quote_model(text: str, hidden: int = 6) -> CharModel:
    """Return an LSTM for a text whose unit `UNIT` is high inside double quotation marks, the others being drawn.

    At a quote i = 1 and f = 0, so that c = g = tanh(5 - 10 h), which turns the sign of h; elsewhere i = 0 and f = 1.
    """
    vocabulary = Vocabulary.from_text(text)
    model = CharModel(vocabulary, cell="lstm", hidden=hidden, rng=0)
    quote = int(vocabulary.encode('"')[0])
    i, f, g, o = (gate * hidden + UNIT for gate in range(4))
    params = model.params
    for row in (i, f, g, o):
        params["weight_hh_l0"][row] = 0
        params["bias_ih_l0"][row] = params["bias_hh_l0"][row] = 0
        params["weight_ih_l0"][row] = 0
    params["weight_ih_l0"][i] = -SURE
    params["weight_ih_l0"][i, quote] = SURE
    params["weight_ih_l0"][f] = SURE
    params["weight_ih_l0"][f, quote] = -SURE
    params["weight_hh_l0"][g, UNIT] = -10
    params["bias_ih_l0"][g] = 5
    params["bias_ih_l0"][o] = SURE
    return model
