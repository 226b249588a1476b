"""What the config of a Keras layer says: its cells, its directions, and what it does beside its weights, in words.

Keras 2's and 3's configs have the same keys for what is read here. Not here: functions (_keras_cells.py), where
configs and weights come from (_keras_files.py), and what is made of weights (_keras.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnkernels._scalars import is_mapping, shown

from ._keras_cells import cell_of, layout_of_keras
from ._layouts import layout_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ._layouts import Layout

    Config = Mapping[str, Any]

_CUDNN = {"CuDNNLSTM": "lstm", "CuDNNGRU": "gru"}
_PLAIN = ("SimpleRNN", "LSTM", "GRU")
LAYERS = (*_PLAIN, *_CUDNN, "Bidirectional", "RNN")
_MODELS = ("Sequential", "Functional", "Model")

BACKWARDS = (
    "go_backwards=True: run with reverse=True, which leaves each output at its step; Keras gives them in the order in "
    "which it ran, the last step's first: convert.in_keras_order(output)"
)
_LAST = "return_sequences=False: Keras gives the final h alone (state[0] of a run), and no outputs"
_STATEFUL = "stateful=True: Keras begins each batch with the final state of the one before: pass it"
_MERGED = {
    "concat": "",
    "sum": "the sum of the output's two halves",
    "mul": "the product of the output's two halves",
    "ave": "the mean of the output's two halves",
    None: "the output's two halves apart",
}


@dataclass(frozen=True)
class KerasCell:
    """A cell of a layer, and how its arrays lie."""

    cell: str
    layout: Layout
    units: int
    use_bias: bool
    cudnn: bool = False


@dataclass(frozen=True)
class KerasLayer:
    """A layer, or cells on each other in one, of one or two directions.

    Attributes
    ----------
    cells : list of list of KerasCell
        [layer][direction].
    reverse : bool
    merge_mode : str or None
        Of a Bidirectional.
    sequences : bool
        Whether it gives an output for each step.
    notes : list of str
    """

    cells: list[list[KerasCell]]
    reverse: bool = False
    merge_mode: str | None = None
    sequences: bool = True
    notes: list[str] = field(default_factory=list)


def read_layer(class_name: str, config: Config, version: int | None) -> KerasLayer:
    """Return what a layer's config says.

    Raises
    ------
    ValueError
        If the layer is none of Keras' recurrent ones, or something is not served, or a setting is missing.
    """
    if class_name in _MODELS:
        raise ValueError(f"cell: expected a layer, got the model {class_name}: give its layers, a list for a stack")
    if class_name == "Bidirectional":
        return _bidirectional(config, version)
    if class_name == "RNN":
        cells = [[each] for each in _stacked(_inner(config, "cell"), version)]
    elif class_name in LAYERS:
        cells = [[_cell(class_name, config, version)]]
    else:
        raise ValueError(
            f"cell: expected one of Keras' {', '.join(LAYERS)}, got {class_name!r:.60}, whose equations may be others"
        )
    reverse = bool(config.get("go_backwards", False))
    sequences = bool(config.get("return_sequences", False))
    return KerasLayer(cells, reverse, None, sequences, list(_notes(config)))


def class_of(config: Config) -> tuple[str, Config]:
    """Return the class and the settings of a config: that of ``keras.layers.serialize``, or of ``get_config``.

    The latter does not name the class: its keys do.
    """
    if "class_name" in config:
        inner = config.get("config")
        if not is_mapping(inner):
            raise ValueError(f"cell: expected a config of a layer, got no settings of {config['class_name']!r:.60}")
        return str(config["class_name"]), inner  # type: ignore[return-value]
    for key, name in (
        ("merge_mode", "Bidirectional"),
        ("cell", "RNN"),
        ("reset_after", "GRU"),
        ("unit_forget_bias", "LSTM"),
    ):
        if key in config:
            return name, config
    if "units" in config and "activation" in config:
        return "GRU" if "recurrent_activation" in config else "SimpleRNN", config
    raise ValueError(f"cell: expected the config of a recurrent layer, got one with the keys {', '.join(config)[:200]}")


def _cell(class_name: str, config: Config, version: int | None) -> KerasCell:
    """Return the cell of a layer, or of a cell's own config."""
    units = int(_setting(class_name, config, "units"))
    if class_name in _CUDNN:
        cell = _CUDNN[class_name]
        return KerasCell(cell, layout_of("cuDNN's layers in Keras 2", cell), units, use_bias=True, cudnn=True)
    kind = {"SimpleRNN": "rnn_tanh", "LSTM": "lstm"}.get(class_name, "gru")
    if kind == "gru" and not config.get("reset_after", False):  # which the first Keras 2 did not have
        kind = "gru_reset_before"
    keys = ["activation"] if kind == "rnn_tanh" else ["recurrent_activation", "activation"]
    functions = tuple(_function(key, _setting(class_name, config, key)) for key in keys)
    cell = cell_of(kind, functions, version)
    return KerasCell(cell, layout_of_keras(cell), units, bool(config.get("use_bias", True)))


def _stacked(inner: Any, version: int | None) -> Iterator[KerasCell]:
    """Yield the cells of an ``RNN`` layer, from its cell's config: one, or those of a StackedRNNCells."""
    class_name, config = class_of(inner)
    if class_name == "StackedRNNCells":
        for each in config.get("cells", ()):
            yield from _stacked(each, version)
        return
    name = class_name.removesuffix("Cell")
    if name not in _PLAIN:
        raise ValueError(f"cell: expected an RNN of Keras' own cells, got {class_name!r:.60}")
    yield _cell(name, config, version)


def _bidirectional(config: Config, version: int | None) -> KerasLayer:
    """Return both directions of a Bidirectional; Keras 2 writes the second one only where it is another layer."""
    forward = read_layer(*class_of(_inner(config, "layer")), version)
    backward = forward
    if config.get("backward_layer") is not None:
        backward = read_layer(*class_of(_inner(config, "backward_layer")), version)
        if not backward.reverse:
            raise ValueError("cell: expected a backward_layer with go_backwards=True, got one without")
    if forward.reverse:
        raise ValueError("cell: expected a Bidirectional of a layer without go_backwards, got one with it")
    merge_mode = config.get("merge_mode", "concat")
    if merge_mode not in _MERGED:
        raise ValueError(f"cell: expected merge_mode {', '.join(map(repr, _MERGED))}, got {shown(merge_mode)}")
    cells = [one + two for one, two in zip(forward.cells, backward.cells, strict=False)]
    if len(cells) > 1:
        raise ValueError("cell: expected a Bidirectional of one cell each way, got StackedRNNCells: not a Stack")
    notes = [note for note in forward.notes if note != BACKWARDS]
    if _MERGED[merge_mode]:
        notes.append(f"merge_mode={merge_mode!r}: Keras gives {_MERGED[merge_mode]}, output[..., :H] and [..., H:]")
    return KerasLayer(cells, False, merge_mode, forward.sequences, notes)


def _notes(config: Config) -> Iterator[str]:
    """Yield, in words, what a layer does beside its weights."""
    if config.get("go_backwards"):
        yield BACKWARDS
    if not config.get("return_sequences"):
        yield _LAST
    if config.get("stateful"):
        yield _STATEFUL
    rates = [f"{name}={config[name]}" for name in ("dropout", "recurrent_dropout") if config.get(name)]
    if rates:
        yield f"{', '.join(rates)}: in training; evaluation and these parameters have none"


def _inner(config: Config, key: str) -> Any:
    inner = config.get(key)
    if not is_mapping(inner):
        raise ValueError(f"cell: expected a config under {key!r}, got {shown(inner)}")
    return inner


def _setting(class_name: str, config: Config, key: str) -> Any:
    if key not in config:
        raise ValueError(f"cell: expected {key!r} in the config of {class_name}, for it decides what is computed")
    return config[key]


def _function(key: str, value: Any) -> str:
    """Return the name of a function that a config has."""
    if value is None:
        return "linear"
    if is_mapping(value):  # an object, or a function that is not Keras' own
        value = f"{value.get('class_name')} {value.get('config', '')!s:.40}"
    if not isinstance(value, str):
        raise ValueError(f"cell: expected the name of a function for {key}, got {shown(value)}")
    return value
