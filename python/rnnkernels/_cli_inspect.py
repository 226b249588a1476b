"""`rnnkernels inspect`: a page that colours a text by what a model's units do; see `rnnkernels.charlm.inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rnnkernels import charlm
from rnnkernels._cli_machine import add_machine, move, set_machine
from rnnkernels.charlm.command_line import as_output, text_of, whole

__all__ = ["add_inspect"]


def add_inspect(commands: Any) -> None:
    """Add the command to the others."""
    inspect = commands.add_parser(
        "inspect",
        help="colour a text by what a trained model's units do",
        description="Write a page that colours a text by the activation of one unit after the other, those first that "
        "tell best what is inside a string, a comment or an if header, deeply indented, or far right in its line.",
    )
    inspect.set_defaults(command=_inspect)
    inspect.add_argument("checkpoint", metavar="CHECKPOINT")
    inspect.add_argument("--text", required=True, metavar="FILE", help="what the model reads, from its beginning")
    inspect.add_argument("--out", default="inspect.html", metavar="PAGE", help="(default: inspect.html)")
    inspect.add_argument(
        "--limit", type=whole, default=20_000, metavar="N", help="the most characters of the text (default: 20000)"
    )
    inspect.add_argument(
        "--best", type=whole, default=20, metavar="N", help="units of each property on the page (default: 20)"
    )
    inspect.add_argument(
        "--language",
        choices=charlm.inspect.LANGUAGES,
        default=None,
        help="how strings and comments are found (default: a guess by the file's name and text)",
    )
    inspect.add_argument("--last", action="store_true", help="the last parameters, not those of the best validation")
    add_machine(inspect)


def _inspect(options: argparse.Namespace) -> int:
    set_machine(options)
    for name in ("limit", "best"):
        if vars(options)[name] < 1:
            raise ValueError(f"--{name}: expected at least 1, got {vars(options)[name]}")
    out = as_output("--out", options.out, options.checkpoint, options.text)
    model = charlm.load_model(options.checkpoint, best=not options.last)
    text = text_of("--text", options.text)[: options.limit]
    if not text:
        raise ValueError(f"--text {options.text}: expected at least one character, got an empty file")
    move(model)
    language = options.language or charlm.inspect.language_of(text, options.text)
    found = charlm.inspect.activations(model, text)
    known = charlm.inspect.labels(text, language)
    areas = charlm.inspect.probes(found, known)
    stack = model.stack
    heading = f"{Path(options.checkpoint).name} reads {Path(options.text).name}"
    note = f"{stack.cell}, {stack.num_layers} x {stack.hidden_size} units; {len(text):,} characters, read as {language}"
    out.write_text(
        charlm.inspect.page(text, found, known, areas, best=options.best, title=heading, note=note), encoding="utf-8"
    )
    print(f"{note}\n\n{'':38}{'of the text':>12}  {'best unit':18}{'AUC':>6}")
    for name, says in charlm.inspect.PROPERTIES.items():
        telling = charlm.inspect.telling(areas[name])
        unit = int(telling.argmax())
        way = "high" if areas[name][unit] > 0.5 else "low"
        shown = f"{found.units[unit]!s:18}{telling[unit]:6.3f}, {way} there" if known[name].any() else "none has it"
        print(f"{says:38}{known[name].mean():12.1%}  {shown}")
    print(f"\nwritten to {out}")
    return 0
