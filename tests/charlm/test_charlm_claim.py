"""Claims on a checkpoint file: one run at a time saves there, and nothing is left of saves that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnkernels.charlm import claim
from rnnkernels.charlm.claim import Claim

TEMPORARY = ".run.0123456789abcdef.tmp"


def first_line(path: Path) -> str | None:
    """The mark of the files here."""
    return path.read_text(encoding="utf-8").partition("\n")[0] if path.is_file() else None


def claimed(path: Path) -> Claim:
    return Claim(path, first_line)


def save(claim: Claim, mark: str) -> None:
    claim.write(f"{mark}\ncontents of {mark}".encode(), mark)


@pytest.fixture(params=["locks", "marks"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is not there yet, with locks and on a system without."""
    if request.param == "marks":
        monkeypatch.setattr(claim, "fcntl", None)
    elif claim.fcntl is None:
        pytest.skip("no locks on this system")
    return tmp_path / "run"


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    if claim.fcntl is None:
        pytest.skip("no locks on this system")
    return tmp_path / "run"


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


# ---- one run at a time ----


def test_saves_follow_each_other(path: Path) -> None:
    for run in range(2):
        with claimed(path) as file:
            for number in range(3):
                save(file, f"{run} {number}")
                assert first_line(path) == f"{run} {number}"
    assert names(path) == ["run"]


def test_a_claimed_file_is_refused_until_the_claim_ends(locked: Path) -> None:
    with claimed(locked) as file:
        save(file, "first")
        with pytest.raises(ValueError, match=r"run: another run is saving to this file"), claimed(locked):
            pass
        save(file, "second")  # in the place of the first: the lock goes with the name
        with pytest.raises(ValueError, match=r"run: another run is saving to this file"), claimed(locked):
            pass
    with claimed(locked) as file:
        save(file, "third")


def test_a_file_is_claimed_as_it_was_found(locked: Path) -> None:
    locked.write_text("before\n", encoding="utf-8")
    with claimed(locked), pytest.raises(ValueError, match="another run"), claimed(locked):
        pass
    locked.chmod(0o400)  # read-only: can be replaced all the same
    with claimed(locked) as file:
        with pytest.raises(ValueError, match="another run"), claimed(locked):
            pass
        save(file, "first")


def test_of_two_that_begin_a_file_the_first_to_save_has_it(path: Path) -> None:
    with claimed(path) as one, claimed(path) as two:
        save(one, "one")
        with pytest.raises(ValueError, match=r"run: another program has written this file.*the run ends$"):
            save(two, "two")
        save(one, "one again")
    assert first_line(path) == "one again"
    assert names(path) == ["run"]


def test_between_the_look_and_the_name_nobody_is_replaced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def late(source: Path, target: Path) -> None:
        if not path.exists():
            path.write_text("another's\n", encoding="utf-8")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    with claimed(path) as file, pytest.raises(ValueError, match="another program"):
        save(file, "mine")
    assert first_line(path) == "another's"
    assert names(path) == ["run"]


@pytest.mark.parametrize("how", ["written", "renamed", "damaged"])
def test_a_file_that_became_anothers_stays_and_the_work_is_saved_beside_it(path: Path, how: str) -> None:
    path = path.with_name("run.safetensors")
    path.with_name("run-2.safetensors").write_text("taken\n", encoding="utf-8")
    with claimed(path) as file:
        save(file, "mine")
        if how == "renamed":
            other = path.with_name("other")
            other.write_text("another's\n", encoding="utf-8")
            other.replace(path)
        else:
            path.write_text("another's\n" if how == "written" else "", encoding="utf-8")
        kept = path.read_bytes()
        with pytest.raises(ValueError, match=r"run\.safetensors: another program.*saved to .*run-3\.safetensors$"):
            save(file, "mine again")
    assert path.read_bytes() == kept
    assert first_line(path.with_name("run-3.safetensors")) == "mine again"
    assert names(path) == ["run-2.safetensors", "run-3.safetensors", "run.safetensors"]


def test_a_file_that_was_removed_is_written_again(path: Path) -> None:
    with claimed(path) as file:
        save(file, "first")
        path.unlink()
        save(file, "second")
    assert first_line(path) == "second"


def test_a_system_without_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refused)
    with claimed(path) as one, claimed(path) as two:
        save(one, "one")
        with pytest.raises(ValueError, match="another program"):
            save(two, "two")
    assert names(path) == ["run"]


def test_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a file to save to, found a folder or a device"), claimed(tmp_path):
        pass


# ---- what killed saves leave ----


def test_leftovers_are_removed_and_nothing_else_is(path: Path) -> None:
    others = [TEMPORARY.replace("run", "run2"), ".run.tmp", "run.0123456789abcdef.tmp", ".run.0123456789abcdeg.tmp"]
    for name in [TEMPORARY, TEMPORARY.replace("0", "f"), *others]:
        path.with_name(name).write_text("half a che", encoding="utf-8")
    with claimed(path):
        assert names(path) == sorted(others)


def test_a_save_under_way_is_no_leftover(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync
    seen: list[str] = []

    def meanwhile(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        with claimed(locked):  # nothing is there yet that it could find locked
            seen.extend(names(locked))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    with claimed(locked) as file:
        save(file, "mine")
    assert len(seen) == 1
    assert first_line(locked) == "mine"


def test_a_temporary_file_that_is_taken_for_a_leftover_is_made_again(
    locked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock: Callable[[int], bool | None] = claim._try_lock
    removed: list[Path] = []

    def late(descriptor: int) -> bool | None:
        if not removed:  # the new file is open, and not locked yet
            removed.extend(locked.parent.glob(".run.*.tmp"))
            removed[0].unlink()
        return lock(descriptor)

    with claimed(locked) as file:
        monkeypatch.setattr(claim, "_try_lock", late)
        save(file, "mine")
    assert len(removed) == 1
    assert names(locked) == ["run"]


def test_a_save_killed_between_its_link_and_its_end(path: Path) -> None:
    path.write_text("first\n", encoding="utf-8")
    os.link(path, path.with_name(TEMPORARY))
    with claimed(path):
        assert names(path) == ["run"]


KILLED = """
import os, signal, sys
from pathlib import Path
from rnnkernels.charlm.claim import Claim
number = int(sys.argv[2])
fsync = os.fsync
def killed(descriptor):
    global number
    number -= 1
    if not number:
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(descriptor)
os.fsync = killed
with Claim(Path(sys.argv[1]), lambda path: path.read_text() if path.exists() else None) as file:
    file.write(b"first", "first")
    file.write(b"second", "second")
"""


@pytest.mark.parametrize(("fsync", "kept", "left"), [(1, None, 1), (2, "first", 0), (3, "first", 1), (4, "second", 0)])
def test_a_killed_process_holds_nothing_and_its_file_goes(locked: Path, fsync: int, kept: str, left: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(locked), str(fsync)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(locked.parent.glob(".run.*.tmp"))) == left
    assert first_line(locked) == kept
    with claimed(locked) as file:
        assert names(locked) == (["run"] if kept else [])
        save(file, "third")
    assert names(locked) == ["run"]
