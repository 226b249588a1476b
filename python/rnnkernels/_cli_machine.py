"""The options of the machine, for each command that computes: `--backend` and `--threads`; see `cli.py`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import rnnkernels as rk
from rnnkernels import charlm
from rnnkernels.charlm.command_line import whole
from rnnkernels.cuda import CudaUnavailableError

__all__ = ["add_machine", "add_weights", "argument", "move", "prepare", "set_machine"]


def add_machine(group: Any) -> None:
    """Add the options to a command's."""
    group.add_argument(
        "--backend",
        choices=("cpu", "cuda"),
        default=None,
        help="cuda: all of it on the first GPU where PyTorch can use it, else the recurrent layers alone "
        "(default: what RNNKERNELS_BACKEND says, else cpu)",
    )
    group.add_argument(
        "--threads", type=whole, default=None, metavar="N", help="threads, at most (default: all that may be used)"
    )


def set_machine(options: argparse.Namespace) -> None:
    """Do what they say."""
    if options.threads is not None:
        with argument("n", "--threads"):
            rk.set_num_threads(options.threads)
    if options.backend is not None:
        with argument("name", "--backend"):
            rk.set_backend(options.backend)


@contextlib.contextmanager
def argument(name: str, option: str) -> Iterator[None]:
    """Have errors about an argument of a function name the option that it comes from."""
    try:
        yield
    except (ValueError, CudaUnavailableError) as error:
        raise type(error)(str(error).replace(f"{name}:", f"{option}:", 1)) from None


def move(model: charlm.CharModel) -> None:
    """Have a model compute on the backend in use."""
    place, remark = charlm.places.choose()
    if remark is not None:
        print(f"note: {remark}", file=sys.stderr)
    model.to(place)


def add_weights(group: Any, text: str) -> None:
    """Add the option of how a model's weights are kept while it is read."""
    group.add_argument("--weights", choices=("full", "bfloat16", "int8"), default="full", help=text)


def prepare(model: charlm.CharModel, options: argparse.Namespace) -> None:
    """Have a model compute with such weights, of bfloat16 in products of bfloat16 where the machine has them."""
    if options.weights != "full":
        model.prepare(weights=options.weights, products="bfloat16" if options.weights == "bfloat16" else "full")
