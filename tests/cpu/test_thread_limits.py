"""How many threads a call uses: the least of what everybody says, and who is named for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from thread_counts import needs_affinity, needs_proc, needs_processors, said

from rnnkernels import _cpus

if TYPE_CHECKING:
    from pathlib import Path

# The number of threads a call may use, and who decides.
SHOW = """
def show():
    number, source = rk.backends()["cpu"].partition("), ")[2].rstrip(")").split(" (")
    assert number == f"{rk.num_threads()} thread{'s' * (rk.num_threads() > 1)}"
    return [rk.num_threads(), source]
"""
COUNT = SHOW + "from busy_threads import busy, array_call\ncall = array_call()\n"


# ---- who decides ---------------------------------------------------------------------------------


def test_nobody_says_anything() -> None:
    assert said(SHOW + "print(json.dumps(show()))") == [_cpus.affinity(), "affinity"]


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "RNNKERNELS_NUM_THREADS"])
def test_the_environment_decides(variable: str) -> None:
    assert said(SHOW + "print(json.dumps(show()))", **{variable: "1"}) == [1, variable]


@pytest.mark.parametrize("text", ["1", " 1 ", "+1", "01", "1,4", "1 , 4"])
def test_the_first_number_of_a_list_is_ours(text: str) -> None:
    assert said(SHOW + "print(json.dumps(show()))", OMP_NUM_THREADS=text) == [1, "OMP_NUM_THREADS"]


@pytest.mark.parametrize("text", ["", " ", "0", "-1", "one", "1.5", ",1", "9" * 5000])
def test_what_openmp_does_not_understand_limits_nothing(text: str) -> None:
    assert said(SHOW + "print(json.dumps(show()))", OMP_NUM_THREADS=text) == [_cpus.affinity(), "affinity"]


def test_a_setting_is_kept_and_the_least_holds() -> None:
    code = "rk.set_num_threads(1024)\nfirst = show()\nrk.set_num_threads(1)\nprint(json.dumps([first, show()]))"
    assert said(SHOW + code) == [[_cpus.affinity(), "affinity"], [1, "set_num_threads"]]
    assert said(SHOW + code, OMP_NUM_THREADS="1") == [[1, "OMP_NUM_THREADS"], [1, "set_num_threads"]]


def test_of_equals_the_one_that_was_meant_is_named() -> None:
    here = str(_cpus.affinity())
    assert said(SHOW + "print(json.dumps(show()))", OMP_NUM_THREADS=here) == [int(here), "OMP_NUM_THREADS"]
    code = "rk.set_num_threads(int(sys.argv[1]))\nprint(json.dumps(show()))"
    assert said(SHOW + code, here, OMP_NUM_THREADS=here) == [int(here), "set_num_threads"]


def test_info_names_it_and_the_others() -> None:
    code = """
import contextlib, io
from rnnkernels.cli import main
with contextlib.redirect_stdout(io.StringIO()) as printed:
    main(["info"])
print(json.dumps(printed.getvalue().splitlines()))
"""
    variables = {"OMP_NUM_THREADS": "1,2", "OMP_THREAD_LIMIT": "900", "RNNKERNELS_NUM_THREADS": "3"}
    lines = said(code, **variables)
    assert "threads:         1 (OMP_NUM_THREADS)" in lines
    limits = next(line for line in lines if line.startswith("thread limits:"))
    assert limits.startswith("thread limits:   RNNKERNELS_NUM_THREADS 3, OMP_NUM_THREADS 1, OMP_THREAD_LIMIT 900, ")
    assert limits.endswith(f"affinity {_cpus.affinity()}")


# ---- what calls do -------------------------------------------------------------------------------


@needs_proc
@needs_processors
def test_calls_use_several_threads_where_nobody_limits_them() -> None:
    assert said(COUNT + "print(json.dumps(busy(call)))") > 1


@needs_proc
@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OMP_THREAD_LIMIT"])
def test_calls_keep_to_the_environment(variable: str) -> None:
    assert said(COUNT + "print(json.dumps(busy(call)))", **{variable: "1", "RNNKERNELS_NUM_THREADS": "2"}) == 1


@needs_proc
@needs_processors
@needs_affinity
def test_calls_keep_to_an_affinity_that_changes_between_them() -> None:
    code = """
all = os.sched_getaffinity(0)
found = [busy(call)]
os.sched_setaffinity(0, [min(all)])
found += [busy(call), *show()]
os.sched_setaffinity(0, all)
found.append(busy(call))
print(json.dumps(found))
"""
    before, *during, after = said(COUNT + code)
    assert before > 1
    assert during == [1, 1, "affinity"]
    assert after > 1


@needs_processors
@needs_affinity
def test_the_affinity_is_the_calling_threads() -> None:
    code = """
import threading
found = []
def work():
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    found.append(show())
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(json.dumps([*found, show()]))
"""
    assert said(SHOW + code) == [[1, "affinity"], [_cpus.affinity(), "affinity"]]


@needs_proc
def test_calls_keep_to_a_quota_once_somebody_asked(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/job"
    for file, text in (
        (tmp_path / "proc/self/cgroup", "0::/job\n"),
        (tmp_path / "proc/self/mountinfo", "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
        (group / "cpu.max", "max 100000\n"),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    code = """
from pathlib import Path
from rnnkernels import _threads
_threads.ROOT = Path(sys.argv[1])
found = [show()]
(_threads.ROOT / "sys/fs/cgroup/job/cpu.max").write_text("100000 100000")
found.append([*show(), busy(call)])
print(json.dumps(found))
"""
    assert said(COUNT + code, str(tmp_path)) == [[_cpus.affinity(), "affinity"], [1, "cgroup quota", 1]]
