"""`python -m tests.fuzz [--seconds N] [--seed S] [--calls N] [PART ...]`: random calls, compared, for a bounded time.

Parts (parts.py): numpy, onnx, torch, charlm; all by default. A failure is printed with the seed that repeats it:
`python -m tests.fuzz --seed S --calls 1 PART`. Exits with 1 where something failed.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time

from .parts import PARTS


def main() -> int:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each part (default: %(default)g)")
    parser.add_argument("--seed", type=int, help="of the first case; the next are the numbers after it")
    parser.add_argument("--calls", type=int, help="end a part that counts calls once it has made so many")
    options = parser.parse_args()
    unknown = [name for name in options.parts if name not in PARTS]
    if unknown:
        parser.error(f"PART: expected some of {', '.join(PARTS)}; got {', '.join(unknown)}")
    if not options.seconds > 0:
        parser.error(f"--seconds: expected a number above 0, got {options.seconds:g}")
    seed = time.time_ns() % 10**9 * 1000 if options.seed is None else options.seed
    if seed < 0:
        parser.error(f"--seed: expected a number from 0 on, got {seed}")
    failed = 0
    for name in options.parts or PARTS:
        part = PARTS[name]
        if part.missing:
            print(f"{name}: left out, there is no {', '.join(part.missing)}", flush=True)
            failed += name in options.parts
            continue
        print(f"{name}: {options.seconds:g} s from seed {seed}", flush=True)
        run = part.load().run
        counted = {"calls": options.calls} if "calls" in inspect.signature(run).parameters else {}
        failures = run(options.seconds, seed, **counted)
        for failure in failures:
            print(f"{name}: {failure}", flush=True)
        print(f"{name}: {len(failures)} failures", flush=True)
        failed += len(failures)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
