"""Folders whose tests need a package: where the package is missing, each file there is skipped and says so.

A folder's conftest.py says `pytest_pycollect_makemodule = needs("torch")`; its files then import the package like any
other. Not here: a single test that needs a package (`pytest.importorskip` in the test).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def needs(*names: str) -> Callable[[Path, pytest.Collector], pytest.Module]:
    """Return a folder's hook that makes modules of its test files: their imports wait until the packages are found."""

    class Module(pytest.Module):
        def collect(self) -> Any:
            for name in names:
                pytest.importorskip(name)
            return super().collect()

    def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
        module: pytest.Module = Module.from_parent(parent, path=module_path)
        return module

    return pytest_pycollect_makemodule
