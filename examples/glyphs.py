"""The ten digits as bitmaps of 7 by 5 pixels, from which examples draw their pictures. No example itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

ROWS = """
.###. ..#.. .###. .###. ...#. ##### .###. ##### .###. .###.
#...# .##.. #...# #...# ..##. #.... #.... ....# #...# #...#
#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...#
#.#.# ..#.. ..##. ..##. #..#. ....# ####. ..#.. .###. .####
##..# ..#.. .#... ....# ##### ....# #...# ..#.. #...# ....#
#...# ..#.. #.... #...# ...#. #...# #...# .#... #...# ....#
.###. .###. ##### .###. ...#. .###. .###. .#... .###. .###.
"""

HEIGHT, WIDTH = 7, 5


def digits() -> npt.NDArray[np.float32]:
    """Return the digits 0 to 9, shape (10, HEIGHT, WIDTH), with 1 for ink."""
    rows = [[[character == "#" for character in part] for part in line.split()] for line in ROWS.split("\n") if line]
    return np.array(rows, np.float32).transpose(1, 0, 2).copy()
