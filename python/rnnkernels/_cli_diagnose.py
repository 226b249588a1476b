"""`rnnkernels diagnose`: how gradients flow through a model or a fresh cell; see `rnnkernels.diagnose`."""

from __future__ import annotations

import argparse
from typing import Any

from rnnkernels import charlm, diagnose
from rnnkernels._cli_cell import SAID as CELLS_SAID
from rnnkernels._cli_cell import cell_named
from rnnkernels._cli_machine import add_machine, argument, set_machine
from rnnkernels.charlm.command_line import as_output, text_of, whole

__all__ = ["add_diagnose"]

FRESH: dict[str, Any] = {"cell": "lstm", "hidden": 128, "layers": 1, "seed": 0}  # without a checkpoint


def add_diagnose(commands: Any) -> None:
    """Add the command to the others."""
    command = commands.add_parser(
        "diagnose",
        help="show how gradients flow through a model, or a fresh cell",
        description="Norms of the gradient of the last step's loss over time, singular values of the recurrent "
        "weights and shares of saturated gates: of a checkpoint on a text, or of a fresh cell on random numbers.",
    )
    command.set_defaults(command=_diagnose)
    command.add_argument("checkpoint", metavar="CHECKPOINT", nargs="?", default=None)
    command.add_argument(
        "--text", default=None, metavar="FILE", help="what the checkpoint reads (default: the held-out text of its run)"
    )
    command.add_argument("--last", action="store_true", help="the last parameters, not those of the best validation")
    fresh = command.add_argument_group("a fresh cell")
    fresh.add_argument(
        "--cell", type=cell_named, default=None, metavar="CELL", help=f"{CELLS_SAID} (default: {FRESH['cell']})"
    )
    for name, text in (("hidden", "units"), ("layers", "layers"), ("seed", "seed of the parameters and the input")):
        fresh.add_argument(f"--{name}", type=whole, default=None, metavar="N", help=f"{text} (default: {FRESH[name]})")
    command.add_argument("--steps", type=whole, default=100, metavar="T", help="of the sequences (default: 100)")
    command.add_argument("--batch", type=whole, default=16, metavar="B", help="sequences (default: 16)")
    command.add_argument(
        "--out", default=None, metavar="FILE", help="a picture (.svg, .png, .pdf), or the table (.txt)"
    )
    add_machine(command)


def _diagnose(options: argparse.Namespace) -> int:
    set_machine(options)
    kinds = (*diagnose.PICTURES, ".txt")
    out = None if options.out is None else as_output("--out", options.out, options.checkpoint, options.text)
    if out is not None and out.suffix.lower() not in kinds:
        raise ValueError(f"--out: expected a name that ends in {', '.join(kinds)}, got {options.out!r}")
    found = _diagnose_fresh(options) if options.checkpoint is None else _diagnose_checkpoint(options)
    table = diagnose.table(found)
    print(table)
    if out is not None and out.suffix.lower() == ".txt":
        out.write_text(f"{table}\n", encoding="utf-8")
    elif out is not None:
        diagnose.draw(found, out)
    if out is not None:
        print(f"\nwritten to {out}")
    return 0


def _diagnose_fresh(options: argparse.Namespace) -> diagnose.Diagnosis:
    if options.text is not None or options.last:
        raise ValueError(
            f"{'--last' if options.text is None else '--text'}: expected a checkpoint to go with it, got none"
        )
    cell, hidden, layers, seed = (
        default if vars(options)[name] is None else vars(options)[name] for name, default in FRESH.items()
    )
    sizes = {"num_layers": layers, "steps": options.steps, "batch": options.batch, "rng": seed}
    with argument("hidden_size", "--hidden"), argument("num_layers", "--layers"), argument("rng", "--seed"):
        return diagnose.of_cell(cell, hidden, **sizes)


def _diagnose_checkpoint(options: argparse.Namespace) -> diagnose.Diagnosis:
    for name in FRESH:
        if vars(options)[name] is not None:
            raise ValueError(f"--{name}: cannot be combined with a checkpoint, which has its own")
    checkpoint = charlm.read_checkpoint(options.checkpoint)
    if options.text is None:
        trainer = charlm.Trainer.from_checkpoint(checkpoint)
        text = trainer.vocabulary.decode(trainer.valid_tokens)
    else:
        text = text_of("--text", options.text)
    return charlm.diagnose(checkpoint.model(best=not options.last), text, steps=options.steps, batch=options.batch)
