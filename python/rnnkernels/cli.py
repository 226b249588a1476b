"""The command line: `rnnkernels train | sample | evaluate | inspect | diagnose | bench | info`.

Arguments and printing only; the work is in `rnnkernels.charlm` and in the package's settings. `inspect`, `diagnose`
and `bench` are in modules of their own (`_cli_inspect` ...), and so are the options of the machine (`_cli_machine`).

Results go to standard output; the progress bar, notes and errors to standard error. Every error is one line, which
names the option, the file or the environment variable. Exit codes: 0 done, 1 failed in the work (a diverged training, a
missing package, a full disk under standard output), 2 a wrong argument or input, 130 stopped by Ctrl-C, 143 by SIGTERM
and 129 by SIGHUP: a stopped run is saved, but it is not done, and `train && sample` should not go on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rnnkernels as rk
from rnnkernels import _threads, charlm
from rnnkernels._blas import shared_blas
from rnnkernels._cli_bench import add_bench
from rnnkernels._cli_cell import SAID as CELLS_SAID
from rnnkernels._cli_cell import cell_named
from rnnkernels._cli_diagnose import add_diagnose
from rnnkernels._cli_inspect import add_inspect
from rnnkernels._cli_machine import add_machine, add_weights, move, prepare, set_machine
from rnnkernels.charlm.blas import one_blas_thread
from rnnkernels.charlm.command_line import Parser, named, number, say_error, whole
from rnnkernels.charlm.output import encodable, to_nowhere
from rnnkernels.cuda import CudaError

__all__ = ["main"]

CHECKPOINT = "charlm.safetensors"
SIZES = ("hidden", "layers", "batch", "seq_length")  # what a run's memory grows with


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code."""
    _hold_standard_descriptors()
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        with one_blas_thread():
            code = command(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except (ValueError, TypeError, NotImplementedError) as error:  # a GPU has not everything
        return _fail(named(error, vars(options)), 2)
    except MemoryError as error:  # of a GPU too
        return _fail(f"out of memory{_sizes(options)}: {error}", 1)
    except (FloatingPointError, ModuleNotFoundError, CudaError) as error:
        return _fail(error, 1)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # PyTorch's, by name: it is imported only where a GPU serves
            raise
        return _fail(error, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `rnnkernels sample ... | head`: the reader has seen enough
        to_nowhere(sys.stdout)
        return 0
    except OSError as error:
        if error.filename is not None:  # a file or a folder that an option names
            return _fail(f"{error.filename}: {error.strerror}", 2)
        to_nowhere(sys.stdout)
        return _fail(f"standard output: cannot be written: {error.strerror or error}", 1)


def _fail(error: object, code: int) -> int:
    say_error("rnnkernels", error)
    return code


def _sizes(options: argparse.Namespace) -> str:
    """Return the options given that a run's memory grows with, in words for a message."""
    given = [f"--{name.replace('_', '-')} {vars(options)[name]}" for name in SIZES if name in options]
    return f" for {', '.join(given)}" if given else ""


def _hold_standard_descriptors() -> None:
    """Give the numbers 0 to 2 to something, where they were closed: a checkpoint must not be standard output."""
    with contextlib.suppress(OSError):  # no such device
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(descriptor)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="rnnkernels", description="Recurrent networks on fused kernels.")
    parser.add_argument("--version", action="version", version=f"rnnkernels {rk.__version__}")
    names = "train | sample | evaluate | inspect | diagnose | bench | info"
    commands = parser.add_subparsers(required=True, metavar=names)
    _add_train(commands)
    _add_sample(commands)
    _add_evaluate(commands)
    add_inspect(commands)
    add_diagnose(commands)
    add_bench(commands)
    info = commands.add_parser("info", help="show version, backends, instruction set and threads")
    info.set_defaults(command=_info)
    return parser


# ---- train --------------------------------------------------------------------------------------


def _add_train(commands: Any) -> None:
    default = charlm.Config()
    train = commands.add_parser(
        "train",
        help="train a character-level language model",
        description="Train a character-level language model; the defaults need ten to fifteen minutes on two cores.",
        argument_default=argparse.SUPPRESS,  # what is not given is not in the namespace: see _changes
    )
    train.set_defaults(command=_train)

    def add(group: Any, flag: str, kind: Callable[[str], Any], text: str, **more: Any) -> None:
        value = getattr(default, flag[2:].replace("-", "_"))
        shown = "none" if value is None else value
        group.add_argument(flag, type=kind, help=f"{text} (default: {shown})" if value != "" else text, **more)

    text = train.add_argument_group("text")
    add(text, "--text", str, "a text file or a folder of them (default: the Python standard library's source)")
    add(text, "--pattern", str, "which files of a folder", metavar="GLOB")
    add(text, "--limit", whole, "the most characters of training text", metavar="N")
    add(text, "--valid-fraction", number, "share of the text held out for validation", metavar="X")
    add(text, "--min-count", whole, "rarer characters become 'unknown'", metavar="N")

    model = train.add_argument_group("model")
    add(model, "--cell", cell_named, f"recurrent cell: {CELLS_SAID}", metavar="CELL")
    add(model, "--layers", whole, "recurrent layers", metavar="N")
    add(model, "--hidden", whole, "units in a layer", metavar="N")
    add(model, "--dropout", number, "dropout between layers", metavar="X")
    add(model, "--dtype", str, "float32 or float64", choices=("float32", "float64"))

    run = train.add_argument_group("training")
    add(run, "--seq-length", whole, "steps of backpropagation through time", metavar="T")
    add(run, "--batch", whole, "streams read side by side", metavar="B")
    add(run, "--optimizer", str, "optimiser", choices=charlm.OPTIMIZERS)
    add(run, "--lr", number, "learning rate; falls to 0 in the second half", metavar="X")
    add(run, "--clip", number, "largest norm of the gradient, 0 for any", metavar="X")
    add(run, "--seed", whole, "seed of everything random", metavar="N")
    add(run, "--epochs", number, "passes over the text", metavar="X")
    add(run, "--minutes", number, "time limit, validation included", metavar="X")
    add(run, "--valid-every", number, "epochs between validations", metavar="X")

    files = train.add_argument_group("files and machine")
    files.add_argument("--checkpoint", default=CHECKPOINT, metavar="PATH", help=f"(default: {CHECKPOINT})")
    files.add_argument("--resume", action="store_true", default=False, help="go on from the checkpoint")
    files.add_argument("--overwrite", action="store_true", default=False, help="replace a checkpoint that is there")
    files.add_argument(
        "--sample-length", type=whole, default=300, metavar="N", help="of the samples shown (default: 300)"
    )
    add_machine(files)


def _train(options: argparse.Namespace) -> int:
    from rnnkernels.charlm import progress  # noqa: PLC0415 - needs tqdm

    fields = vars(charlm.Config())
    changes = {name: value for name, value in vars(options).items() if name in fields}
    charlm.Config(**changes)  # a value out of range is found before any file is
    set_machine(options)
    if options.sample_length < 0:
        raise ValueError(f"--sample-length: expected at least 0, got {options.sample_length}")
    if not options.checkpoint:
        raise ValueError("--checkpoint: expected a path, got an empty one")
    path = Path(options.checkpoint)
    if options.resume and options.overwrite:
        raise ValueError("--overwrite: cannot be combined with --resume")
    if not options.resume and not options.overwrite and path.exists():
        raise ValueError(f"{path}: is there already; --resume goes on with it, --overwrite begins anew")
    with progress.Stop() as stop, progress.Bar(path, options.sample_length) as bar:
        if options.resume:
            trainer = charlm.resume(path, observer=bar, stop=stop, **changes)
        else:
            trainer = charlm.train(None, charlm.Config(**changes), checkpoint=path, observer=bar, stop=stop)
    return 0 if trainer.finished else stop.exit_code


# ---- sample -------------------------------------------------------------------------------------


def _add_sample(commands: Any) -> None:
    sample = commands.add_parser("sample", help="let a trained model write", description="Let a trained model write.")
    sample.set_defaults(command=_sample)
    sample.add_argument("checkpoint", metavar="CHECKPOINT")
    sample.add_argument(
        "--prime",
        default=None,
        metavar="TEXT",
        help="what the model reads first (default: a newline, or a space or a letter where it knows none)",
    )
    sample.add_argument(
        "--temperature", type=number, default=0.7, metavar="X", help="0 for the most likely text (default: 0.7)"
    )
    sample.add_argument("--length", type=whole, default=500, metavar="N", help="characters to write (default: 500)")
    sample.add_argument("--seed", type=whole, default=None, metavar="N", help="the same seed, the same text")
    _add_like(sample, "then say on standard error how much of the text looks like this language")
    sample.add_argument("--last", action="store_true", help="the last parameters, not those of the best validation")
    add_weights(sample, "how they are kept while the model writes (default: full)")
    add_machine(sample)


def _sample(options: argparse.Namespace) -> int:
    set_machine(options)
    if options.length < 0:
        raise ValueError(f"--length: expected at least 0, got {options.length}")
    model = charlm.load_model(options.checkpoint, best=not options.last)
    move(model)
    prepare(model, options)
    characters = charlm.sample_characters(model, options.prime, temperature=options.temperature, seed=options.seed)
    if sys.stdout is None:
        return _fail("standard output: cannot be written: it is closed", 1)
    sys.stdout.write(encodable((options.prime or "").lstrip("\n"), sys.stdout))
    written = []
    for _, character in zip(range(options.length), characters, strict=False):
        if options.like is not None:
            written.append(character)
        sys.stdout.write(encodable(character, sys.stdout))
        if character == "\n":
            sys.stdout.flush()
    sys.stdout.write("\n")
    if options.like is not None:
        sys.stdout.flush()
        print(f"as {charlm.LANGUAGES[options.like].title}: {_lines(''.join(written), options.like)}", file=sys.stderr)
    return 0


def _add_like(command: Any, text: str) -> None:
    command.add_argument("--like", choices=tuple(charlm.LANGUAGES), default=None, help=text)


# ---- evaluate -----------------------------------------------------------------------------------


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="compare a trained model with an n-gram model",
        description="Loss on the held-out text, and the share of well-formed lines of source in samples, "
        "beside those of an n-gram model of the same text.",
    )
    evaluate.set_defaults(command=_evaluate)
    evaluate.add_argument("checkpoint", metavar="CHECKPOINT")
    evaluate.add_argument("--order", type=whole, default=6, metavar="N", help="of the n-gram model (default: 6)")
    evaluate.add_argument("--length", type=whole, default=20_000, metavar="N", help="of the samples (default: 20000)")
    evaluate.add_argument("--temperature", type=number, default=0.7, metavar="X", help="of the samples (default: 0.7)")
    evaluate.add_argument("--seed", type=whole, default=0, metavar="N", help="of the samples (default: 0)")
    _add_like(evaluate, "the language of the lines (default: by the names of the text's files, else python)")
    add_weights(evaluate, "measure the model with these too, and let it write with them (default: full)")
    add_machine(evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    set_machine(options)
    if options.length < 1:
        raise ValueError(f"--length: expected at least 1, got {options.length}")
    checkpoint = charlm.read_checkpoint(options.checkpoint)
    trainer = charlm.Trainer.from_checkpoint(checkpoint)  # finds the texts, and checks that they are the same
    train, valid = trainer.train_tokens, trainer.valid_tokens
    if len(valid) < max(2, options.order):
        raise ValueError(
            f"{options.checkpoint}: expected at least {max(2, options.order)} characters of held-out text for --order "
            f"{options.order}, got {len(valid)}"
        )
    model = checkpoint.model()
    settings = {"temperature": options.temperature, "seed": options.seed}
    charlm.sample(model, length=0, **settings)  # refuses what is out of range, before minutes of work
    move(model)
    vocabulary = model.vocabulary
    ngram = charlm.NGram(train, vocabulary.size, options.order)
    names = ["model", f"{options.order}-gram", "held out"]
    print(f"{len(train):,} characters to train on, {len(valid):,} held out, vocabulary {vocabulary.size}")
    print("\nnats per character on the held-out text")
    losses = [("model", model.evaluate(valid))]
    if options.weights != "full":
        prepare(model, options)
        names[0] = options.weights
        losses.append((options.weights, model.evaluate(valid)))
    for name, loss in (*losses, (names[1], ngram.loss(valid))):
        print(f"  {name:9}{loss:.4f}")
    prime = vocabulary.decode(valid[: options.order]).replace(charlm.UNKNOWN, "")
    settings["length"] = options.length
    samples = (
        charlm.sample(model, prime or None, **settings),
        vocabulary.decode(ngram.sample(valid[: options.order], **settings)),
        vocabulary.decode(valid),
    )
    like = options.like or charlm.language_of(trainer.corpus)
    title = charlm.LANGUAGES[like].title
    print(f"\nlines that are well-formed {title} (samples: {options.length:,} characters at {options.temperature})")
    for name, sample in zip(names, samples, strict=True):
        print(f"  {name:9}{_lines(sample, like)}")
    return 0


def _lines(text: str, language: str) -> charlm.LineShares | str:
    try:
        return charlm.line_shares(text, language)
    except ValueError:  # short, or of a text with few newlines
        return "no whole line"


# ---- info ---------------------------------------------------------------------------------------


def _info(options: argparse.Namespace) -> int:
    del options
    print(f"rnnkernels {rk.__version__}")
    for name, serves in rk.backends().items():
        print(f"{name + ' backend:':17}{serves}")
    print(f"{'instruction set:':17}{rk.instruction_set()} (of {', '.join(rk.instruction_sets())})")
    source, threads = _threads.deciding()
    print(f"{'threads:':17}{threads} ({source})")
    print(f"{'thread limits:':17}{', '.join(f'{limit.source} {limit.threads}' for limit in _threads.limits())}")
    print(f"{'shared BLAS:':17}{', '.join(shared_blas()) or 'none'}")
    print(f"{'cells:':17}{', '.join(rk.cells())}")
    return 0
