"""`python -m benchmarks [COMMAND] [OPTIONS]`: the grid without a command; see docs/benchmarks.md."""

from __future__ import annotations

import sys
from importlib import import_module

COMMANDS = (
    "roofline",
    "scaling",
    "ragged",
    "options",
    "layers",
    "attention",
    "equations",
    "low-precision",
    "long-sequences",
    "models",
    "onnx-models",
    "draw",
    "compare",
    "gpu-floor",
    "gpu-tables",
)


def main(arguments: list[str]) -> int:
    command = arguments.pop(0) if arguments and arguments[0] in COMMANDS else "run"
    try:
        status: int = import_module(f"benchmarks.{command.replace('-', '_')}").main(arguments)
    except ModuleNotFoundError as error:
        print(f"{error}: pip install 'rnnkernels[bench]'", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
