"""The process's settings: instruction set, threads, environment variables, what a container allows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import rnnkernels
from rnnkernels import _cpus, _runtime, _threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def restored() -> Iterator[None]:
    """Put the process's settings back after the test."""
    threads, instruction_set = _runtime.num_threads(), _runtime.instruction_set()
    yield
    _runtime.set_num_threads(threads)
    _runtime.set_instruction_set(instruction_set)


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter that sees only these of our environment variables, and of OpenMP's."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("RNNKERNELS_", "OMP_"))}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


SHOW = "from rnnkernels import _runtime as r; print(r.instruction_set(), r.num_threads())"


# ---- environment variables ----------------------------------------------------------------------


def test_default_is_the_fastest_set_and_every_available_cpu() -> None:
    done = python(SHOW)
    assert done.returncode == 0, done.stderr
    expected = f"{_runtime.instruction_sets()[-1]} {_cpus.affinity()}"
    assert done.stdout.strip() == expected


def test_empty_variables_count_as_unset() -> None:
    done = python(SHOW, RNNKERNELS_ISA="", RNNKERNELS_NUM_THREADS=" ")
    assert done.returncode == 0, done.stderr
    assert done.stdout == python(SHOW).stdout


@pytest.mark.parametrize("name", _runtime.instruction_sets())
def test_every_set_can_be_forced(name: str) -> None:
    done = python(SHOW, RNNKERNELS_ISA=name)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == name


def test_number_of_threads_can_be_set() -> None:
    assert python(SHOW, RNNKERNELS_NUM_THREADS="1").stdout.split()[1] == "1"
    assert python(SHOW, RNNKERNELS_NUM_THREADS="1024").stdout == python(SHOW).stdout  # the least holds


# What `import rnnkernels` says with each value of a variable: one process, since the extension stays loaded.
IMPORTS = """
import os, sys
variable, *values = sys.argv[1:]
for value in values:
    os.environ[variable] = value
    try:
        import rnnkernels
        print("imported")
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "rnnkernels" and name != "rnnkernels._cpu"]:
        del sys.modules[name]
"""


def said_by_imports(variable: str, values: list[str]) -> list[str]:
    done = python(IMPORTS, variable, *values, PYTHONIOENCODING="utf-8")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(values)
    return lines


def test_unknown_set_is_an_error_that_names_variable_and_choices() -> None:
    values = ["avx9", "AVX2 ,scalar", "neon,avx2", "-", "\N{SNOWMAN}"]
    for value, said in zip(values, said_by_imports("RNNKERNELS_ISA", values), strict=True):
        assert said.startswith("ValueError: environment variable RNNKERNELS_ISA: expected")
        assert all(name in said for name in _runtime.instruction_sets())
        assert said.endswith(f"got {value!r}")


def test_an_error_in_a_variable_ends_the_program() -> None:
    done = python("import rnnkernels", RNNKERNELS_ISA="avx9")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ValueError: environment variable RNNKERNELS_ISA")


@pytest.mark.parametrize("name", ["avx2", "avx512", "neon"])
def test_set_this_machine_lacks_is_an_error(name: str) -> None:
    if name in _runtime.instruction_sets():
        pytest.skip(f"this machine has {name}")
    done = python("import rnnkernels", RNNKERNELS_ISA=name)
    assert done.returncode == 1
    assert "this machine" in done.stderr
    assert repr(name) in done.stderr.splitlines()[-1]


def test_bad_number_of_threads_is_an_error_that_names_the_variable() -> None:
    values = ["0", "-1", "+2", "two", "1.5", "1_0", "1e3", "1025", "9" * 5000, "0x2", "2 2"]
    said = said_by_imports("RNNKERNELS_NUM_THREADS", [*values, "3"])
    assert said.pop() == "imported"
    for value, line in zip(values, said, strict=True):
        assert line.startswith("ValueError: environment variable RNNKERNELS_NUM_THREADS: expected")
        assert line.endswith(f"got {value!r}")


# ---- functions ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("restored")
def test_set_num_threads_takes_anything_that_is_an_integer() -> None:
    for n in (1, 3, np.int64(2), np.uint8(5), np.array(4), _threads.MAX_THREADS):
        _runtime.set_num_threads(n)
        assert _runtime.num_threads() == int(n)


@pytest.mark.parametrize("n", [0, -1, _threads.MAX_THREADS + 1, 2**31, 2**70, -(2**70)])
def test_set_num_threads_out_of_range(n: int) -> None:
    before = _runtime.num_threads()
    with pytest.raises(ValueError, match=rf"^n: expected 1 to 1024 threads, got {n}$"):
        _runtime.set_num_threads(n)
    assert _runtime.num_threads() == before


@pytest.mark.parametrize("n", [1.0, "2", None, True, [1], np.array([1, 2])])
def test_set_num_threads_wrong_type(n: Any) -> None:
    with pytest.raises(TypeError, match=r"^n: expected an integer, got "):
        _runtime.set_num_threads(n)


@pytest.mark.usefixtures("restored")
def test_set_instruction_set() -> None:
    for name in _runtime.instruction_sets():
        _runtime.set_instruction_set(name)
        assert _runtime.instruction_set() == name
        assert _runtime.backends()["cpu"].startswith(name)


def test_set_instruction_set_bad() -> None:
    before = _runtime.instruction_set()
    with pytest.raises(ValueError, match=r"^name: expected an instruction set .* got 'sse9'$"):
        _runtime.set_instruction_set("sse9")
    wrong: Any = 2
    with pytest.raises(TypeError, match=r"^name: expected a string, got int$"):
        _runtime.set_instruction_set(wrong)
    assert _runtime.instruction_set() == before


def test_instruction_sets_start_with_the_one_every_machine_has() -> None:
    names = _runtime.instruction_sets()
    assert names[0] == "scalar"
    assert len(set(names)) == len(names)
    assert set(names) <= {"scalar", "avx2", "avx512", "neon"}


@pytest.mark.usefixtures("restored")
def test_backends_say_what_serves_or_why_nothing_does() -> None:
    _runtime.set_num_threads(1)
    assert _runtime.backends()["cpu"].endswith(", 1 thread (set_num_threads)")
    _runtime.set_num_threads(2)
    assert _runtime.backends()["cpu"].endswith(", 2 threads (set_num_threads)")
    assert _runtime.backends()["cuda"].startswith("not built: ")


def test_versions_name_the_core() -> None:
    versions = _runtime.versions()
    assert list(versions)[:4] == ["rnnkernels", "python", "platform", "numpy"]
    assert versions["rnnkernels"] == rnnkernels.__version__
    assert versions["numpy"] == np.__version__


# ---- CPUs that the process may use --------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity on this system")
def test_affinity_limits_the_default() -> None:
    code = f"import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); {SHOW}"
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "1"


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path)


class FakeMachine:
    """A machine whose /proc and /sys are files under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def quota(self) -> int | None:
        return _cpus.cgroup_quota(self.root)


V2_MOUNT = "29 23 0:26 {root} {at} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "32 31 0:29 {root} {at} rw,nosuid shared:9 - cgroup cgroup rw,{controllers}\n"
OTHER_MOUNTS = "23 1 0:22 / /sys rw - sysfs sysfs rw\n36 35 98:0 / / rw - ext4 /dev/root rw\n"


def test_no_cgroups_have_no_quota(machine: FakeMachine) -> None:
    assert machine.quota() is None


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("max 100000\n", None),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),  # rounded up
        ("1000 100000\n", 1),  # never none
        ("12800000 100000\n", 128),
        ("", None),
        ("0 100000\n", None),
        ("200000 0\n", None),
        ("200000\n", None),
        ("-1 100000\n", None),
        ("many 100000\n", None),
    ],
)
def test_cgroup_v2_quota(machine: FakeMachine, cpu_max: str, expected: int | None) -> None:
    machine.write("/proc/self/cgroup", "0::/job\n")
    machine.write("/proc/self/mountinfo", OTHER_MOUNTS + V2_MOUNT.format(root="/", at="/sys/fs/cgroup"))
    machine.write("/sys/fs/cgroup/job/cpu.max", cpu_max)
    assert machine.quota() == expected


def test_cgroup_v2_the_tightest_ancestor_counts(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/slice/pod/container\n")
    machine.write("/proc/self/mountinfo", V2_MOUNT.format(root="/", at="/sys/fs/cgroup"))
    machine.write("/sys/fs/cgroup/slice/cpu.max", "1600000 100000")
    machine.write("/sys/fs/cgroup/slice/pod/cpu.max", "300000 100000")
    machine.write("/sys/fs/cgroup/slice/pod/container/cpu.max", "800000 100000")
    assert machine.quota() == 3


def test_cgroup_v2_container_that_sees_its_own_cgroup_as_the_root(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/\n")
    machine.write("/proc/self/mountinfo", V2_MOUNT.format(root="/", at="/sys/fs/cgroup"))
    machine.write("/sys/fs/cgroup/cpu.max", "400000 100000")
    assert machine.quota() == 4


@pytest.mark.parametrize("path", ["/docker/abc", "/docker/abc/inner"])
def test_container_told_its_path_from_the_host(machine: FakeMachine, path: str) -> None:
    mount = V1_MOUNT.format(root="/docker/abc", at="/sys/fs/cgroup/cpu", controllers="cpu,cpuacct")
    machine.write("/proc/self/cgroup", f"11:cpu,cpuacct:{path}\n2:memory:{path}\n")
    machine.write("/proc/self/mountinfo", mount)
    machine.write("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "500000\n")
    machine.write("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert machine.quota() == 5


def test_mount_of_another_branch_still_shows_what_is_mounted(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/elsewhere\n")
    machine.write("/proc/self/mountinfo", V2_MOUNT.format(root="/docker/abc", at="/sys/fs/cgroup"))
    machine.write("/sys/fs/cgroup/cpu.max", "600000 100000")
    assert machine.quota() == 6


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [("-1", "100000", None), ("250000", "100000", 3), ("250000", "", None), ("", "100000", None)],
)
def test_cgroup_v1_quota(machine: FakeMachine, quota: str, period: str, expected: int | None) -> None:
    machine.write("/proc/self/cgroup", "9:name=systemd:/\n3:cpuset:/a\n1:cpu:/a\n0::/\n")
    machine.write(
        "/proc/self/mountinfo",
        V1_MOUNT.format(root="/", at="/sys/fs/cgroup/cpuset", controllers="cpuset")
        + V1_MOUNT.format(root="/", at="/sys/fs/cgroup/cpu", controllers="cpu"),
    )
    machine.write("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", quota)
    machine.write("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", period)
    assert machine.quota() == expected


def test_mount_point_with_a_space(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup", "0::/\n")
    machine.write("/proc/self/mountinfo", V2_MOUNT.format(root="/", at=r"/control\040groups"))
    machine.write("/control groups/cpu.max", "700000 100000")
    assert machine.quota() == 7


@pytest.mark.parametrize("text", ["", "\n\n", "0::\n", "0\n", "0::/../../etc\n", "::::\n", "\0\n"])
def test_unreadable_cgroup_file_means_no_quota(machine: FakeMachine, text: str) -> None:
    machine.write("/proc/self/cgroup", text)
    machine.write("/proc/self/mountinfo", "1 2 3\n - \n- - -\n" + OTHER_MOUNTS)
    assert machine.quota() is None


def test_directory_instead_of_a_file_means_no_quota(machine: FakeMachine) -> None:
    machine.write("/proc/self/cgroup/file", "")
    assert machine.quota() is None
