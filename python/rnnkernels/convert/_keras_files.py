"""Where Keras layers come from: a layer, a config, a group of an HDF5 file, an ``.h5`` or a ``.keras`` file.

Each gives the layer's class, its config, its arrays and, where it is written down, Keras' version. Keras itself is not
imported; h5py opens files. The two forms of HDF5: one group for each layer with the attribute ``weight_names``
(``.h5``, of Keras 2 and 3), and one with a group ``vars`` for each object (``.weights.h5``, and inside ``.keras``).

Not here: what a config says (_keras_layers.py).
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rnnkernels._scalars import as_items, is_mapping, shown

from ._keras_layers import LAYERS, class_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ENDINGS = (".h5", ".hdf5", ".keras")
_PACKAGES = ("keras", "tf_keras", "tensorflow")
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # of Keras 3 and of Keras 2.12 on


class Source(NamedTuple):
    """A layer: its class, its settings, its arrays in the order of ``get_weights``, and Keras' version or None."""

    class_name: str
    config: Mapping[str, Any]
    arrays: list[Any]
    version: str | None


def is_path(value: Any) -> bool:
    """Whether something is a file and not the name of a cell."""
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith(ENDINGS))


def is_layer(value: Any) -> bool:
    """Whether something is a layer of Keras, or says that it is."""
    return callable(getattr(value, "get_weights", None)) and not isinstance(value, type)


def is_group(value: Any) -> bool:
    """Whether something is a group of an HDF5 file."""
    return is_mapping(value) and hasattr(value, "attrs") and hasattr(value, "file")


def of_layer(layer: Any) -> Source:
    """Return a layer of Keras."""
    kind = type(layer)
    package = kind.__module__.split(".", maxsplit=1)[0]
    if package not in _PACKAGES:
        raise ValueError(
            f"cell: expected a layer of Keras' own, got {kind.__name__} of {kind.__module__}, whose equations may be "
            "others"
        )
    arrays = list(layer.get_weights())
    if not arrays and kind.__name__ in LAYERS:
        raise ValueError("cell: expected a layer with weights, got one that is not built: call it once, or build it")
    version = getattr(sys.modules.get(package), "__version__", None) if package != "tensorflow" else "2"
    return Source(kind.__name__, layer.get_config(), arrays, version)


def of_config(config: Any, weights: Any) -> Source:
    """Return a config with arrays, or with the group that holds them."""
    if weights is None:
        raise ValueError("weights: expected the arrays of the layer beside its config, or their group; got none")
    if is_group(weights):
        return Source(*class_of(config), arrays_of(weights), _written(weights))
    return Source(*class_of(config), list(as_items("weights", weights, "a list of arrays")), None)


def of_group(group: Any, name: str | None) -> Source:
    """Return a layer of an HDF5 file that has the model's config, ``model.save("model.h5")``."""
    text = group.file.attrs.get("model_config")
    if text is None:
        raise ValueError(
            "cell: expected a group of a file that has the model's config, got one of weights alone: "
            "from_keras(config, group)"
        )
    layers = dict(_of_model(json.loads(text)))
    top = group.file.get("model_weights", group.file)
    inside = group.name[len(top.name.rstrip("/")) + 1 :] + "/"
    if name is None:  # of the group itself, or of one in it; a name may have "/" in it
        name = next((each for each in layers if inside.startswith(f"{each}/")), None)
    name = _chosen(name, layers)
    return Source(*class_of(layers[name]), arrays_of(top[name]), _written(group))


def of_file(path: Any, name: str | None) -> Source:
    """Return a layer of a file.

    Raises
    ------
    ImportError
        If h5py is not there.
    ValueError
        If there is no such file, it is none of these, or has no such layer.
    """
    import zipfile  # noqa: PLC0415 - imports much, for .keras files alone

    if not Path(path).is_file():
        raise ValueError(f"cell: expected a file, found none at {str(path)!r:.200}")
    try:
        import h5py  # noqa: PLC0415 - of files alone
    except ImportError as error:
        raise ImportError(f"from_keras reads {Path(path).name} with h5py: pip install h5py") from error
    if not zipfile.is_zipfile(path):
        with _opened(h5py, path) as file:
            return of_group(file, name)
    with zipfile.ZipFile(path) as archive:
        if not {"config.json", "model.weights.h5"} <= set(archive.namelist()):
            raise ValueError(f"cell: expected a .keras file, got an archive of {', '.join(archive.namelist())[:200]}")
        config = json.loads(archive.read("config.json"))
        said = json.loads(archive.read("metadata.json")) if "metadata.json" in archive.namelist() else {}
        with _opened(h5py, io.BytesIO(archive.read("model.weights.h5"))) as file:
            layers = dict(_of_model(config))
            chosen = _chosen(name, layers)
            arrays = arrays_of(_group_of(file, config, chosen))
            return Source(*class_of(layers[chosen]), arrays, said.get("keras_version"))


def arrays_of(group: Any) -> list[Any]:
    """Return the arrays of a layer's group, in the order of ``get_weights``."""
    if "weight_names" in group.attrs:
        return [np.asarray(group[_text(name)]) for name in group.attrs["weight_names"]]
    found = [np.asarray(array) for array in _walk(group)]
    if not found:
        raise ValueError(f"weights: expected a layer's group, with its arrays in it; {group.name!r:.200} has none")
    return found


def _walk(group: Any) -> Iterator[Any]:
    """Yield a group's arrays: kernel, recurrent_kernel, bias, or by number; forward before backward, cell by cell."""
    for key in sorted(group, key=_place):
        each = group[key]
        if is_mapping(each):
            yield from _walk(each)
        else:
            yield each


def _place(key: str) -> tuple[Any, ...]:
    """Return where a name stands among its neighbours."""
    names = ("kernel", "recurrent_kernel", "bias")
    base = key.split(":", maxsplit=1)[0]
    at = names.index(base) if base in names else 0
    numbered = [int(part) if part.isdigit() else 0 for part in re.split(r"([0-9]+)", key)]
    return key.startswith("backward"), at, re.sub(r"[0-9]+", "", key), numbered


def _group_of(file: Any, config: Any, name: str) -> Any:
    """Return a layer's group in the weights of a ``.keras`` file, which calls layers by their classes and numbers."""
    container = next((file[key] for key in _CONTAINERS if key in file), None)
    if container is None:
        raise ValueError(f"cell: expected a file with the layers of a model, got one of {', '.join(file)[:200]}")
    for each in container.values():
        own = each.get("vars")
        if own is not None and _text(own.attrs.get("name", "")) == name:
            return each
    seen: dict[str, int] = {}
    for layer in config["config"]["layers"]:  # which Keras counts class by class
        snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", layer["class_name"]))
        base = snake.lower()
        number = seen[base] = seen.get(base, -1) + 1
        key = f"{base}_{number}" if number else base
        if layer["config"].get("name") == name and key in container:
            return container[key]
    raise ValueError(f"layer: {name!r} has a config in the file and no weights")


def _of_model(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name and the config of each recurrent layer of a model, but for those in models inside it."""
    inner = config.get("config")
    layers = inner if isinstance(inner, list) else (inner or {}).get("layers", ())  # a list: the first Keras 2
    for each in layers:
        if each.get("class_name") in LAYERS:
            yield str(each["config"].get("name", each.get("name"))), each


def _chosen(name: str | None, layers: Mapping[str, Any]) -> str:
    names = ", ".join(layers) or "none"
    if name is None:
        if len(layers) != 1:
            raise ValueError(f"layer: expected a name, for the file has the recurrent layers {names}; got none")
        return next(iter(layers))
    if name not in layers:
        raise ValueError(f"layer: expected one of the file's recurrent layers, {names}; got {shown(name)}")
    return name


def _written(group: Any) -> str | None:
    """Return the version that a file says."""
    places = [group.file.attrs, *([group.file["model_weights"].attrs] if "model_weights" in group.file else [])]
    return next((_text(each["keras_version"]) for each in places if "keras_version" in each), None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@contextmanager
def _opened(h5py: Any, what: Any) -> Iterator[Any]:
    try:
        file = h5py.File(what, "r")
    except OSError as error:
        raise ValueError(f"cell: no HDF5 file: {error!s:.200}") from error
    with file:
        yield file


def major(version: str | None) -> int | None:
    """Return the major number of a version, None of none; raise ValueError where it is no version of Keras 2 or 3."""
    if version is None:
        return None
    found = re.match(r"([0-9]{1,4})(\.|$)", version)
    if found is None or int(found[1]) not in (2, 3):
        raise ValueError(f"keras_version: expected one of Keras 2 or 3, '2.15.0' say; got {shown(version)}")
    return int(found[1])


def sources(cell: Any, weights: Any, layer: str | None) -> list[Source]:
    """Return the layers that someone means: one, or those of a stack."""
    several = isinstance(cell, (list, tuple))
    for each in cell if several else [cell]:
        if not (is_mapping(each) or is_layer(each) or is_path(each)):
            raise TypeError(
                "cell: expected the name of a cell with its weights, or a layer of Keras, a config, a group or a file, "
                f"{', '.join(ENDINGS)}; got {shown(each)}"
            )
    if layer is not None and not (is_group(cell) or is_path(cell)):
        raise ValueError(f"layer: expected None but for a group or a file, which hold several; got {layer!r}")
    if not several:
        return [_source(cell, weights, layer)]
    if not cell:
        raise ValueError("cell: expected a layer or more, got an empty list")
    given = [None] * len(cell) if weights is None else as_items("weights", weights, "a list for each layer")
    if len(given) != len(cell):
        raise ValueError(f"weights: expected those of {len(cell)} layers, got {len(given)}")
    return [_source(one, of, None) for one, of in zip(cell, given, strict=True)]


def _source(cell: Any, weights: Any, layer: str | None) -> Source:
    if is_mapping(cell) and not is_group(cell):
        return of_config(cell, weights)
    if weights is not None:
        raise ValueError(f"weights: expected None beside {shown(cell)}, which has its own")
    if is_group(cell):
        return of_group(cell, layer)
    return of_layer(cell) if is_layer(cell) else of_file(cell, layer)
