"""A hook of MkDocs: files of the repository that pages link to, but that are not in docs/, join the site.

A page's link `../examples/seq2seq.py` becomes `outside/examples/seq2seq.py`, and the file is copied there as it is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "outside"
LINK = re.compile(r"\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def leaves(page: str, link: str) -> str | None:
    """Return the path from the repository of what a page (from docs/) links to, where it is not in docs/."""
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if target.startswith("docs/") else target


def on_files(files: Files, config: Any) -> Files:
    """Add what pages link to; what is not there is left to MkDocs, which warns."""
    for page in files.documentation_pages():
        for link in LINK.finditer(page.content_string):
            target = leaves(page.src_uri, link[1])
            if target is None or not (ROOT / target).is_file():
                continue
            # A page of Markdown would be rendered, and its own links would leave docs/ again: it is copied as a text.
            uri = f"{FOLDER}/{target}" + (".txt" if target.endswith(".md") else "")
            if files.get_file_from_path(uri) is None:
                files.append(File.generated(config, uri, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Turn the links to such files."""

    def turned(link: re.Match[str]) -> str:
        target = leaves(page.file.src_uri, link[1])
        for uri in (f"{FOLDER}/{target}", f"{FOLDER}/{target}.txt"):
            if target is not None and files.get_file_from_path(uri) is not None:
                return f"]({posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or '.')})"
        return link[0]

    return LINK.sub(turned, markdown)
