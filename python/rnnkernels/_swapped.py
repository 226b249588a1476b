"""What `rnnkernels.torch.swap` and `rnnkernels.jax.nnx.swap` say that they did. Not here: what they do."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Swapped"]


@dataclass
class Swapped:
    """What `swap` or its kind did to the layers of a model.

    Attributes
    ----------
    replaced : dict of str to str
        The path of each layer that runs on the engine now, and its class; of flax's layers the cell's.
    left : dict of str to str
        The path of each recurrent layer that was left as it is, and why.
    already : dict of str to str
        The path of each layer that ran on the engine before, and its class. Nothing of it was changed.
    engine : str
        What runs the layers: "rnnkernels", "torch.nn", or what `rnnkernels.torch.quantize` says.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    already: dict[str, str] = field(default_factory=dict)
    engine: str = "rnnkernels"

    def __str__(self) -> str:
        lines = [f"{path or '(the model itself)'}: {name}, on {self.engine}" for path, name in self.replaced.items()]
        lines += [f"{path or '(the model itself)'}: left, {why}" for path, why in self.left.items()]
        if self.already and not self.replaced:
            count = len(self.already)
            lines.append(f"nothing to do for {count} layer{'s' if count > 1 else ''}, on {self.engine} already")
        return "\n".join(lines) or "no recurrent layers"
