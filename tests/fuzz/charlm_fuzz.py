"""Trainings killed at random moments, and checkpoints damaged at random bytes, in processes of their own.

`python tests/fuzz/charlm_fuzz.py --seconds 60 --seed 1` prints what failed, and exits with 1 where something did. Each
failure names its trial's seed: `--seed` with that number begins with the same trial. What must hold:

- A run that is killed, stopped and resumed at any moments ends in the bits of a run that was left alone, and leaves no
  file but its checkpoint. At every moment the checkpoint is whole, or not there yet.
- A run whose standard output or error closes, or is full, ends as if nothing had happened.
- Of two runs that save to one file at a time, one is refused.
- A checkpoint that was damaged is refused in a sentence, or holds what it held before.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from rnnkernels import charlm

__all__ = ["TRIALS", "accepted", "run"]

TEXT = "".join(f"{i % 7} times {i % 5} is {(i % 7) * (i % 5)}\n" for i in range(300))
OPTIONS = ["--hidden", "8", "--batch", "4", "--seq-length", "16", "--min-count", "1", "--threads", "1"]
OPTIONS += ["--epochs", "4", "--valid-every", "0.05"]  # a save every few milliseconds
SECONDS = 120  # after which a process hangs
DAMAGES = 60  # in one process
NAME = "run.safetensors"


def run(seconds: float, seed: int, least: int = 1) -> list[str]:
    """Try for some seconds, so many trials at least; return what failed, a sentence each."""
    end = time.monotonic() + seconds
    failures: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "text").write_text(TEXT, encoding="utf-8")
        whole = Path(folder) / "whole.safetensors"
        _train(Path(folder), "--checkpoint", whole.name).communicate(timeout=SECONDS)
        number = 0
        while number < least or time.monotonic() < end:
            trial = TRIALS[(seed + number) % len(TRIALS)]
            for path in Path(folder).glob("*run*"):
                path.unlink()
            found = trial(Path(folder), whole, random.Random(seed + number))
            failures += [f"seed {seed + number}, {trial.__name__[1:]}: {sentence}" for sentence in found]
            number += 1
    return failures


# ---- trials: each returns what failed -------------------------------------------------------------


def _killed(folder: Path, whole: Path, rng: random.Random) -> list[str]:
    """A run that is ended some times, and then left alone."""
    failures = []
    path = folder / NAME
    for _ in range(rng.randrange(1, 4)):
        before = _inode(path)
        with _train(folder, *_begin_or_go_on(path)) as process:
            if rng.random() < 0.9:  # a process takes longer to start than to train
                _wait_for_a_save(path, before, process)
            time.sleep(rng.expovariate(8))
            process.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            process.communicate(timeout=SECONDS)
        if path.exists():
            failures += _said(lambda: charlm.Trainer.from_checkpoint(charlm.read_checkpoint(path), TEXT))
    with _train(folder, *_begin_or_go_on(path)) as process:
        error = process.communicate(timeout=SECONDS)[1]
    if process.returncode != 0:
        return [*failures, f"the run that was left alone ended with {process.returncode}: {error.strip()}"]
    return failures + _difference(path, whole) + _files(folder)


def _deaf(folder: Path, whole: Path, rng: random.Random) -> list[str]:
    """A run whose streams end at some moment, or are full from the beginning."""
    full = Path("/dev/full")
    if full.exists() and rng.random() < 0.5:
        with full.open("w") as nowhere:
            streams = rng.choice([(nowhere, None), (None, nowhere), (nowhere, nowhere)])
            with _train(folder, "--checkpoint", NAME, stdout=streams[0], stderr=streams[1]) as process:
                process.communicate(timeout=SECONDS)
    else:
        with _train(folder, "--checkpoint", NAME, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(rng.randrange(4)):
                process.stdout.readline()
            process.stdout.close()
            process.wait(SECONDS)
    if process.returncode != 0:
        return [f"a run without its streams ended with {process.returncode}"]
    return _difference(folder / NAME, whole) + _files(folder)


def _together(folder: Path, whole: Path, rng: random.Random) -> list[str]:
    """Two runs on one file, ended together."""
    del whole
    path = folder / NAME
    more = ["--checkpoint", NAME, "--overwrite", "--epochs", "100000", "--sample-length", "0"]
    with _train(folder, *more, "--seed", "1") as one:
        time.sleep(rng.random() * 0.5)
        with _train(folder, *more, "--seed", "2") as two:
            _wait_for_a_save(path, None, two)
            time.sleep(2 + rng.random())
            said = []
            for process in (one, two):
                process.send_signal(signal.SIGTERM)
            for process in (one, two):
                said.append(process.communicate(timeout=SECONDS)[1])
    saved = [i + 1 for i, text in enumerate(said) if "saved to" in text]
    refused = [i + 1 for i, process in enumerate((one, two)) if process.returncode == 2]
    early = sum(process.returncode == -signal.SIGTERM for process in (one, two))  # before it could hear
    if len(saved) > 1 or len(saved) + len(refused) + early != 2:
        return [f"saved: {saved}, refused: {refused}, exit codes {one.returncode} and {two.returncode}: {said}"]
    if saved and charlm.read_checkpoint(path).config.seed not in saved:
        return [f"run {saved[0]} said that it had saved, and the file is the other's"]
    return _files(folder)


def _damaged(folder: Path, whole: Path, rng: random.Random) -> list[str]:
    """Damaged copies of a checkpoint, read in a process that may crash."""
    command = [sys.executable, __file__, "--damage", whole.name, "--seed", str(rng.randrange(2**31))]
    done = subprocess.run(
        command, cwd=folder, env=_environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    if done.returncode != 0:
        return [f"reading damaged files ended with {done.returncode}: {done.stderr.strip()[-500:]}"]
    return done.stdout.splitlines()


TRIALS = (_killed, _deaf, _damaged, _together)


def accepted(path: Path, seed: int, count: int = DAMAGES) -> list[str]:
    """Damage a checkpoint `count` times in a copy; return which damages were accepted with other contents."""
    data = path.read_bytes()
    kept = charlm.read_checkpoint(path)
    copy = path.with_name("damaged.run.safetensors")
    failures = []
    for number in range(count):
        damage, bad = _damage(data, random.Random(seed + number))
        copy.write_bytes(bad)
        try:
            found = charlm.read_checkpoint(copy)
            charlm.Trainer.from_checkpoint(found, TEXT)
        except ValueError:
            continue
        if not _same(found, kept):
            failures.append(f"{damage}, --seed {seed + number}: was accepted, with other contents")
    copy.unlink()
    return failures


def _damage(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    bad = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    place = rng.choice([rng.randrange(header), rng.randrange(header, len(data)), rng.randrange(len(data))])
    kind = rng.choice(["bit", "bit", "byte", "cut", "hole", "swap"])
    if kind == "bit":
        bad[place] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        bad[place] = rng.randrange(256)
    elif kind == "cut":
        del bad[place:]
    elif kind == "hole":
        bad[place : place + 512] = bytes(len(bad[place : place + 512]))
    else:  # two sectors change places
        here, there = sorted(rng.randrange(len(bad) // 512) * 512 for _ in range(2))
        bad[here : here + 512], bad[there : there + 512] = bad[there : there + 512], bad[here : here + 512]
    return f"{kind} at byte {place}", bytes(bad)


# ---- processes and files ---------------------------------------------------------------------------


def _train(
    folder: Path,
    *options: str,
    stdout: IO[str] | int | None = subprocess.DEVNULL,
    stderr: IO[str] | int | None = subprocess.PIPE,
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "rnnkernels", "train", "--text", "text", *OPTIONS, *options]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=_environment(),
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        stderr=subprocess.DEVNULL if stderr is None else stderr,
        text=True,
        encoding="utf-8",
    )


def _environment() -> dict[str, str]:
    """The variables of a process in another folder: it finds this package, wherever it is."""
    package = str(Path(charlm.__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}


def _begin_or_go_on(path: Path) -> list[str]:
    return ["--checkpoint", path.name, *(["--resume"] if path.exists() else [])]


def _wait_for_a_save(path: Path, before: int | None, process: subprocess.Popen[str]) -> None:
    """Wait until a file is another one than `before`, or the process has ended."""
    while _inode(path) in (None, before) and process.poll() is None:
        time.sleep(0.005)


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def _said(function: Callable[[], object]) -> list[str]:
    try:
        function()
    except ValueError as error:
        return [f"after a signal: {error}"]
    return []


def _files(folder: Path) -> list[str]:
    left = sorted({path.name for path in folder.iterdir()} - {"text", "whole.safetensors", NAME})
    return [f"left behind: {left}"] if left else []


def _difference(path: Path, whole: Path) -> list[str]:
    one, two = charlm.read_checkpoint(path), charlm.read_checkpoint(whole)
    if one.progress["step"] != two.progress["step"]:
        return [f"the run ended at window {one.progress['step']} of {two.progress['step']}"]
    names = [name for name, tensor in two.tensors.items() if not np.array_equal(one.tensors[name], tensor)]
    return [f"other bits than a run that was left alone: {names}"] if names else []


def _same(one: charlm.Checkpoint, two: charlm.Checkpoint) -> bool:
    return (one.config, one.vocabulary, one.progress) == (two.config, two.vocabulary, two.progress) and all(
        np.array_equal(one.tensors[name], tensor) for name, tensor in two.tensors.items()
    )


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damage", type=Path, metavar="CHECKPOINT", help="damage copies of this file, in this process")
    options = parser.parse_args()
    if options.damage is not None:
        sys.stdout.writelines(f"{line}\n" for line in accepted(options.damage, options.seed))
        return 0
    sys.stdout.write(f"seed {options.seed}, {options.seconds:g} s\n")
    failures = run(options.seconds, options.seed)
    sys.stdout.writelines(f"{line}\n" for line in failures)
    sys.stdout.write(f"{len(failures)} failed\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
