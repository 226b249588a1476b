"""The documentation site: every public name is on a page of the API; files outside docs/ that pages link to join it.

`./check docs` builds the site; here is what it would not notice.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import rnnkernels as rk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "rnnkernels"

if not (ROOT / "mkdocs.yml").is_file():
    pytest.skip("the documentation is not here", allow_module_level=True)

# Modules whose names are no user's, or the package's own: those are looked for as such.
INNER = {"cli", "equations", "functional", "memory", "run", "schedule", "steps"}


def directives() -> set[str]:
    """What the API's pages name."""
    pages = [page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md")]
    return {name for text in pages for name in re.findall(r"^::: rnnkernels\.(\S+)$", text, re.MULTILINE)}


def public() -> Iterator[tuple[str, str]]:
    """Each public module of the package and a name of its ``__all__``, read without importing it."""
    for file in [*PACKAGE.glob("[a-z]*.py"), *PACKAGE.glob("[a-z]*/**/__init__.py")]:
        module = file.stem if file.stem != "__init__" else ".".join(file.parent.relative_to(PACKAGE).parts)
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                yield from ((module, name) for name in ast.literal_eval(node.value))


def missing(named: set[str]) -> list[str]:
    """The public names that no page of the API has."""
    own = [name for name in rk.__all__ if name != "__version__" and name not in named]
    return own + [
        f"{module}.{name}"
        for module, name in public()
        if module not in INNER and not {module, name, f"{module}.{name}"} & named
    ]


def test_every_public_name_is_in_the_api() -> None:
    assert missing(directives()) == []
    assert len(list(public())) > 100


def test_the_rule_can_fail() -> None:
    named = directives()
    assert missing(named - {"forward"}) == ["forward"]
    assert "torch.swap" in missing(named - {"torch"})
    assert {"jax.nnx.Bidirectional", "jax.nnx.swap"} <= set(missing(named - {"jax.nnx"}))


def hook() -> Any:
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("outside", ROOT / "docs" / "site" / "outside.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_that_leave_the_pages_are_turned_to_copies() -> None:
    outside = hook()
    assert outside.leaves("torch.md", "../examples/hello.py") == "examples/hello.py"
    assert outside.leaves("api/torch.md", "../torch.md") is None
    there = {"outside/examples/hello.py", "outside/csrc/README.md.txt"}
    files = SimpleNamespace(get_file_from_path=lambda uri: uri if uri in there else None)
    for src, text, expected in (
        ("torch.md", "[a](../examples/hello.py) b", "[a](outside/examples/hello.py) b"),
        ("api/torch.md", "[a](../../csrc/README.md)", "[a](../outside/csrc/README.md.txt)"),
        ("api/torch.md", "[a](../torch.md#there)", "[a](../torch.md#there)"),
        ("torch.md", "[a](../nowhere.py)", "[a](../nowhere.py)"),  # MkDocs says so
    ):
        page = SimpleNamespace(file=SimpleNamespace(src_uri=src))
        assert outside.on_page_markdown(text, page, files) == expected
