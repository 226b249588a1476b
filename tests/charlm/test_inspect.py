"""Units of a character model: their activations, how telling they are, and the page that shows them."""

from __future__ import annotations

import base64
import html.parser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planted import UNIT, quote_model

from rnnkernels import charlm
from rnnkernels.charlm import CharModel, Vocabulary, inspect
from rnnkernels.charlm.inspect import Activations, Unit, reading

SUPPORT = Path(__file__).resolve().parents[1] / "support"
TEXT = 'if a == "bc":\n    d = "" + "</script>"  # e\n\tf = 1\nprint("g", "h")\n' * 3
MODEL = quote_model(TEXT)


# ---- activations ----


@pytest.mark.parametrize("cell", ["lstm", "gru", "slstm", "lstm_fgr"])
def test_activations_are_the_states_after_each_character(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = CharModel(Vocabulary.from_text(TEXT), cell=cell, hidden=5, layers=2, dtype="float64", rng=1)
    found = inspect.activations(model, TEXT)
    names = ["h"] if cell == "gru" else ["h", "c"]
    assert found.units == tuple(Unit(layer, name, k) for layer in range(2) for name in names for k in range(5))
    state: Any = None
    for token, values in zip(model.vocabulary.encode(TEXT), found.values, strict=True):
        _, state = model.step(int(token), state)
        wanted = []
        for h, *others in state:
            c = [] if cell == "gru" else [others[0] / others[1]] if cell == "slstm" else [np.tanh(others[0])]
            wanted += [h[0], *[each[0] for each in c]]
        np.testing.assert_allclose(values, np.concatenate(wanted), rtol=1e-12, atol=1e-15)
    monkeypatch.setattr(reading, "AT_ONCE", 7)
    assert (inspect.activations(model, TEXT).values == found.values).all()


def test_a_model_that_is_not_finite_is_refused() -> None:
    model = quote_model(TEXT)
    model.params["bias_ih_l0"][0] = np.nan
    with pytest.raises(ValueError, match="model: expected finite parameters"):
        inspect.activations(model, TEXT)


# ---- probes ----


def area_by_pairs(values: Any, labels: Any) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for a in values[labels] for b in values[~labels]]
    return float(np.mean(pairs))


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-2, 3, (40, 3)).astype(np.float32)  # with ties
    labels = rng.random((2, 40)) < 0.3
    found = inspect.auc(values, labels)
    assert found.shape == (2, 3)
    for p, k in np.ndindex(found.shape):
        assert found[p, k] == pytest.approx(area_by_pairs(values[:, k], labels[p]), abs=1e-15)
    assert inspect.auc(values[:, 0], labels).tolist() == found[:, 0].tolist()
    assert inspect.auc(values, labels[1]).tolist() == found[1].tolist()
    assert float(inspect.auc(values[:, 2], labels[1])) == found[1, 2]
    assert (inspect.auc(-values, labels) == pytest.approx(1 - found)) is True


def test_auc_at_its_ends() -> None:
    assert float(inspect.auc([1, 2, 3], np.array([False, False, True]))) == 1
    assert float(inspect.auc([1, 2, 3], np.array([True, False, False]))) == 0
    assert float(inspect.auc([2, 2, 2], np.array([True, False, False]))) == 0.5
    assert np.isnan(inspect.auc([1, 2, 3], np.ones((1, 3), bool))).all()
    assert np.isnan(inspect.auc(np.empty((0, 2)), np.ones(0, bool))).all()
    assert inspect.telling([0.1, 0.5, 0.7, np.nan]).tolist() == [0.9, 0.5, 0.7, 0.0]


def test_a_planted_unit_is_found() -> None:
    found = inspect.activations(MODEL, TEXT)
    areas = inspect.probes(found, inspect.labels(TEXT, "python"))
    best = np.argsort(-inspect.telling(areas["string"]), kind="stable")[:2]
    assert [found.units[k] for k in best] == [Unit(0, "h", UNIT), Unit(0, "c", UNIT)]
    assert areas["string"][best].tolist() == [1.0, 1.0]
    assert inspect.telling(np.delete(areas["string"], best)).max() < 0.95
    assert np.isnan(areas["docstring"]).all()  # there is none


def test_a_trained_model_has_telling_units() -> None:
    rng = np.random.default_rng(0)
    words = ["alpha", "beta", "gamma", "(x)", "+ 1", "= y"]
    lines = [
        " ".join(rng.choice(words, 3)) + (' "' + " ".join(rng.choice(words, 4)).upper() + '"') * int(rng.integers(2))
        for _ in range(1500)
    ]
    config = charlm.Config(hidden=24, batch=8, seq_length=32, epochs=8, lr=0.01, min_count=1)
    model = charlm.train("\n".join(lines) + "\n", config).model
    text = "\n".join(lines[:100]) + "\n"
    areas = inspect.probes(inspect.activations(model, text), inspect.labels(text, "plain"))
    assert inspect.telling(areas["string"]).max() > 0.95
    assert inspect.telling(areas["position"]).max() > 0.8


# ---- the page ----


class Parts(html.parser.HTMLParser):
    """The elements of a page that have text of their own, and every address in it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self.addresses: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]
        self._open = given.get("id") or tag

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data


def page(**more: Any) -> str:
    found = inspect.activations(MODEL, TEXT)
    return inspect.page(TEXT, found, inspect.labels(TEXT, "python"), title="<b> reads 'a'", **more)


def data_of(written: str) -> tuple[dict[str, Any], Parts]:
    parts = Parts()
    parts.feed(written)
    return json.loads(parts.texts["data"]), parts


def test_the_page_holds_the_data_and_asks_for_nothing() -> None:
    data, parts = data_of(page(note="{{data}} & more"))
    assert data["text"] == TEXT
    assert parts.texts["title"].strip() == "<b> reads 'a'"
    assert parts.texts["note"].strip() == "{{data}} & more"
    assert parts.addresses == []
    assert not re.search(r"https?:|@import|url\(|import\(|fetch\(", page())
    assert "default-src 'none'" in page()
    assert [p["name"] for p in data["properties"]] == list(inspect.PROPERTIES)
    known = inspect.labels(TEXT, "python")
    for each in data["properties"]:
        bits = np.unpackbits(np.frombuffer(base64.b64decode(each["mask"]), np.uint8))[: len(TEXT)]
        assert (bits == known[each["name"]]).all()
        assert each["share"] == pytest.approx(known[each["name"]].mean(), abs=1e-4)


def test_the_values_of_the_page_are_those_of_the_units() -> None:
    data, _ = data_of(page())
    found = inspect.activations(MODEL, TEXT)
    values = np.frombuffer(base64.b64decode(data["values"]), np.uint8).reshape(-1, len(TEXT))
    assert [unit["name"] for unit in data["units"]] == [str(unit) for unit in found.units]
    scales = np.array([unit["scale"] for unit in data["units"]])
    shown = (values.astype(float) - 128) / 127 * scales[:, None]
    assert (np.abs(shown - found.values.T) <= 0.5 / 127 * scales[:, None] + 1e-4).all()
    assert data["units"][UNIT]["auc"][0] == 1
    assert data["units"][UNIT]["auc"][1] is None


def test_the_page_has_the_best_units_of_each_property() -> None:
    data, _ = data_of(page(best=1))
    areas = inspect.probes(inspect.activations(MODEL, TEXT), inspect.labels(TEXT, "python"))
    best = {int(inspect.telling(a).argmax()) for a in areas.values()}
    found = inspect.activations(MODEL, TEXT)
    assert [unit["name"] for unit in data["units"]] == [str(found.units[k]) for k in sorted(best)]


def test_properties_of_ones_own() -> None:
    found = Activations(np.array([[0.0], [1.0], [0.5]]), (Unit(0, "h", 0),))
    written = inspect.page("ab\n", found, {"a <b>": np.array([True, False, False])}, {"a <b>": np.array([0.25])})
    data, _ = data_of(written)
    assert data["properties"][0]["says"] == "a <b>"
    assert data["units"] == [{"name": "layer 0 h[0]", "auc": [0.25], "scale": 1.0}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "short"}, "text: expected 201 characters, as `found` has, and one at least, got 5"),
        ({"known": {}}, "known: expected at least one property, got none"),
        ({"known": {"string": np.zeros(3, bool)}}, "known['string']: expected bool (201,), got bool (3,)"),
        ({"areas": {"if": np.zeros(12)}}, "areas: expected those of string, docstring"),
        ({"areas": dict.fromkeys(inspect.PROPERTIES, np.zeros(3))}, "areas: expected an AUC for each of 12 units"),
        ({"best": 0}, "best: expected at least 1, got 0"),
    ],
)
def test_what_does_not_belong_together_is_refused(change: dict[str, Any], message: str) -> None:
    good = {"text": TEXT, "found": inspect.activations(MODEL, TEXT), "known": inspect.labels(TEXT, "python")}
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        inspect.page(**(good | change))


# ---- the page's script ----

INSIDE = np.flatnonzero(inspect.labels(TEXT, "python")["string"])
OUTSIDE = np.flatnonzero(~inspect.labels(TEXT, "python")["string"])


def test_the_script_shows_the_planted_unit_first(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")

    def run(address: str = "") -> dict[str, Any]:
        command = [node, str(SUPPORT / "page_dom.js"), str(file), address]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    shown = run()
    assert shown["unit"] == f"layer 0 h[{UNIT}]  AUC ▲ 1.000"
    assert shown["units"][:2] == [[f"layer 0 {state}[{UNIT}]", "▲ 1.000"] for state in "hc"]
    assert shown["properties"][0] == ["inside a string", "▲ 1.000", False]
    assert shown["properties"][1] == ["inside a docstring", "\N{EN DASH}", True]
    assert {shown["colours"][k] for k in INSIDE} == {"rgba(245, 130, 40, 1.000)"}  # orange
    assert all(shown["colours"][k].startswith("rgba(70, 140, 230, ") for k in OUTSIDE[20:])  # blue
    assert len(shown["colours"]) == len(TEXT)
    assert [line.replace("↵", "\n").replace("→\t", "\t") for line in shown["lines"]] == TEXT.splitlines(keepends=True)
    data, _ = data_of(page())
    areas = [unit["auc"][2] for unit in data["units"]]
    by_comment = sorted(range(12), key=lambda k: -max(areas[k], 1 - areas[k]))
    second = run("#comment/2")
    assert [name for name, _ in second["units"]] == [data["units"][k]["name"] for k in by_comment]
    assert second["unit"].startswith(second["units"][1][0])
    assert run("#comment/99")["unit"].startswith(second["units"][-1][0])
    assert run("#nonsense/x")["unit"] == shown["unit"]


def browser() -> str | None:
    names = (os.environ.get("CHROMIUM") or "chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    program = browser()
    if program is None:
        pytest.skip("no Chromium on this machine")
    file = tmp_path / "page.html"
    file.write_text(page(), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]

    def run(address: str) -> str:
        command = [program, *options, f"{file.as_uri()}{address}"]
        return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True).stdout

    shown = run("")
    assert f'<output id="unit">layer 0 h[{UNIT}]  AUC ▲ 1.000</output>' in shown
    colours = re.findall(r'<span [^>]*data-k="\d+"[^>]*style="background-color: ([^;"]*);?"', shown)
    assert len(colours) == len(TEXT)
    assert {colours[k] for k in INSIDE} == {"rgb(245, 130, 40)"}
    assert '<output id="unit">layer 0 ' in run("#comment/2")
    assert "reads 'a'</h1>" in shown
