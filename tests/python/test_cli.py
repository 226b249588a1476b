"""The command line: each command end to end on a small text, and one line for every error."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rnnkernels as rk
from rnnkernels import charlm, cli, diagnose

pytest.importorskip("safetensors")
pytest.importorskip("tqdm")

from rnnkernels.charlm import progress

TEXT = "".join(f"def f{i % 7}(x):\n    return x + {i % 5}\n\n\n" for i in range(300))
SMALL = ["--hidden", "12", "--batch", "4", "--seq-length", "10", "--min-count", "1", "--lr", "0.01"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.py").write_text(TEXT, encoding="utf-8")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process; return its exit code, output and errors."""
    capsys.readouterr()
    try:
        code = cli.main(list(arguments))
    except SystemExit as error:  # argparse's own
        code = int(error.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def trained(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    code, out, err = run(capsys, "train", "--text", "text.py", *SMALL, "--epochs", "0.5", *arguments)
    assert code == 0, err
    return out


# ---- train ----


def test_train_prints_losses_and_samples_and_saves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "train", "--text", "text.py", *SMALL, "--epochs", "1", "--sample-length", "50")
    assert code == 0
    lines = [line for line in out.splitlines() if line.startswith("epoch")]
    assert len(lines) == 4
    assert re.fullmatch(r"epoch 1\.00  0\.01M characters  \d+ s  train \d\.\d{4}  valid \d\.\d{4}  best", lines[-1])
    assert "    | " in out
    assert "characters to train on" in err
    assert "saved to charlm.safetensors" in err
    config = charlm.read_checkpoint(folder / "charlm.safetensors").config
    assert (config.hidden, config.text, config.cell) == (12, "text.py", "lstm")


def test_without_a_terminal_a_training_is_silent_for_ten_seconds_at_most(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del folder
    options = ("train", "--text", "text.py", *SMALL, "--epochs", "1", "--sample-length", "0")
    assert progress.QUIET_SECONDS == 10
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    stepped = progress.Bar.stepped

    def later(bar: progress.Bar, trainer: Any, loss: float) -> None:  # three seconds for a window
        now[0] += 3
        stepped(bar, trainer, loss)

    monkeypatch.setattr(progress.Bar, "stepped", later)
    code, _, err = run(capsys, *options)
    assert code == 0
    lines = [line for line in err.splitlines() if re.match(r"\d+%  ", line)]
    windows = charlm.read_checkpoint("charlm.safetensors").progress["step"]
    assert windows // 8 <= len(lines) <= windows // 4  # validations in between are signs of life, too
    form = r"\d+%  0\.\d\dM of 0\.\d\dM characters  \d+ s(, \d+:\d\d:\d\d left)?  train \d\.\d{3}(  valid \d\.\d{4})?"
    assert all(re.fullmatch(form, line) for line in lines), lines


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
@pytest.mark.parametrize("size", [(0, 0), (24, 80)])
def test_a_terminal_has_a_bar_even_one_of_unknown_size(folder: Path, size: tuple[int, int]) -> None:
    import fcntl
    import struct
    import termios

    command = [sys.executable, "-m", "rnnkernels", "train", "--text", "text.py", *SMALL, "--epochs", "1"]
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    package = str(Path(rk.__file__).parent.parent)
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        command, cwd=folder, stderr=terminal, stdout=subprocess.DEVNULL, env=environment | {"PYTHONPATH": package}
    ) as process:
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(controller, 65536):
                shown += part
        except OSError:  # Linux' word for: nobody has the other end any more
            pass
        finally:
            os.close(controller)
    assert process.returncode == 0
    assert re.search(rb"\d+%\|.+\|", shown), shown[-500:]


def test_train_takes_every_option(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "texts").mkdir()
    (folder / "texts" / "a.py").write_text(TEXT, encoding="utf-8")
    (folder / "texts" / "b.bin").write_bytes(b"\0")
    options = (
        "--text texts --pattern *.* --limit 5000 --valid-fraction 0.2 --min-count 2 --cell gru --layers 2 --hidden 8 "
        "--dropout 0.1 --dtype float64 --seq-length 12 --batch 3 --optimizer rmsprop --lr 0.003 --clip 2 --seed 7 "
        "--epochs 0.2 --minutes 5 --valid-every 0.1 --checkpoint c.safetensors --sample-length 0 --backend cpu "
        "--threads 1"
    )
    before = rk.num_threads()
    try:
        code, out, err = run(capsys, "train", *options.split())
        assert rk.num_threads() == 1
    finally:
        rk.set_num_threads(before)
    assert code == 0
    assert "skipped" in err
    assert "b.bin" in err
    assert " | " not in out
    assert charlm.read_checkpoint("c.safetensors").config == charlm.Config(
        text="texts", pattern="*.*", limit=5000, valid_fraction=0.2, min_count=2, cell="gru", layers=2, hidden=8,
        dropout=0.1, dtype="float64", seq_length=12, batch=3, optimizer="rmsprop", lr=0.003, clip=2.0, seed=7,
        epochs=0.2, minutes=5.0, valid_every=0.1,
    )  # fmt: skip


def test_defaults_are_those_of_the_library(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(run(capsys, "train", "--help")[1].split())
    default = charlm.Config()
    for flag in ("hidden", "batch", "lr", "epochs", "seq_length"):
        assert re.search(rf"--{flag.replace('_', '-')} \w+ [^(]*\(default: {getattr(default, flag)}\)", out), flag


def test_a_checkpoint_is_not_overwritten_by_accident(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    before = (folder / "charlm.safetensors").read_bytes()
    code, _, err = run(capsys, "train", "--text", "text.py", *SMALL)
    assert code == 2
    assert "charlm.safetensors: is there already; --resume" in err
    assert (folder / "charlm.safetensors").read_bytes() == before
    trained(capsys, "--overwrite", "--seed", "1")
    assert (folder / "charlm.safetensors").read_bytes() != before


def test_resume_goes_on_with_the_options_of_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    code, out, err = run(capsys, "train", "--resume", "--epochs", "1")
    assert code == 0
    assert "resumed after" in err
    lines = [line for line in out.splitlines() if line.startswith("epoch")]
    assert lines[0] > "epoch 0.50"
    assert lines[-1].startswith("epoch 1.00")
    again = charlm.read_checkpoint("charlm.safetensors")
    assert (again.config.hidden, again.config.epochs) == (12, 1.0)
    code, _, err = run(capsys, "train", "--resume", "--hidden", "13")
    assert code == 2
    assert "hidden: a resumed run keeps 12, got 13" in err


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize(("name", "expected"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_saves_and_ends_the_run(folder: Path, name: str, expected: int) -> None:
    number = signal.Signals[name]
    hears = f"import signal, sys; signal.signal({int(number)}, signal.SIG_DFL)"  # tests in the background ignore some
    command = [sys.executable, "-c", f"{hears}; from rnnkernels import cli; sys.exit(cli.main())"]
    command += ["train", "--text", "text.py", *SMALL, "--epochs", "100000"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch")  # it trains
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == expected
    assert "stopped after" in err
    assert "Traceback" not in err
    progress = charlm.read_checkpoint("charlm.safetensors").progress
    assert progress["step"] > 0
    resumed = charlm.resume("charlm.safetensors", stop=lambda: True)
    assert resumed.step == progress["step"] + 1


def terminal(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, with other streams or variables."""
    environment = os.environ | more.pop("env", {})
    command = [sys.executable, "-m", "rnnkernels", *arguments]
    return subprocess.run(command, env=environment, text=True, encoding="utf-8", timeout=120, check=False, **more)


def ended(folder: Path) -> bool:
    """Whether the run that saved here has come to its end."""
    trainer = charlm.Trainer.from_checkpoint(charlm.read_checkpoint(folder / "charlm.safetensors"))
    return trainer.finished


def test_a_reader_that_leaves_does_not_end_a_training(folder: Path) -> None:
    command = [sys.executable, "-m", "rnnkernels", "train", "--text", "text.py", *SMALL, "--valid-every", "0.01"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()  # as `head -1` does
        assert process.stderr is not None
        err = process.stderr.read()
        assert process.wait(120) == 0
    assert err.count("note: standard output cannot be written: Broken pipe; the training goes on without it") == 1
    assert err.splitlines()[-1].startswith("finished")
    assert ended(folder)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("streams", ["out", "err", "both"])
def test_a_full_disk_under_the_output_does_not_end_a_training(folder: Path, streams: str) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        out = full if streams != "err" else subprocess.DEVNULL
        err = full if streams != "out" else subprocess.DEVNULL
        done = terminal("train", "--text", "text.py", *SMALL, stdout=out, stderr=err)
    assert done.returncode == 0
    assert ended(folder)


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_do_not_end_a_training(folder: Path, closed: str) -> None:
    command = f"'{sys.executable}' -m rnnkernels train --text text.py {' '.join(SMALL)} {closed}"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    assert ended(folder)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_an_encoding_that_lacks_characters(folder: Path, encoding: str) -> None:
    (folder / "text.py").write_text("aé\u6f22\u5b57" * 900, encoding="utf-8")
    narrow = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = terminal("train", "--text", "text.py", *SMALL, env=narrow, stdout=subprocess.DEVNULL)
    assert done.returncode == 0
    assert ended(folder)
    options = ["charlm.safetensors", "--length", "50", "--temperature", "5", "--prime", "\u6f22a"]
    done = terminal("sample", *options, env=narrow, capture_output=True, errors="replace")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) == 2 + 50 + 1
    assert done.stdout.startswith("?a")


@pytest.mark.skipif(os.name != "posix", reason="locks by flock")
def test_the_second_of_two_trainings_is_refused(folder: Path) -> None:
    more = ["--text", "text.py", *SMALL, "--epochs", "100000", "--sample-length", "0"]
    command = [sys.executable, "-m", "rnnkernels", "train", *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it trains
        for second in (["--overwrite", "--seed", "1"], ["--resume"]):
            done = terminal("train", *more, *second, capture_output=True)
            assert done.returncode == 2
            assert done.stderr.startswith("rnnkernels: error: charlm.safetensors: another run is saving to this file")
        process.send_signal(signal.SIGTERM)
        assert "saved to" in process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert charlm.read_checkpoint("charlm.safetensors").config.seed == 0


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with progress.Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop()
        assert stop.exit_code == 143
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


# ---- sample ----


def test_sample_writes_the_prime_and_its_continuation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    options = ["sample", "charlm.safetensors", "--prime", "def f", "--temperature", "0.5", "--length", "80"]
    code, out, err = run(capsys, *options, "--seed", "3")
    assert (code, err) == (0, "")
    assert out.startswith("def f")
    assert len(out) == 5 + 80 + 1
    assert out[5:-1] == charlm.sample(
        charlm.load_model("charlm.safetensors"), "def f", temperature=0.5, length=80, seed=3
    )
    assert run(capsys, *options, "--seed", "3")[1] == out
    assert run(capsys, *options, "--seed", "4")[1] != out


def test_sample_says_how_much_its_text_looks_like_a_language(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    options = ["sample", "charlm.safetensors", "--length", "400", "--seed", "0"]
    code, out, err = run(capsys, *options, "--like", "latex")
    assert (code, err) == (0, f"as LaTeX: {charlm.line_shares(out[:-1], 'latex')}\n")
    assert run(capsys, *options, "--like", "c")[1:] == (out, f"as C: {charlm.line_shares(out[:-1], 'c')}\n")
    assert run(capsys, *options) == (0, out, "")
    assert run(capsys, "sample", "charlm.safetensors", "--length", "1", "--like", "c")[2] == "as C: no whole line\n"


@pytest.mark.skipif(os.name != "posix", reason="closes a pipe")
def test_sample_into_a_closed_pipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    command = f"'{sys.executable}' -m rnnkernels sample charlm.safetensors --length 200000 | head -c 10"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=120, check=False)
    assert len(result.stdout) == 10
    assert result.stderr == ""


@pytest.mark.parametrize(
    "text", ["the quick brown fox, " * 200, "gattaca" * 400, "one line of many words " * 150 + "\n"]
)
def test_sample_and_evaluate_of_a_text_without_newlines(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    (folder / "text.py").write_text(text, encoding="utf-8")
    options = ["--hidden", "12", "--batch", "4", "--seq-length", "10"]
    code, out, err = run(capsys, "train", "--text", "text.py", *options, "--epochs", "0.5")
    assert code == 0, err
    code, out, err = run(capsys, "sample", "charlm.safetensors", "--length", "20", "--temperature", "0")
    assert (code, err, len(out)) == (0, "", 20 + 1)
    assert run(capsys, "sample", "charlm.safetensors", "--length", "20", "--temperature", "0")[1] == out
    code, out, err = run(capsys, "evaluate", "charlm.safetensors", "--order", "2", "--length", "20")
    assert (code, err) == (0, "")
    assert "model    no whole line" in out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
@pytest.mark.parametrize("command", ["info", "sample charlm.safetensors"])
def test_results_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    trained(capsys)
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = terminal(*command.split(), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "rnnkernels: error: standard output: cannot be written: No space left on device\n"


# ---- evaluate, info ----


def test_evaluate_compares_with_an_ngram_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    code, out, _ = run(capsys, "evaluate", "charlm.safetensors", "--order", "3", "--length", "300")
    assert code == 0
    assert re.search(r"model +\d\.\d{4}\n +3-gram +0\.\d{4}\n", out)
    assert re.search(r"held out +\d+ lines: 100\.0% tokenize, 100\.0% balance", out)
    best = charlm.read_checkpoint("charlm.safetensors").progress["best_loss"]
    assert f"{best:.4f}" in out
    assert "lines that are well-formed Python (" in out


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_models_of_other_weights(folder: Path, capsys: pytest.CaptureFixture[str], weights: str) -> None:
    """`evaluate` prints what they lose, and `sample` writes with them."""
    trained(capsys)
    options = ["--order", "3", "--length", "300", "--weights", weights]
    code, out, _ = run(capsys, "evaluate", "charlm.safetensors", *options)
    assert code == 0
    found = re.search(rf"model +(\d\.\d{{4}})\n +{weights} +(\d\.\d{{4}})\n +3-gram +0\.\d{{4}}\n", out)
    assert found is not None
    assert abs(float(found[1]) - float(found[2])) < 0.05
    model = charlm.load_model("charlm.safetensors")
    model.prepare(weights=weights, products="bfloat16" if weights == "bfloat16" else "full")
    options = ["--prime", "def f", "--length", "80", "--seed", "3", "--weights", weights]
    code, out, _ = run(capsys, "sample", "charlm.safetensors", *options)
    assert code == 0
    assert out[5:-1] == charlm.sample(model, "def f", length=80, seed=3)


@pytest.mark.parametrize(("options", "title"), [([], "C"), (["--like", "latex"], "LaTeX")])
def test_evaluate_judges_by_the_language_of_the_text(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], title: str
) -> None:
    text = "int f(int x_1)\n{\n    return x_1 + 1;  // it's\n}\n" * 100
    (folder / "text.c").write_text(text, encoding="utf-8")
    code, _, err = run(capsys, "train", "--text", "text.c", *SMALL, "--epochs", "0.5")
    assert code == 0, err
    code, out, _ = run(capsys, "evaluate", "charlm.safetensors", "--order", "3", "--length", "300", *options)
    assert code == 0
    assert f"lines that are well-formed {title} (" in out
    assert (title == "C") == ("100.0% tokenize" in out.splitlines()[-1])  # held out; `x_1` is no LaTeX


def test_inspect_writes_a_page_and_says_what_it_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    (folder / "read.py").write_text('a = "b"  # c\nif d:\n    e = 1\n' * 20, encoding="utf-8")
    options = ["inspect", "charlm.safetensors", "--text", "read.py", "--limit", "200", "--best", "2"]
    code, out, err = run(capsys, *options)
    assert (code, err) == (0, "")
    assert "lstm, 1 x 12 units; 200 characters, read as python" in out
    assert re.search(r"\ninside a string +\d+\.\d% +layer 0 [hc]\[\d+\] +[01]\.\d{3}, (high|low) there\n", out)
    assert re.search(r"\ninside a docstring +0\.0% +none has it\n", out)
    assert "written to inspect.html" in out
    page = (folder / "inspect.html").read_text(encoding="utf-8")
    assert "charlm.safetensors reads read.py" in page
    code, out, _ = run(capsys, *options, "--out", "c.html", "--language", "c", "--last", "--threads", "1")
    assert code == 0
    assert "read as c" in out
    assert (folder / "c.html").exists()


def test_diagnose_a_fresh_cell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "diagnose",
        "--cell",
        "gru",
        "--hidden",
        "6",
        "--layers",
        "2",
        "--steps",
        "5",
        "--batch",
        "2",
        "--seed",
        "3",
        "--out",
        "table.txt",
    ]
    code, out, err = run(capsys, *options)
    assert (code, err) == (0, "")
    table, note = out.strip().rsplit("\n\n", 1)
    assert table == diagnose.table(diagnose.of_cell("gru", 6, num_layers=2, steps=5, batch=2, rng=3))
    assert note == "written to table.txt"
    assert (folder / "table.txt").read_text(encoding="utf-8") == f"{table}\n"
    assert run(capsys, "diagnose", "--steps", "3", "--batch", "1")[1].startswith("lstm, 1 x 128 units, 3 steps, 1 rows")


def test_diagnose_a_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(capsys)
    model = charlm.load_model("charlm.safetensors")
    code, out, err = run(capsys, "diagnose", "charlm.safetensors", "--text", "text.py", "--steps", "9", "--batch", "2")
    assert (code, err) == (0, "")
    assert out == diagnose.table(charlm.diagnose(model, TEXT, steps=9, batch=2)) + "\n"
    held_out = charlm.Corpus.from_text(TEXT).split().valid
    out = run(capsys, "diagnose", "charlm.safetensors", "--steps", "9", "--batch", "2")[1]
    assert out == diagnose.table(charlm.diagnose(model, held_out, steps=9, batch=2)) + "\n"


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info")
    assert code == 0
    for shown in (rk.__version__, rk.instruction_set(), f"threads:         {rk.num_threads()}", "cuda", *rk.cells()):
        assert shown in out


def test_module_and_version() -> None:
    command = [sys.executable, "-m", "rnnkernels", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == f"rnnkernels {rk.__version__}\n"


# ---- errors ----


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("train --text nowhere", "nowhere: expected a text file or a folder"),
        ("train --text binary", "binary: expected"),
        ("train --text short", "--text short: expected at least"),
        ("train --text text.py --threads 0", "--threads: expected 1 to 1024 threads, got 0"),
        ("train --checkpoint=", "--checkpoint: expected a path"),
        ("train --text text.py --checkpoint loop --overwrite", "loop: expected a file to save to"),
        ("train --text text.py --checkpoint . --overwrite", ".: expected a file to save to, found a folder"),
        (f"train --text text.py --checkpoint {'c' * 300}", "ccc: File name too long"),
        (f"train --text {'t' * 300}", "ttt: File name too long"),
        ("train --text text.py --sample-length -1", "--sample-length"),
        ("train --text text.py --checkpoint no/c.safetensors --batch 4", "c.safetensors: cannot be written"),
        ("train --resume", "charlm.safetensors: expected a checkpoint, found no such file"),
        ("train --resume --overwrite", "--overwrite: cannot be combined"),
        ("train --resume --checkpoint binary", "binary: expected a safetensors file"),
        ("sample nowhere", "nowhere: expected a checkpoint"),
        ("sample binary", "binary: expected a safetensors file"),
        ("sample good --prime €", "prime: expected characters of the model's vocabulary, got '€'"),
        ("sample good --prime=", "--prime: expected at least one character"),
        ("sample good --temperature -1", "--temperature: expected a number of at least 0"),
        ("sample good --temperature nan", "--temperature: expected a number of at least 0, got nan"),
        ("sample good --seed -1", "--seed: expected at least 0, got -1"),
        ("sample good --length -1", "--length: expected at least 0, got -1"),
        ("evaluate binary", "binary: expected a safetensors file"),
        ("evaluate good --order 0", "--order: expected at least 1, got 0"),
        ("evaluate good --order 64", "--order: expected at most"),
        ("evaluate good --order 1000000000000", "good: expected at least 1000000000000 characters of held-out text"),
        ("evaluate good --length 0", "--length"),
        ("evaluate good --temperature -1", "--temperature: expected a number of at least 0"),
        ("evaluate good --seed -1", "--seed: expected at least 0, got -1"),
        ("inspect nowhere --text text.py", "nowhere: expected a checkpoint"),
        ("inspect good --text nowhere", "nowhere: cannot be read"),
        ("inspect good --text=", "--text: expected a path, got an empty one"),
        ("inspect good --text empty", "--text empty: expected at least one character"),
        ("inspect good --text text.py --out=", "--out: expected a path, got an empty one"),
        ("inspect good --text text.py --out good", "--out: expected another file than good, which is read"),
        ("inspect good --text text.py --out no/page.html", "no/page.html: No such file"),
        ("inspect good --text text.py --limit 0", "--limit: expected at least 1, got 0"),
        ("inspect good --text text.py --best 0", "--best: expected at least 1, got 0"),
        ("diagnose nowhere", "nowhere: expected a checkpoint"),
        ("diagnose good --cell gru", "--cell: cannot be combined with a checkpoint"),
        ("diagnose good --text empty", "--text empty: expected more than 100 characters"),
        ("diagnose good --text text.py --out text.py", "--out: expected another file than text.py"),
        ("diagnose --text text.py", "--text: expected a checkpoint to go with it"),
        ("diagnose --last", "--last: expected a checkpoint to go with it"),
        ("diagnose --hidden 0", "--hidden: expected at least 1, got 0"),
        ("diagnose --layers 0", "--layers: expected at least 1, got 0"),
        ("diagnose --seed -1", "--seed: expected a seed of at least 0, got -1"),
        ("diagnose --steps 0", "--steps: expected at least 1, got 0"),
        ("diagnose --batch 0", "--batch: expected at least 1, got 0"),
        ("diagnose --out table.gif", "--out: expected a name that ends in .svg, .png, .pdf, .txt, got 'table.gif'"),
        ("train --resume --checkpoint good --hidden 13", "--hidden: a resumed run keeps 12, got 13"),
        ("train --resume --checkpoint good --text other", "--text other: expected the text that good was trained on"),
        ("train --resume --checkpoint good --batch 0", "--batch: expected at least 1, got 0"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str, word: str
) -> None:
    (folder / "binary").write_bytes(b"\x00\x01\xff")
    (folder / "short").write_text("short", encoding="utf-8")
    (folder / "empty").write_text("", encoding="utf-8")
    if "loop" in command:
        (folder / "loop").symlink_to("loop")
    (folder / "other").write_text(TEXT.replace("return", "yields"), encoding="utf-8")
    if " good" in command:
        trained(capsys, "--checkpoint", "good")
    code, _, err = run(capsys, *command.split())
    lines = [line for line in err.splitlines() if line.startswith("rnnkernels: error: ")]
    assert code == 2
    assert len(lines) == 1
    assert word in lines[0]
    assert "Traceback" not in err


WRONG = {
    "--limit": "0 -1 many",
    "--valid-fraction": "-0.1 1 nan inf x",
    "--min-count": f"0 1.5 {10**30}",
    "--cell": "perceptron",
    "--layers": f"0 -2 {10**9} 1e3",
    "--hidden": f"0 -2 {2**24 + 1} {10**12} {10**400} {'9' * 5000} many",
    "--dropout": "-0.1 1 nan much",
    "--dtype": "float16",
    "--seq-length": f"0 {2**31} 1.0",
    "--batch": f"0 -1 {2**31}",
    "--optimizer": "lbfgs",
    "--lr": "0 -1 nan inf 1e999 fast",
    "--clip": "-1 nan inf",
    "--seed": "-1 0.5",
    "--epochs": "0 -1 nan inf 1e308",
    "--minutes": "0 -1 nan inf 1e308",
    "--valid-every": "0 nan inf 1e308",
    "--sample-length": "-1 1.5",
    "--threads": f"0 -1 1025 {2**70} two",
    "--backend": "tpu",
    "--pattern": "''",
}


@pytest.mark.parametrize("option", WRONG)
def test_an_option_out_of_range_is_named(folder: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    for value in WRONG[option].split():
        code, out, err = run(capsys, "train", "--text", "text.py", f"{option}={value.strip(chr(39))}")
        assert (code, out) == (2, ""), value
        assert re.fullmatch(rf"rnnkernels(?: train)?: error: (?:argument )?{option}: [^\n]*\n", err), err
        assert len(err) < 500
    assert not (folder / "charlm.safetensors").exists()


@pytest.mark.parametrize("command", ["", "fly", "train --fly", "sample", "sample a\nb c", "sample a --like perl"])
def test_argparse_errors(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    code, _, err = run(capsys, *command.split(" "))
    assert code == 2
    assert re.fullmatch(r"rnnkernels[a-z ]*: error: [^\n]*\(see rnnkernels[a-z ]* --help\)\n", err)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RNNKERNELS_ISA", "avx9", "an instruction set that was compiled"),
        ("RNNKERNELS_ISA", "\N{SNOWMAN}\n", "an instruction set that was compiled"),
        ("RNNKERNELS_NUM_THREADS", "0", "a number of threads from 1 to 1024, got '0'"),
        ("RNNKERNELS_NUM_THREADS", "many", "a number of threads from 1 to 1024, got 'many'"),
        ("RNNKERNELS_BACKEND", "tpu", "'cpu' or 'cuda', got 'tpu'"),
        ("RNNKERNELS_BACKEND", "cuda", "a backend that serves here, got 'cuda': "),
    ],
)
def test_a_wrong_variable_is_one_line_and_exit_code_2(variable: str, value: str, expected: str) -> None:
    if value == "cuda" and rk.cuda.reason() is None:
        pytest.skip("it is right here")
    for module in ("rnnkernels", "rnnkernels.charlm.ngram"):
        command = [sys.executable, "-m", module, "info"]
        done = subprocess.run(
            command, env=os.environ | {variable: value}, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"rnnkernels: error: environment variable {variable}: expected {expected}")
        assert done.stderr.count("\n") == 1
    done = subprocess.run(
        [sys.executable, "-c", "import rnnkernels"],
        env=os.environ | {variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1  # a program that imports the package has an exception to catch
    assert f"Error: environment variable {variable}: expected {expected}" in done.stderr.splitlines()[-1]


def test_the_installed_script_says_it_in_one_line(tmp_path: Path) -> None:
    script = tmp_path / "rnnkernels"
    script.write_text("import sys\nfrom rnnkernels.cli import main\nsys.exit(main())\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), "info"],
        env=os.environ | {"RNNKERNELS_NUM_THREADS": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("rnnkernels: error: environment variable RNNKERNELS_NUM_THREADS: expected")
    assert done.stderr.count("\n") == 1


def test_divergence_is_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    divergent = ["--optimizer", "sgd", "--lr", "3e38", "--clip", "0"]
    code, _, err = run(capsys, "train", "--text", "text.py", *SMALL, *divergent)
    assert code == 1
    assert "rnnkernels: error: training diverged" in err


@pytest.mark.parametrize(
    ("package", "command"),
    [("tqdm", "train --text text.py"), ("safetensors", "train --text text.py"), ("safetensors", "sample x")],
)
def test_without_the_extra(folder: Path, package: str, command: str) -> None:
    """In a process of its own: the package must not have been imported."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; import rnnkernels.cli as c; sys.exit(c.main({command.split()}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1
    assert 'pip install "rnnkernels[cli]"' in result.stderr
    assert "Traceback" not in result.stderr
