"""What `rnnkernels.jax.nnx.swap` says that it did. Not here: what it does (`nnx`)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Swapped:
    """What `swap` did.

    Attributes
    ----------
    replaced : dict of str to str
        The path of each layer that runs on the kernels now, and its cell.
    left : dict of str to str
        The path of each recurrent layer that was left as it is, and why.
    already : dict of str to str
        The path of each layer that ran on the kernels before, and its cell. Nothing of it was changed.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    already: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{path or '(the model itself)'}: {cell}, on rnnkernels" for path, cell in self.replaced.items()]
        lines += [f"{path or '(the model itself)'}: left, {why}" for path, why in self.left.items()]
        if self.already and not self.replaced:
            count = len(self.already)
            lines.append(f"nothing to do for {count} layer{'s' if count > 1 else ''}, on rnnkernels already")
        return "\n".join(lines) or "no recurrent layers"
