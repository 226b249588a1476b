"""Random calls, compared with what they must give, for as long as one likes: `python -m tests.fuzz` (__main__.py).

Each part is a module with ``run(seconds, seed) -> list[str]``: the failures, each with the seed that repeats it. The
table of parts is in parts.py.
A short run of each is fuzzed_cases.py, which test_fuzz.py runs; pytest collects nothing else of this folder.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))  # where pytest's configuration has it, too
