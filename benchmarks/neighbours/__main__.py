"""`python -m benchmarks.neighbours [COMMAND] ...`: `run` without a command, or `draw`; see docs/benchmarks.md."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = ("run", "draw")


def main(arguments: list[str]) -> int:
    command = arguments.pop(0) if arguments and arguments[0] in COMMANDS else COMMANDS[0]
    status: int = import_module(f"benchmarks.neighbours.{command}").main(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
