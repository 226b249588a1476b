"""benchmarks/builds: two builds are told apart by their bits and their speed, and a dear one by its cost."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import rnnkernels as rk

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").is_file())
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks import options  # noqa: E402
from benchmarks.builds import answers, bits, budget, cases, cost, lines, one_more_cell, problems, speed  # noqa: E402
from benchmarks.builds.build import Build, BuildError, Child  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SET = rk.instruction_sets()[-1]
# A part of what `bits` asks: one set, cell, dtype and shape.
PART = ["--sets", SET, "--cells", "lstm", "--dtypes", "float32", "--quick"]


def build(folder: Path, spoil: Callable[[str], str] | None = None, file: str = "_arguments.py") -> Path:
    """A folder with this package in it, one file changed by `spoil`; the compiled module is linked to."""
    package = Path(rk.__file__).parent
    shutil.copytree(package, folder / "rnnkernels", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"))
    for module in [*package.glob("*.so"), *package.glob("*.pyd")]:
        (folder / "rnnkernels" / module.name).symlink_to(module)
    if spoil:
        source = (folder / "rnnkernels" / file).read_text("utf-8")
        spoiled = spoil(source)
        assert spoiled != source
        (folder / "rnnkernels" / file).write_text(spoiled, "utf-8")
    return folder


def clip_more(source: str) -> str:
    return source.replace("return (limit,)", "return (limit * 1.01,)")


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build whose `cell_clip` is another number."""
    return build(tmp_path_factory.mktemp("other"), clip_more)


# ---- a build, and its process -------------------------------------------------------------------


def test_a_process_imports_the_build_it_was_given(same: Path) -> None:
    with Child(Build.at("same", same), SET) as child:
        assert Path(child.about["file"]).parent == same / "rnnkernels"
        assert child.about["instruction_set"] == SET
        assert child.about["cells"] == list(rk.cells())
        assert child.about["module_bytes"] > 1e5


def test_another_package_than_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="expected a folder that holds the package"):
        Build.at("empty", tmp_path)
    with pytest.raises(BuildError, match="empty: "):  # Python finds an installed one, or none
        Child(Build("empty", sys.executable, tmp_path))


def test_a_process_that_ends_is_named(tmp_path: Path) -> None:
    folder = build(tmp_path, lambda source: source + "\nraise SystemExit(3)\n", "__init__.py")
    with pytest.raises(BuildError, match=r"broken: the process of .* ended with 3"):
        Child(Build.at("broken", folder))


# ---- bits ---------------------------------------------------------------------------------------


def test_equal_builds_have_equal_bits(same: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = build(tmp_path)
    assert bits.main([str(same), str(again), *PART]) == 0
    said = capsys.readouterr().out
    assert "0 cases differ" in said
    assert "raised" not in said


def test_what_differs_is_named_and_nothing_else(
    same: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "differences.jsonl"
    assert bits.main([str(same), str(other), *PART, "--out", str(out)]) == 1
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert found
    assert all("cell_clip" in difference["what"] for difference in found)
    trained = next(difference for difference in found if difference["what"] == "training cell_clip")
    assert {"output", "state[1]", "d weight_hh", "d x"} <= trained["arrays"].keys()
    assert 1e-4 < trained["arrays"]["output"] < 0.1
    assert f"DIFFERS {SET} lstm float32 | training cell_clip" in capsys.readouterr().out


def test_a_build_is_compared_with_what_was_kept_of_another(same: Path, other: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "kept.gz")
    assert bits.main([str(same), "--record", file, *PART]) == 0
    assert bits.main([str(same), "--against", file]) == 0
    assert bits.main([str(other), "--against", file]) == 1
    assert bits.main([str(other), "--against", file, "--asked", "stepper"]) == 1
    assert bits.main([str(other), "--against", file, "--asked", "training norms"]) == 0


def test_a_case_or_an_array_that_one_build_lacks_differs() -> None:
    found, key = bits.Found(), ("avx2", "gru", "float32")
    bits.compare(
        found, key, {"a | T1": {"x": "1", "y": "2"}, "b | T1": {}}, {"a | T1": {"x": "1"}, "c | T1": {"x": "1"}}
    )
    assert [(difference.what, list(difference.arrays)) for difference in found.differences] == [
        ("a", ["y"]),
        ("c", ["x"]),
    ]
    assert found.cases == 3


def test_errors_are_answers(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> answers.Answer:
        raise ValueError("no such thing")

    case = cases.Case("failing", (1, 1, 1, 1), 1, fails)
    digests = {str(case): answers.digests(case.answer())}
    assert list(digests[str(case)]) == ["raised ValueError"]
    found = bits.Found()
    bits.compare(found, ("avx2", "gru", "float32"), digests, digests)
    assert found.raised == ["avx2 gru float32 | failing | T1 B1 I1 H1 | 1 thr"]


def test_differences_are_relative_to_the_largest_value() -> None:
    one = np.array([1.0, -4.0], "float32")
    assert answers.relative(one, one + np.array([0.0, 0.5], "float32")) == 0.125
    assert answers.relative(one, one[:1]) == np.inf
    assert answers.relative(one, one * np.float32(np.nan)) == np.inf
    assert answers.relative(one, None) == np.inf


def test_digests_tell_zeros_sizes_and_dtypes_apart() -> None:
    arrays = [np.zeros(4, "f4"), -np.zeros(4, "f4"), np.zeros((2, 2), "f4"), np.zeros(4, "i4")]
    assert len({answers.digests({"x": array})["x"] for array in arrays}) == 4


@pytest.mark.parametrize("cell", rk.cells())
def test_cases_ask_for_everything_and_none_raises(cell: str) -> None:
    asked = list(cases.of(cell, "float32", quick=True))
    texts = [str(case) for case in asked]
    assert len(texts) == len(set(texts))
    for name in options.of(cell):
        assert any(text.startswith(f"training {name} |") for text in texts)
    words = ["tokens", "lengths", "resets", "reverse", "term", "no bias", "no need_x", "bfloat16", "stepper", "step |"]
    for word in [*words, ", expected", "all states, norms", *rk.cell_info(cell)["settings"]]:
        assert any(word in text for text in texts), word
    every_tenth = [case for case in asked if case.threads == 1][::10]
    for case in [*every_tenth, *cases.of(cell, "float32", "stack of 2"), *cases.of(cell, "float32", "T0")]:
        assert not any(name.startswith("raised") for name in case.answer()), str(case)


def test_problems_are_the_seeds() -> None:
    one, two = (problems.Problem("lstm", "float32", (2, 3, 4, 5)) for _ in range(2))
    assert answers.digests(one.params) == answers.digests(two.params)
    assert one.params.keys() == rk.parameter_shapes("lstm", 4, 5).keys()
    assert not np.array_equal(one.state[0], one.state[1])


# ---- speed --------------------------------------------------------------------------------------


class Slow(speed.Pair):
    """A pair of builds whose second takes `factor` times the time of the first, and in its first process twice that."""

    def __init__(self, factor: float) -> None:
        self.factor, self.renewed = factor, 0

    def renew(self) -> None:
        self.renewed += 1

    def begin(self, _: speed.Line) -> tuple[bool, float]:
        return True, 0.0

    def sample(self, which: int, *_: object, **__: object) -> float:
        return 0.01 if which == 0 else 0.01 * self.factor * (1 if self.renewed else 2)


@pytest.mark.parametrize(("factor", "renewed"), [(1.0, 1), (0.4, 0), (1.5, 3)])
def test_a_slow_line_is_sampled_again_by_new_processes(factor: float, renewed: int) -> None:
    slow = Slow(factor)
    found = slow.time({"threads": 1}, 0.0, 3)
    assert slow.renewed == renewed
    assert found["pairs"] == speed.LEAST * (2 ** (renewed + 1) - 1)
    assert found["ratio"] == pytest.approx(1 / factor if renewed else 1.25)


def test_a_ratio_is_that_of_the_pairs() -> None:
    before, after = [1.0, 2.0, 30.0, 4.0, 5.0], [0.5, 1.0, 15.0, 2.0, 50.0]  # loads that come and go
    found = speed.summary(before, after)
    assert found["ratio"] == 2.0
    assert found["least"] == 2.0
    assert found["pairs"] == 5


def line(ratio: float, **more: Any) -> speed.Line:
    one = dataclasses.asdict(lines.Line("core", "", "gru", "inference", (1, 2, 3, 4), 1))
    times = {"before": 1.0, "after": 1.0, "ratio": ratio, "low": 1.0, "high": 1.0, "least": 1.0, "pairs": 5}
    return {**one, **times, "difference": 0.0, **more}


def test_the_report_names_what_is_slower_or_wrong() -> None:
    assert not [row for row in speed.report([line(1.01), line(0.98)]) if row.startswith(("slower", "wrong"))]
    missed = speed.report([line(1.1), line(0.96), line(1.0, difference=0.1), line(0.98, group="ragged")])[3:]
    assert [row.split(":")[0] for row in missed] == ["wrong", "slower", "slower"]
    assert missed[1].startswith("slower: ragged, 1 thr, in the mean: 0.980")
    assert missed[2].endswith(": 0.960")


def test_a_line_of_every_group_can_be_called() -> None:
    found = {(one.group, one.what, one.mode): one for one in lines.lines(quick=True)}
    assert {group for group, _, _ in found} == set(lines.groups(quick=False)) == set(lines.groups(quick=True))
    for one in found.values():
        job = lines.job(dataclasses.replace(one, shape=(20, 2, 8, 8) if one.mode != "streaming" else (1, 1, 8, 8)))
        job.call()
        answer = job.answer()
        assert answer
        assert answers.digests(answer) == answers.digests(job.answer())


def test_two_builds_alternate(same: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "speed.jsonl"
    part = ["--quick", "--groups", "streaming", "--cells", "gru", "--seconds", "0", "--tries", "0", "--out", str(out)]
    speed.main([str(same), str(other), *part])
    run, *found = [json.loads(text) for text in out.read_text("utf-8").splitlines()]
    assert run["builds"] == ["before", "after"]
    assert {one["what"] for one in found} == {"streaming stepper", "streaming step"}
    assert all(one["bits"] and one["before"] > 0 and one["after"] > 0 for one in found)
    assert "4 lines" in capsys.readouterr().out


# ---- cost ---------------------------------------------------------------------------------------

CELL = """\
#pragma once
struct {name}Form {{ int states; }};
struct {name} : {name}Form {{
    static constexpr const char* name = "{cell}";
    static V forward(V x) {{ return tanh(fma(x, x, V(1))) * V(1); }}
}};
"""
LIST = """\
#include "{header}"

namespace rnnkernels {{
using AllCells =
    CellList<RnnTanh,
             Gru>;

}}  // namespace rnnkernels
"""


def tree(folder: Path) -> Path:
    (folder / "csrc" / "cells").mkdir(parents=True)
    (folder / "csrc" / "cells" / "gru.h").write_text(CELL.format(name="Gru", cell="gru"), "utf-8")
    (folder / one_more_cell.LIST).write_text(LIST.format(header="gru.h"), "utf-8")
    return folder


def test_an_added_cell_is_another_with_maths_of_its_own(tmp_path: Path) -> None:
    assert one_more_cell.add(tree(tmp_path), ["gru"], 2) == 2
    listed = (tmp_path / one_more_cell.LIST).read_text("utf-8")
    assert "Gru, GruAgain0, GruAgain1>;" in listed
    added = [(tmp_path / "csrc" / "cells" / f"gru_again_gru_{k}.h").read_text("utf-8") for k in range(2)]
    assert all(f'#include "gru_again_gru_{k}.h"' in listed for k in range(2))
    assert "struct GruAgain0 : GruFormAgain0 {" in added[0]
    assert 'name = "gru_again0"' in added[0]
    assert "return tanh(V(1.125) * fma(x, x, V(1 / 1.125))) * V(1 / 1.125);" in added[0]
    assert len(set(added)) == 2


def test_cells_of_the_sources_can_be_added(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "csrc" / "cells", tmp_path / "csrc" / "cells")
    assert one_more_cell.add(tmp_path) == 4
    listed = (tmp_path / one_more_cell.LIST).read_text("utf-8")
    assert "GruAgain0, GruAgain1, SlstmAgain0, SlstmAgain1>;" in listed


CMAKE = """\
cmake_minimum_required(VERSION 3.21)
project(tree LANGUAGES CXX)
message(STATUS "rnnkernels: instruction sets scalar;avx2")
add_library(_cpu MODULE csrc/unit.cpp csrc/other.cpp)
set_target_properties(_cpu PROPERTIES PREFIX "" SUFFIX ".so")
install(TARGETS _cpu LIBRARY DESTINATION rnnkernels COMPONENT python)
"""
UNIT = """\
struct V { float v; V(double v) : v(v) {} };
inline V operator*(V a, V b) { return a.v * b.v; }
inline V fma(V a, V b, V c) { return a.v * b.v + c.v; }
inline V tanh(V a) { return __builtin_tanh(a.v); }
struct RnnTanh { static V forward(V x) { return x; } };
template <class...> struct CellList {};
#include "cells/all.h"
using namespace rnnkernels;
template <class... Cells> V sum(CellList<Cells...>, V x) { return (Cells::forward(x).v + ...); }
extern "C" float total(float x) { return sum(AllCells{}, x).v; }
"""


@pytest.mark.skipif(not all(map(shutil.which, ("cmake", "ninja", "g++"))), reason="needs cmake, ninja and g++")
def test_a_tree_is_built_and_once_more_with_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tree(tmp_path / "source")
    (source / "CMakeLists.txt").write_text(CMAKE, "utf-8")
    (source / "csrc" / "unit.cpp").write_text(UNIT, "utf-8")
    (source / "csrc" / "other.cpp").write_text("int other() { return 1; }\n", "utf-8")
    monkeypatch.setattr(one_more_cell, "CELLS", ("gru",))
    monkeypatch.setattr(cost, "YARDSTICK", "int yardstick() { return 1; }\n")
    found, cell = cost.measure(source, cell=True, keep=tmp_path / "kept")
    assert found.sets == ["scalar", "avx2"]
    assert sorted(Path(made).name for made in found.units) == ["other.cpp.o", "unit.cpp.o"]
    assert 0 < sum(found.units.values()) < found.seconds
    assert found.module_bytes == (tmp_path / "kept" / "rnnkernels" / "_cpu.so").stat().st_size
    assert cell is not None
    assert cell.cells == 2
    assert cell.seconds < found.seconds  # what did not change was not compiled again
    assert "one more cell" in cost.text(found, cell)[-1]
    (source / "csrc" / "unit.cpp").write_text("no C++", "utf-8")
    with pytest.raises(SystemExit):
        cost.main([str(source)])


def judged(*, slower: float = 1.0, **more: float) -> Sequence[tuple[str, float, float]]:
    """What a build is judged by that costs just what it may, on a machine `slower` times slower, but for `more`."""
    given = json.loads(budget.FILE.read_text("utf-8"))
    found = {**given, **more}
    yardstick = slower * given["yardstick_seconds"]
    one = cost.Cost(found["build_seconds"], 1.0, int(found["module_bytes"]), ["scalar"], yardstick)
    return budget.judge(given, one, cost.CellCost(found["cell_seconds"], found["cell_bytes_per_set"], yardstick, 1))


@pytest.mark.parametrize("name", ["build_seconds", "module_bytes", "cell_seconds", "cell_bytes_per_set"])
def test_the_budget_is_passed_one_by_one(name: str) -> None:
    given = json.loads(budget.FILE.read_text("utf-8"))[name]
    assert not any("OVER" in row for row in budget.rows(judged()))
    assert sum("OVER" in row for row in budget.rows(judged(**{name: given * 1.01}))) == 1
    # Another machine may take longer, and its modules may be no larger.
    slower = budget.rows(judged(slower=2.0, **{name: given * 1.9}))
    assert sum("OVER" in row for row in slower) == ("bytes" in name)
