"""`python -m benchmarks.builds [COMMAND] ...`: `speed` without a command; see docs/benchmarks.md."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("speed", "bits", "cost", "budget")


def main(arguments: list[str]) -> int:
    command = arguments.pop(0) if arguments and arguments[0] in COMMANDS else COMMANDS[0]
    status: int = import_module(f"benchmarks.builds.{command}").main(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
