"""A process that keeps a processor busy while it is told to: b"1" spins, b"0" rests, the end of its input ends it.

It is run as a program and needs Python alone. Whoever started it may die in any way: the pipe closes, and it ends.
"""

from __future__ import annotations

import os
import select

SPINS = 20_000  # between two looks at the input: some 0.3 ms


def main() -> None:
    spinning = False
    while True:
        if spinning and not select.select([0], [], [], 0)[0]:
            for _ in range(SPINS):
                pass
            continue
        word = os.read(0, 1)
        if not word:
            return
        spinning = word == b"1"


if __name__ == "__main__":
    main()
