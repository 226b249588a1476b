"""What an example returns: the figures it reached, each beside what was wanted.

An example is a module of this folder with

    ROWS = ("adding problem",)   # words of the rows of table.py that it shows
    NEEDS = ("torch",)           # packages without which it cannot run; may be left out

    def run(*, quick: bool = False, pictures: pathlib.Path | None = None) -> list[Figure]

and a docstring whose first line says what it is. A quick run takes seconds, on a smaller task and with a weaker demand;
a full one minutes. Pictures are drawn only where `pictures` is a folder.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Figure"]


@dataclass(frozen=True)
class Figure:
    """A number that an example reached.

    Attributes
    ----------
    name : str
        What was measured: ``"LSTM, mean squared error"``.
    value : float
        What came out.
    wanted : str
        What was wanted, for a reader: ``"< 0.01"``.
    ok : bool
        Whether the value is what was wanted.
    row : str
        Words of the one row of the table that it belongs to, where its example shows several rows; else it belongs to
        all rows of its example.
    """

    name: str
    value: float
    wanted: str
    ok: bool
    row: str = ""

    def __post_init__(self) -> None:
        """NumPy's numbers become Python's, which JSON can write."""
        object.__setattr__(self, "value", float(self.value))
        object.__setattr__(self, "ok", bool(self.ok))

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g} ({self.wanted}{'' if self.ok else ': NOT MET'})"
